"""``owseg push``: a knowledge base to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._options import KB, Json, Slim
from owseg.cli._printing import next_command, print_json, say


def push(
    kb: KB,
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A repository; made where there is none.")],
    licence: Annotated[
        str, typer.Option(metavar="ID", help="Of the weights, as the hub names it: apache-2.0, cc-by-nc-4.0, ...")
    ] = "other",
    public: Annotated[bool, typer.Option("--public", help="For everybody to see; by default it is private.")] = False,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Write what would be uploaded there, and upload nothing.")
    ] = None,
    slim: Slim = False,
    as_json: Json = False,
) -> None:
    """Upload a knowledge base to the Hugging Face hub, with a model card written from its history.

    Anybody who may see the repository then loads it by its name: [bold]owseg predict photos/ --kb
    hub:OWNER/NAME[/bold], or hub:OWNER/NAME@REVISION. Sign in first with [bold]hf auth login[/bold]. Look at the card
    before with --folder: it names the data sets of the history. What is uploaded is the current version alone, without
    the images that classes were learned from.
    """
    from owseg.knowledge import upload
    from owseg.knowledge.load import load
    from owseg.knowledge.repository import check_repository

    check_repository(repository)
    base = load(kb)
    if folder is not None:
        upload.write(base, folder, repository, licence, slim)
        address = str(folder)
    else:
        address = upload.push(base, repository, licence, not public, slim)
    if as_json:
        print_json({"kb": kb, "repository": repository, "address": address, "uploaded": folder is None})
        return
    say(f"{'Written to' if folder else 'Uploaded:'} {address}")
    say(next_command("predict", "IMAGES", "--kb", str(folder) if folder else f"hub:{repository}"))

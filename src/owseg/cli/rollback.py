"""``owseg rollback``: make an earlier version current again."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._options import KB, Json
from owseg.cli._printing import print_json, say
from owseg.errors import OwsegError


def rollback(
    kb: KB,
    version: Annotated[
        int | None, typer.Argument(metavar="[VERSION]", help="Number of the version; by default the parent's.")
    ] = None,
    to: Annotated[int | None, typer.Option("--to", hidden=True, help="The same as VERSION.")] = None,
    as_json: Json = False,
) -> None:
    """Make an earlier version current again. Nothing is deleted: name a later version to go forward."""
    from owseg.knowledge.commit import rollback_version
    from owseg.knowledge.pretrained import check_own
    from owseg.knowledge.versions import version_history

    check_own(kb)
    if version is not None and to is not None:
        raise OwsegError("name the version once: owseg rollback KB VERSION.")
    number = rollback_version(kb, to if version is None else version)
    message = next(v.message for v in version_history(kb) if v.number == number)
    classes = _classes(kb, number)
    if as_json:
        print_json({"version": number, "message": message, "classes": classes})
        return
    say(f"{kb} is at version {number} now: {message}.")
    if classes:
        say(f"It knows {', '.join(classes)}.")


def _classes(kb: str, number: int) -> list[str]:
    """Return the classes of a version, read without its network; [] where they cannot be read."""
    from owseg._files import read_json
    from owseg.knowledge.lineage import KNOWLEDGE_FILE
    from owseg.knowledge.versions import version_folder
    from owseg.labels import LabelSpace

    with suppress(OwsegError, OSError, KeyError, TypeError):
        path = version_folder(Path(kb), number) / KNOWLEDGE_FILE
        return list(LabelSpace.from_json(read_json(path)["classes"]).names)
    return []

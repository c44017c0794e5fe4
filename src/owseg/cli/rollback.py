"""``owseg rollback``: an earlier version in use again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._options import KB, Json
from owseg.cli._printing import print_json
from owseg.errors import OwsegError


def rollback(
    kb: KB,
    version: Annotated[int | None, typer.Argument(help="The version to use; by default the one before.")] = None,
    as_json: Json = False,
) -> None:
    """Use an earlier version again. Nothing is deleted: name a later one to go forward."""
    from owseg.knowledge.commit import rollback_version

    if not Path(kb).exists():
        raise OwsegError(f"{kb} is no directory; name a knowledge base of your own.")
    number = rollback_version(kb, version)
    if as_json:
        print_json({"version": number})
    else:
        print(f"{kb} is at version {number} now.")

"""``owseg rollback``: make an earlier version current again."""

from __future__ import annotations

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
    as_json: Json = False,
) -> None:
    """Make an earlier version current again. Nothing is deleted: name a later version to go forward."""
    from owseg.knowledge.commit import rollback_version
    from owseg.knowledge.versions import version_history

    # Not resolve(): a shipped knowledge base must stay as it is.
    if not Path(kb).exists():
        raise OwsegError(f"{kb} is not a directory; name a knowledge base of your own.")
    number = rollback_version(kb, version)
    message = next(v.message for v in version_history(kb) if v.number == number)
    if as_json:
        print_json({"version": number, "message": message})
    else:
        say(f"{kb} is at version {number} now: {message}.")

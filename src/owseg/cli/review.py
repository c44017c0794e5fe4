"""``owseg review``: the page on which a person decides about unknown regions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._options import KB, Out


def review(
    kb: KB,
    queue: Annotated[Path, typer.Argument(metavar="QUEUE", help="The folder that owseg discover made.")],
    out: Out = None,
    port: Annotated[int, typer.Option(help="Where the page is served.")] = 8765,
    host: Annotated[
        str, typer.Option(help="The address to serve at; any but this computer's own makes a token part of the URL.")
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
) -> None:
    """Decide about the unknown regions in a browser: accept, reject, correct, name them, and learn the class.

    Every action is on the disk at once; stop with Ctrl-C, and go on later where you were.
    """
    from owseg.knowledge.pretrained import writable
    from owseg.review.serve import serve

    serve(kb, writable(kb, out), queue, host, port, browser)

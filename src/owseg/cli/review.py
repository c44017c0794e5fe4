"""``owseg review``: the pages on which a person decides about unknown regions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._compute import Compute
from owseg.cli._options import KB, Out


def review(
    kb: KB,
    queue: Annotated[Path, typer.Argument(metavar="QUEUE", help="The folder that owseg discover made.")],
    out: Out = None,
    port: Annotated[int, typer.Option(help="Port to serve the pages at; 0 takes any free one.")] = 8765,
    host: Annotated[
        str,
        typer.Option(help="Address to serve the pages at; another than this computer's own lets others in."),
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
    compute: Compute = Compute(),  # noqa: B008
) -> None:
    """Review unknown regions in a browser: accept, reject, correct and name them, and learn the class.

    Every action is stored at once; stop with Ctrl-C, and continue later where you were.
    """
    from owseg.knowledge.pretrained import writable
    from owseg.review.serve import serve

    compute.checked()
    serve(kb, writable(kb, out), queue, host, port, browser, compute.load)

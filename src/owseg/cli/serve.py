"""``owseg serve``: an HTTP service that predicts images."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from owseg.cli._compute import Compute
from owseg.cli._options import KBOrExport, Task

LIMITS = "Limits"


def serve(
    kb: KBOrExport,
    port: Annotated[int, typer.Option(help="Port to serve at; 0 takes any free one.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to serve at; 0.0.0.0 lets other computers in, who need the token.")
    ] = "127.0.0.1",
    token: Annotated[
        str | None,
        typer.Option(
            envvar="OWSEG_TOKEN",
            help="What every request has to bring as Authorization: Bearer TOKEN. Without it nobody is asked on this "
            "computer's own addresses, and elsewhere one is made and printed. Others can list your processes: the "
            "environment variable is safer.",
        ),
    ] = None,
    task: Task = "unknown",
    max_wait: Annotated[
        float,
        typer.Option(
            rich_help_panel=LIMITS,
            min=0,
            help="Milliseconds that an image waits for others to be run with, while the worker is idle.",
        ),
    ] = 10,
    max_queue: Annotated[
        int,
        typer.Option(rich_help_panel=LIMITS, min=1, help="Images that wait; a request above it is answered with 429."),
    ] = 64,
    max_bytes: Annotated[
        float, typer.Option(rich_help_panel=LIMITS, min=0.001, help="Megabytes of a request; above it 413.")
    ] = 32,
    max_pixels: Annotated[
        float, typer.Option(rich_help_panel=LIMITS, min=0.001, help="Megapixels of an image; above it 413.")
    ] = 16,
    timeout: Annotated[
        float, typer.Option(rich_help_panel=LIMITS, min=0.1, help="Seconds to send a request; above it 408.")
    ] = 20,
    compute: Compute = Compute(),  # noqa: B008
) -> None:
    """Serve predictions over HTTP: images in, classes, unknown regions and maps out.

    POST /v1/predict takes an image, as it is or in a form, and answers JSON (share of each class and of the unknown,
    regions with their masks), or a PNG of one map (labels, score, open_set, overlay); /v1/predict/batch takes several
    files. GET / is a page to drop an image on, /v1/model describes the version in use, /healthz and /readyz say whether
    it lives and takes images, /metrics is for Prometheus, /openapi.json has it all.

    \b
      curl -F image=@photo.jpg http://127.0.0.1:8000/v1/predict
      curl -F image=@photo.jpg "http://127.0.0.1:8000/v1/predict?format=png" -o overlay.png

    Images that wait are run together: at most 4 x --batch x --workers at once, those of one size in batches of --batch.
    A new version of KB, or a rollback, is in use within a second or two, without a request lost; one that does not load
    leaves the old one in use. Ctrl-C or SIGTERM ends it once what was begun is answered.
    """
    from owseg.serve.run import serve
    from owseg.serve.settings import Limits

    compute.checked()
    limits = Limits(round(max_bytes * 2**20), round(max_pixels * 1e6), max_queue, max_wait / 1000, timeout)
    serve(kb, host, port, token, limits, partial(compute.open, task=task))

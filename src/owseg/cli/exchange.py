"""Annotations to and from labelling tools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli.options import KB, FullResolution, Json, MultiScale, Pictures
from owseg.cli.printing import print_json

if TYPE_CHECKING:
    from owseg.exchange import Annotation

Url = Annotated[
    str, typer.Option(help="Label Studio: what stands before a picture's name; by default /data/local-files/?d=")
]

_CVAT = (
    "Next: in CVAT, make a task of the pictures with the labels in {labels}.labels.json (Raw); then Upload annotations"
)
HINTS = {
    "coco": "Next: open it in any tool that reads COCO.",
    "cvat": f"{_CVAT}, CVAT 1.1.",
    "cvat-masks": f"{_CVAT}, Segmentation mask 1.1.",
    "labelstudio": "Next: in Label Studio make a project with the interface of {labels}.labels.xml (Code), and import "
    "{path}.",
}
"""What to do with annotations in each format."""


def export(
    kb: KB,
    pictures: Pictures,
    kind: Annotated[str, typer.Option("--format", help="coco, cvat, cvat-masks or labelstudio.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the annotations, or their file.")],
    url: Url = "",
    full_resolution: FullResolution = False,
    multi_scale: MultiScale = False,
    as_json: Json = False,
) -> None:
    """Label pictures for people to correct in CVAT or Label Studio: classes by name and colour, and the unknown.

    Correct them there, name what was unknown, export, and give the export to owseg learn --shots.
    """
    from owseg.knowledge import load
    from owseg.predict import find, predicted

    base = load(kb)
    look = partial(base.forward, full_resolution=full_resolution, multi_scale=multi_scale)
    _exchanged(predicted(base, find(pictures), look), out, kind, url, as_json, predicted=True)


def exchange(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Annotations: a file, a folder or a zip.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="Folder for the same in another format, or its file.")],
    to: Annotated[str, typer.Option("--to", help="coco, cvat, cvat-masks or labelstudio.")],
    of: Annotated[
        str | None,
        typer.Option("--from", help="The same, or labelme; by default what the annotations are recognised as."),
    ] = None,
    url: Url = "",
    as_json: Json = False,
) -> None:
    """Take annotations from one labelling tool to another: masks to the pixel, names and colours as they are."""
    from owseg.exchange import read

    _exchanged(read(source, of), target, to, url, as_json)


def _exchanged(
    annotations: Iterable[Annotation], out: Path, kind: str, url: str, as_json: bool, predicted: bool = False
) -> None:
    """Write annotations, and say how to open them in the tool."""
    from owseg.exchange import write

    counts: Counter[str] = Counter()

    def counted() -> Iterator[Annotation]:
        for a in annotations:
            counts[a.name] += 1
            yield a

    path = write(counted(), out, kind, predicted, url or None)
    if as_json:
        print_json({"file": str(path), "format": kind, "pictures": dict(counts)})
        return
    print(f"{path} marks {', '.join(f'{n} in {k}' for n, k in counts.most_common()) or 'nothing'}.")
    print(HINTS[kind].format(path=path, labels=path.with_suffix("")))

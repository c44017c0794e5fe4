"""``owseg exchange``: annotations from one labelling tool to another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli._options import Json
from owseg.cli._printing import print_json

if TYPE_CHECKING:
    from owseg.exchange.annotation import Annotation

Url = Annotated[
    str, typer.Option(help="Label Studio: what stands before an image's name; by default /data/local-files/?d=")
]


_CVAT = (
    "Next: in CVAT, make a task of the images with the labels in {labels}.labels.json (Raw); then Upload annotations"
)


HINTS = {
    "coco": "Next: open it in any tool that reads COCO.",
    "cvat": f"{_CVAT}, CVAT 1.1.",
    "cvat-masks": f"{_CVAT}, Segmentation mask 1.1.",
    "labelstudio": "Next: in Label Studio make a project with the interface of {labels}.labels.xml (Code), and import "
    "{path}.",
}
"""What to do with annotations in each format."""


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

    write_annotations(read(source, of), target, to, url, as_json)


def write_annotations(
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
        print_json({"file": str(path), "format": kind, "images": dict(counts)})
        return
    print(f"{path} marks {', '.join(f'{n} in {k}' for n, k in counts.most_common()) or 'nothing'}.")
    print(HINTS[kind].format(path=path, labels=path.with_suffix("")))

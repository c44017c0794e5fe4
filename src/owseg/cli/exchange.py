"""``owseg exchange``: annotations from one labelling tool to another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli._options import Json
from owseg.cli._printing import print_json
from owseg.exchange import FORMATS

if TYPE_CHECKING:
    from owseg.exchange.annotation import Annotation

WRITABLE = ", ".join(name for name, entry in FORMATS.entries.items() if "suffix" in entry.facts)
"""The formats that can be written, for help."""


_URL = "; ".join(f"{e.help}: {e.options['url']}" for e in FORMATS.entries.values() if "url" in e.options)


Url = Annotated[str, typer.Option(help=f"{_URL}.")]


def exchange(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Annotations: a file, a folder or a zip.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="Folder for the same in another format, or its file.")],
    to: Annotated[str, typer.Option("--to", help=f"One of {WRITABLE}.")],
    of: Annotated[
        str | None,
        typer.Option("--from", help=f"One of {', '.join(FORMATS)}; by default the one that is recognised."),
    ] = None,
    url: Url = "",
    as_json: Json = False,
) -> None:
    """Take annotations from one labelling tool to another: masks to the pixel, names and colours as they are."""
    from owseg.exchange.formats import read

    write_annotations(read(source, of), target, to, url, as_json)


def write_annotations(
    annotations: Iterable[Annotation], out: Path, kind: str, url: str, as_json: bool, predicted: bool = False
) -> None:
    """Write annotations, and say how to open them in the tool."""
    from owseg.exchange.formats import write

    counts: Counter[str] = Counter()

    def counted() -> Iterator[Annotation]:
        for a in annotations:
            counts[a.name] += 1
            yield a

    path = write(counted(), out, kind, predicted, {"url": url} if url else {})
    if as_json:
        print_json({"file": str(path), "format": kind, "images": dict(counts)})
        return
    print(f"{path} marks {', '.join(f'{n} in {k}' for n, k in counts.most_common()) or 'nothing'}.")
    print(f"Next: {FORMATS[kind].facts['hint']}".format(path=path, stem=path.with_suffix("")))

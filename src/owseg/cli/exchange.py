"""``owseg exchange``: annotations from one labelling tool to another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli._options import Json, parse_settings
from owseg.cli._printing import print_json, say

if TYPE_CHECKING:
    from owseg.exchange.annotation import Annotation

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="An option of the format; may be repeated: {format_options}."),
]


Url = Annotated[str, typer.Option(help="For labelstudio: short for --set url=URL.")]


def exchange(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Annotations: a file, a folder or a zip archive.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="Folder for the new annotations, or their file.")],
    to: Annotated[str, typer.Option("--to", help="Format of DST: {writable}.")],
    source_format: Annotated[
        str | None, typer.Option("--from", help="Format of SRC: {formats}; by default recognised from its contents.")
    ] = None,
    url: Url = "",
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Convert annotations from one labelling tool to another: masks to the pixel, names and colors unchanged."""
    from owseg.exchange.formats import read

    write_annotations(read(source, source_format), target, to, format_options(settings, url), as_json)


def format_options(settings: list[str] | None, url: str) -> dict[str, str]:
    """Return the options of a format by name, from ``--set`` and ``--url``."""
    return {**parse_settings(settings), **({"url": url} if url else {})}


def write_annotations(
    annotations: Iterable[Annotation],
    out: Path,
    to: str,
    options: Mapping[str, str],
    as_json: bool,
    predicted: bool = False,
) -> None:
    """Write annotations in the format ``to``, and print how to open them in the tool."""
    from owseg.exchange import FORMATS
    from owseg.exchange.formats import write

    counts: Counter[str] = Counter()

    # Counted as they pass: the writer takes annotations one at a time, and they may be more than memory holds.
    def counted() -> Iterator[Annotation]:
        for annotation in annotations:
            counts[annotation.name] += 1
            yield annotation

    path = write(counted(), out, to, predicted, options)
    if as_json:
        print_json({"file": str(path), "format": to, "images": dict(counts)})
        return
    found = ", ".join(f"{name} in {count}" for name, count in counts.most_common()) or "nothing"
    say(f"{path} has annotations of {found} (images each).")
    hint = FORMATS.entries[to].facts["hint"]
    say(f"Next: {hint}".format(path=path, stem=path.with_suffix("")))

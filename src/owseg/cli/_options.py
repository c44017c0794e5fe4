"""Arguments and options that several commands share, and how their text is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.errors import OwsegError


def data_spec(text: str | None) -> str | None:
    """Return ``folder:DIR`` for a directory DIR with images/ in it, or in a folder for each split; else ``text``."""
    from owseg.data.datasets import DATASETS

    if text and ":" not in text and text not in DATASETS:
        directory = Path(text).expanduser()
        # images/ beside masks/, or one level down where there is a folder for each split.
        if any(path.is_dir() for pattern in ("images", "*/images") for path in directory.glob(pattern)):
            return f"folder:{text}"
    return text


KB = Annotated[
    str, typer.Argument(metavar="KB", help="Directory of a knowledge base, or the name of a shipped one: {shipped}.")
]


KBOrExport = Annotated[
    str,
    typer.Argument(
        metavar="KB",
        help="Directory of a knowledge base, the name of a shipped one ({shipped}), or a file of owseg export.",
    ),
]


Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGES",
        help="Image files, folders, quoted patterns such as 'a/**/*.jpg', lists of paths (.txt, or .csv and "
        ".parquet with a column path), or - for paths on standard input.",
    ),
]


Recursive = Annotated[bool, typer.Option("--recursive", help="Of a folder, take the images in subfolders, too.")]


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


Out = Annotated[
    str | None, typer.Option("--out", "-o", help="Store the new version in this directory instead of in KB.")
]


FullResolution = Annotated[
    bool,
    typer.Option(
        "--full-resolution", help="Compute scores at the image's resolution, not the network's: slower, seldom better."
    ),
]


MultiScale = Annotated[
    bool,
    typer.Option(
        "--multi-scale", help="Average over three scales, each also mirrored: eight times slower, a bit better."
    ),
]


Size = Annotated[
    int | None,
    typer.Option(
        min=32, help="Run the network at this shorter side in place of its working size: more pixels, smaller things."
    ),
]


Tile = Annotated[
    bool,
    typer.Option(
        "--tile",
        help="Run images at their own size, or at --size, in overlapping tiles: slower, finds smaller things.",
    ),
]


_DATA = typer.Option(
    "--data",
    callback=data_spec,
    help="A labelled data set, synthetic or KIND:DIR; KIND is one of {datasets} (see owseg data list).",
)

Data = Annotated[str, _DATA]

OptionalData = Annotated[str | None, _DATA]


Split = Annotated[str, typer.Option(help="The split of the data set.")]


Slim = Annotated[
    bool,
    typer.Option(
        "--slim", help="Name the backbone instead of storing it: 13 MB less, but whoever loads it needs its package."
    ),
]


def fpr_value(value: float) -> float:
    """Return a rate; raise ``OwsegError`` for one outside (0, 1), before any work."""
    from owseg.openset import check_fpr

    return check_fpr(value)


Fpr = Annotated[
    float,
    typer.Option(callback=fpr_value, help="Share of known pixels that may be predicted unknown (false positives)."),
]


Task = Annotated[
    str,
    typer.Option(
        help="unknown: all that is unknown, anywhere in the image. obstacles: unknown things on the road, small ones "
        "too; for networks with a class road."
    ),
]


Seed = Annotated[int, typer.Option(help="Seed of all random numbers.")]


Resume = Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint of the run.")]


def parse_names(text: str) -> tuple[str, ...]:
    """Return the names in an option such as ``car,pedestrian``."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_size(text: str) -> tuple[int, int]:
    """Return (height, width) of text such as ``256x352``; raise ``OwsegError`` for text of another form."""
    try:
        height, width = (int(v) for v in text.lower().split("x"))
    except ValueError:
        raise OwsegError(f"{text!r} is not a size; write height x width, such as 256x352.") from None
    return height, width


def parse_scales(text: str) -> tuple[float, ...]:
    """Return the factors in text such as ``1,0.67``; raise ``OwsegError`` for none, and outside [0.1, 10]."""
    try:
        scales = tuple(float(part) for part in parse_names(text))
    except ValueError:
        scales = ()
    if not scales or not all(0.1 <= scale <= 10 for scale in scales):
        raise OwsegError(f"{text!r} is no list of factors from 0.1 to 10; write them with commas, such as 1,0.67.")
    return scales


def parse_sides(text: str) -> tuple[int, ...]:
    """Return the numbers of pixels in text such as ``300,375``; raise ``OwsegError`` for others, and below 32."""
    try:
        sides = tuple(int(part) for part in parse_names(text))
    except ValueError:
        sides = (0,)
    if min(sides, default=32) < 32:
        raise OwsegError(f"{text!r} is no list of sides from 32 pixels; write them with commas, such as 300,375.")
    return sides


def parse_settings(given: list[str] | None) -> dict[str, str]:
    """Return the options of ``--set NAME=VALUE`` by name; raise ``OwsegError`` for one of another form."""
    settings = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise OwsegError(f"{text!r} sets nothing; write --set NAME=VALUE.")
        settings[name.strip()] = value.strip()
    return settings

"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from owseg.errors import OwsegError

Split = Annotated[str, typer.Option(help="Which split.")]


KB = Annotated[
    str, typer.Argument(metavar="KB", help="A knowledge base directory, or a shipped one: street, street8, synthetic.")
]


Pictures = Annotated[list[str], typer.Argument(help="Images, folders or quoted patterns such as 'a/*.jpg'.")]


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


Out = Annotated[str | None, typer.Option("--out", "-o", help="Store the new version here instead of in KB.")]


FullResolution = Annotated[
    bool, typer.Option("--full-resolution", help="Score every pixel of the image: slower, seldom better.")
]


MultiScale = Annotated[
    bool, typer.Option("--multi-scale", help="Look in three sizes and in the mirror: eight times slower, a bit better.")
]


Data = Annotated[str, typer.Option("--data", help="KIND:DIR or synthetic; owseg data list names the kinds.")]


Fpr = Annotated[float, typer.Option(help="Share of known pixels that may be called unknown.")]


def names(text: str) -> tuple[str, ...]:
    """Return the names in an option such as ``car,pedestrian``."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


Batch = Annotated[int, typer.Option(help="Images a step.")]


Crop = Annotated[str, typer.Option(help="Height x width of a training view.")]


Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


Precision = Annotated[str, typer.Option(help="32-true, or bf16-mixed where the machine has bfloat16.")]


Devices = Annotated[int, typer.Option(help="GPUs or processes.")]


Resume = Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")]


def parse_size(text: str) -> tuple[int, int]:
    """Return (height, width) of text such as ``256x352``."""
    try:
        height, width = (int(v) for v in text.lower().split("x"))
    except ValueError:
        raise OwsegError(f"{text!r} is not a size; write height x width, such as 256x352.") from None
    return height, width


Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An option of what was named; may be repeated.")
]


def parse_settings(given: list[str] | None) -> dict[str, str]:
    """Return the options of ``--set NAME=VALUE`` by name; raise ``OwsegError`` for one of another form."""
    settings = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise OwsegError(f"{text!r} sets nothing; write --set NAME=VALUE.")
        settings[name.strip()] = value.strip()
    return settings

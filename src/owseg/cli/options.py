"""Arguments and options that commands of several files share."""

from __future__ import annotations

from typing import Annotated

import typer

KB = Annotated[
    str, typer.Argument(metavar="KB", help="A knowledge base directory, or a shipped one: street, street8, synthetic.")
]
Pictures = Annotated[list[str], typer.Argument(help="Pictures, folders or quoted patterns such as 'a/*.jpg'.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Out = Annotated[str | None, typer.Option("--out", "-o", help="Store the new version here instead of in KB.")]
FullResolution = Annotated[
    bool, typer.Option("--full-resolution", help="Score every pixel of the picture: slower, seldom better.")
]
MultiScale = Annotated[
    bool, typer.Option("--multi-scale", help="Look in three sizes and in the mirror: eight times slower, a bit better.")
]
Data = Annotated[str, typer.Option("--data", help="KIND:DIR or synthetic; owseg data list names the kinds.")]
Fpr = Annotated[float, typer.Option(help="Share of known pixels that may be called unknown.")]


def names(text: str) -> tuple[str, ...]:
    """Return the names in an option such as ``car,pedestrian``."""
    return tuple(part.strip() for part in text.split(",") if part.strip())

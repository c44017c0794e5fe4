"""Tables in Markdown, and metrics as mean ± standard deviation (``spread``)."""

from __future__ import annotations

from collections.abc import Sequence

from owseg.benchmark.tables import spread

__all__ = ["markdown", "spread"]


def markdown(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    lines = [header, ["---"] * len(header), *rows]
    print(f"\n**{title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))

"""Tables in Markdown, and metrics as mean ± standard deviation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def markdown(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    lines = [header, ["---"] * len(header), *rows]
    print(f"\n**{title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Return mean ± standard deviation, or the one value."""
    if len(values) < 2:
        return f"{values[0]:.{digits}f}" if values else "–"
    return f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}"

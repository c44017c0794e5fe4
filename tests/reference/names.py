"""The names of predictions, with lists searched from end to end."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path


def names_by_lists(paths: Sequence[Path]) -> list[str]:
    names = [p.stem for p in paths]
    for depth in range(1, 1 + max((len(p.parts) for p in paths), default=0)):
        twice = {n for n in names if names.count(n) > 1}
        if not twice:
            break
        names = [
            "_".join((*p.parts[-depth - 1 : -1], p.name.replace(".", "_"))).replace("/", "") if n in twice else n
            for n, p in zip(names, paths, strict=True)
        ]
    unique: list[str] = []
    for name in names:
        numbered = (f"{name}_{k}" for k in itertools.count(2))
        unique.append(name if name not in unique else next(n for n in numbered if n not in unique))
    return unique

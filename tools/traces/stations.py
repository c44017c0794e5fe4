"""What counts as what in a trace: values, tools, networks, ways of their own, ends, rooms of plug-ins, stations.

Patterns are of paths below the package, or of PATH:FUNCTION; a * also crosses folders. A pattern that fits no file or
function is named on standard error, as what it stood for may have moved.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

VALUES: tuple[str, ...] = (
    "__init__.py", "__main__.py", "errors.py", "types.py", "labels.py", "openset.py", "_registry.py", "data/*",
    "increments/*", "*/__init__.py", "knowledge/prediction.py", "knowledge/base.py:feature_space",
    "evaluation/maps.py", "exchange/annotation.py", "exchange/shapes.py", "training/config.py",
    "benchmark/results.py:tables",
)  # fmt: skip
NO_VALUES: tuple[str, ...] = ("data/render.py",)
"""Files that ``VALUES`` matches and that are stations all the same."""
HELPERS: tuple[str, ...] = (
    "_files.py", "_progress.py", "cli/__init__.py", "cli/_options.py", "cli/_printing.py", "benchmark/_kept.py",
    "benchmark/options.py", "benchmark/resizing.py", "benchmark/tables.py", "cli/_help.py",
    "knowledge/pretrained/__init__.py", "learners/auto.py", "training/processes.py",
)  # fmt: skip
NETWORKS: tuple[str, ...] = ("models/*",)
NO_NETWORKS: tuple[str, ...] = ("models/engine.py",)
"""Files that ``NETWORKS`` matches and that are stations all the same."""
OWN_WAYS: dict[str, tuple[str, ...]] = {
    "load": ("knowledge/load.py",),
    "store": ("knowledge/versions.py", "knowledge/commit.py", "knowledge/base.py:save", "training/checkpoint.py"),
    "open a data set": ("data/datasets/__init__.py",),
    "read a frame": ("data/dataset.py:__getitem__", "data/dataset.py:fingerprint"),
    "describe": ("knowledge/base.py:fingerprint", "knowledge/base.py:after"),
    "validate": ("training/segmentation.py:validation_miou",),
}
ENDS: tuple[str, ...] = (
    "knowledge/calibration.py", "evaluation/store_maps.py", "evaluation/measure.py", "benchmark/plots.py",
)  # fmt: skip
ROOMS: dict[str, tuple[str, ...]] = {
    **{room: (f"{room}/*",) for room in ("scorers", "image_scorers", "metrics", "losses", "exchange")},
    "learners/METHOD": tuple(f"learners/{method}.py" for method in ("probe", "npm", "plm", "finetune")),
}
"""Rooms of plug-ins by name: which files are one station."""
CONSTRUCTORS = ("__init__", "__new__", "__post_init__")


@cache
def kind_of(path: str, function: str) -> str:
    """Return what a function's file is: a value, a helper, a network, or a station."""
    if _matches(path, function, NETWORKS) and not _matches(path, function, NO_NETWORKS):
        return "network"
    if _matches(path, function, HELPERS):
        return "helper"
    value = _matches(path, function, VALUES) and not _matches(path, function, NO_VALUES)
    return "value" if value else "station"


@cache
def own_way(path: str, function: str) -> str:
    """Return the way of its own that begins with a function, or nothing."""
    return next((name for name, patterns in OWN_WAYS.items() if _matches(path, function, patterns)), "")


@cache
def is_closed(station: str, function: str) -> bool:
    """Return whether what runs beneath a function of a station is the station's own affair."""
    return station in ROOMS or _matches(station, function, ENDS)


@cache
def station_of(path: str) -> str:
    """Return the station that a file is, or belongs to."""
    return next((room for room, patterns in ROOMS.items() if _matches(path, "", patterns)), path)


def stale_patterns(package: Path) -> list[str]:
    """Return the patterns that fit nothing in the package."""
    files = {path.relative_to(package).as_posix(): path.read_text("utf-8") for path in package.rglob("*.py")}
    patterns = {*VALUES, *NO_VALUES, *HELPERS, *NETWORKS, *NO_NETWORKS, *ENDS}
    stale = []
    for pattern in sorted(patterns.union(*OWN_WAYS.values(), *ROOMS.values())):
        path, _, function = pattern.partition(":")
        texts = [text for name, text in files.items() if fnmatchcase(name, path)]
        if not any(not function or f"def {function}(" in text for text in texts):
            stale.append(pattern)
    return stale


def _matches(path: str, function: str, patterns: tuple[str, ...]) -> bool:
    """Return whether a file fits a pattern, or the function or one that it is nested in does."""
    names = [path, *(f"{path}:{name}" for name in function.split("."))]
    return any(
        fnmatchcase(name, pattern) for name in names for pattern in patterns if (":" in name) == (":" in pattern)
    )

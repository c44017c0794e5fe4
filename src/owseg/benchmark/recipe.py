"""The recipe of a benchmark: models, scorers and data sets, read from TOML; what is wrong is told with its key."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from owseg.benchmark.tables import COLUMNS, Published
from owseg.errors import OwsegError
from owseg.metrics.components import ANOMALY_TRACK, OBSTACLE_TRACK, Sizes
from owseg.scorers import fitted_names

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


ALL = "all"


TRACKS: dict[str, Sizes] = {"anomaly": ANOMALY_TRACK, "obstacle": OBSTACLE_TRACK}
"""The least sizes of components, by SegmentMeIfYouCan's names."""


WORDS: dict[type, str] = {
    dict: "a table", list: "a list", str: "a text", int: "a whole number", float: "a number", bool: "true or false",
}  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A knowledge base ``kb`` and what is asked of it.

    ``fit`` names scorers to fit on the train split of ``fit_on``; every scorer's threshold is found on the val split of
    ``calibrate_on``, without which the knowledge base's own is all there is. ``scorers`` is ("all",) or names; ``data``
    names the data sets, () for all. With ``optional`` it is left out where a variable in its places is not set.
    """

    name: str
    kb: str
    fit: tuple[str, ...] = ()
    fit_on: str = ""
    calibrate_on: str = ""
    scorers: tuple[str, ...] = (ALL,)
    data: tuple[str, ...] = ()
    optional: bool = False


@dataclass(frozen=True)
class Data:
    """A split of a data set, at most ``most`` frames of it, evenly spread.

    ``resize`` is the size (H, W) at which networks look at it; figures are taken at the masks' size. ``track`` says
    which least sizes of components count.
    """

    name: str
    spec: str
    split: str = "test"
    resize: tuple[int, int] | None = None
    most: int | None = None
    track: str = "anomaly"
    optional: bool = False


@dataclass(frozen=True)
class Recipe:
    """What to measure. ``fpr`` is the share asked of calibrated thresholds; ``left_out`` says which were, and why."""

    models: tuple[Model, ...]
    data: tuple[Data, ...]
    published: tuple[Published, ...] = ()
    seed: int = 0
    fpr: float = 0.05
    left_out: tuple[str, ...] = ()


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe; raise ``OwsegError`` with file and key for whatever is wrong in it.

    Variables such as $OWSEG_DATA in places are expanded.
    """
    path = Path(path)
    try:
        value = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise OwsegError(f"{path} cannot be read ({(error.strerror or str(error)).lower()}); name a recipe.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OwsegError(f"{path} is no TOML ({error}); mend it there.") from None
    try:
        return _recipe(value)
    except OwsegError as error:
        raise OwsegError(f"{path}: {error}") from None


def _recipe(value: dict[str, Any]) -> Recipe:
    top = {"seed": int, "fpr": float, "scorers": list, "models": dict, "data": dict, "published": list}
    given = _checked("", value, top)
    models, data, left_out = [], [], list[str]()
    default = _names_in("scorers", given.get("scorers", [ALL]))
    for name, table in _tables("models", given):
        where = f"models.{name}"
        keys: dict[str, type] = {
            "kb": str,
            "fit": list,
            "fit_on": str,
            "calibrate_on": str,
            "scorers": list,
            "data": list,
        }
        fields = _checked(where, table, {**keys, "optional": bool}, ("kb",))
        for key in ("fit", "scorers", "data"):
            if key in fields:
                fields[key] = _names_in(f"{where}.{key}", fields[key])
        if bool(fields.get("fit")) != bool(fields.get("fit_on")):
            raise OwsegError(f"{where}.fit and {where}.fit_on go together; give both or neither.")
        if strange := [n for n in fields.get("fit", ()) if n not in fitted_names()]:
            raise OwsegError(
                f"{where}.fit: there is no {strange[0]!r} to fit; it is one of {', '.join(fitted_names())}."
            )
        if _expanded(where, fields, ("kb", "fit_on", "calibrate_on"), left_out):
            models.append(Model(name, **{"scorers": default, **fields}))
    for name, table in _tables("data", given):
        where = f"data.{name}"
        keys = {"spec": str, "split": str, "resize": str, "most": int, "track": str, "optional": bool}
        fields = _checked(where, table, keys, ("spec",))
        if "resize" in fields:
            fields["resize"] = _size(f"{where}.resize", fields["resize"])
        if fields.get("most", 1) < 1:
            raise OwsegError(f"{where}.most is at least 1, not {fields['most']}.")
        if fields.get("track", "anomaly") not in TRACKS:
            raise OwsegError(f"{where}.track is {' or '.join(TRACKS)}, not {fields['track']!r}.")
        if _expanded(where, fields, ("spec",), left_out):
            data.append(Data(name, **fields))
    names = tuple(given["data"])
    for model in models:
        if strange := [n for n in model.data if n not in names]:
            raise OwsegError(
                f"models.{model.name}.data names {strange[0]!r}, which is none of the data: {', '.join(names)}."
            )
    rows = [_published(f"published[{i}]", row, names) for i, row in enumerate(given.get("published", []))]
    fpr = float(given.get("fpr", 0.05))
    if not 0 < fpr < 1:
        raise OwsegError(f"fpr lies between 0 and 1, not at {fpr}.")
    if given.get("seed", 0) < 0:
        raise OwsegError(f"seed is 0 or more, not {given['seed']}.")
    return Recipe(tuple(models), tuple(data), tuple(rows), given.get("seed", 0), fpr, tuple(left_out))


def _checked(where: str, table: Any, types: Mapping[str, type], needed: Iterable[str] = ()) -> dict[str, Any]:
    """Return a table's entries; refuse a key that there is not, one of another type and one that is missing."""
    if not isinstance(table, dict):
        raise OwsegError(f"{where} is a table of {', '.join(types)}, not {table!r}.")
    prefix = where and f"{where}."
    for key, value in table.items():
        if key not in types:
            raise OwsegError(f"there is no key {prefix}{key}; {where or 'a recipe'} has {', '.join(types)}.")
        kind = types[key]
        if kind is list and value == ALL:
            table = {**table, key: [ALL]}
        elif kind is float and type(value) is int:
            table = {**table, key: float(value)}
        elif type(value) is not kind:
            raise OwsegError(f"{prefix}{key} is {WORDS[kind]}, not {value!r}.")
    if absent := [key for key in needed if key not in table]:
        raise OwsegError(f"{prefix}{absent[0]} is missing; add it.")
    return dict(table)


def _tables(section: str, given: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the tables [section.NAME]; refuse none and names that make no file names."""
    if not given.get(section):
        raise OwsegError(f"{section} is missing; add a table [{section}.NAME].")
    for name in given[section]:
        if not re.match(r"\w", name):
            raise OwsegError(f"{section}.{name!r} is no name; begin it with a letter or a digit.")
    return list(given[section].items())


def _names_in(where: str, values: list[Any]) -> tuple[str, ...]:
    if not values or not all(isinstance(v, str) and v for v in values) or len(set(values)) < len(values):
        raise OwsegError(f"{where} is a list of different names, not {values!r}.")
    return tuple(values)


def _size(where: str, text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not found:
        raise OwsegError(f"{where} is height x width, such as 512x1024, not {text!r}.")
    return int(found[1]), int(found[2])


def _expanded(where: str, fields: dict[str, Any], keys: Iterable[str], left_out: list[str]) -> bool:
    """Expand variables in ``fields``; return whether all are set, which only what is optional may lack."""
    for key in keys:
        if key in fields:
            fields[key] = os.path.expandvars(fields[key])
            if absent := re.search(r"\$(\w+|\{\w+\})", fields[key]):
                if not fields.get("optional"):
                    raise OwsegError(f"{where}.{key}: the variable {absent[0]} is not set; export it.")
                left_out.append(f"{where}: {absent[0]} is not set")
                return False
    return True


def _published(where: str, row: Any, data: tuple[str, ...]) -> Published:
    names = {"data": str, "model": str, "scorer": str, "source": str}
    keys = {column.key: column for column in COLUMNS}
    fields = _checked(where, row, {**names, **dict.fromkeys(keys, float)}, names)
    if fields["data"] not in data:
        raise OwsegError(f"{where}.data is {fields['data']!r}, which is none of the data: {', '.join(data)}.")
    figures = {key: fields.pop(key) for key in keys if key in fields}
    if not figures:
        raise OwsegError(f"{where} gives no figure; it can give {', '.join(keys)}.")
    for key, figure in figures.items():
        if not 0 <= figure <= 1:
            raise OwsegError(f"{where}.{key} lies between 0 and 1, not at {figure:g}; write 0.5 for 50 %.")
    return Published(**fields, figures=figures)

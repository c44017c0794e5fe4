"""The recipe of a benchmark: models, scorers and data sets, read from TOML; an error names the key."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from owseg._files import read_toml
from owseg.benchmark._checked import ALL, checked, names_in, tables
from owseg.benchmark.class_sequence import ClassSequence, read_sequence
from owseg.benchmark.options import options_as_text, typed_options
from owseg.benchmark.tables import COLUMNS, Published
from owseg.errors import OwsegError
from owseg.metrics.components import ANOMALY_TRACK, OBSTACLE_TRACK, Sizes
from owseg.scorers import fitted_names

TRACKS: dict[str, Sizes] = {"anomaly": ANOMALY_TRACK, "obstacle": OBSTACLE_TRACK}
"""The minimum sizes of components, by the name of SegmentMeIfYouCan's track."""

RECIPE: dict[str, type] = {
    "seed": int, "fpr": float, "scorers": list, "models": dict, "data": dict, "sequences": dict, "published": list,
}  # fmt: skip
MODEL: dict[str, type] = {
    "kb": str, "fit": list, "fit_on": str, "calibrate_on": str, "scorers": list, "data": list, "options": dict,
    "optional": bool,
}  # fmt: skip
DATA: dict[str, type] = {"spec": str, "split": str, "resize": str, "most": int, "track": str, "optional": bool}


@dataclass(frozen=True)
class Model:
    """The knowledge base ``kb`` and the scorers to measure.

    ``fit`` names scorers to fit on the train split of ``fit_on``. The thresholds of all scorers are found on the val
    split of ``calibrate_on``; without it, only the knowledge base's own scorer has one. ``scorers`` is ("all",) or
    names; ``data`` names the data sets, () for all; ``options`` are those of scorers to fit and of image scorers, by
    name. An ``optional`` model is left out where a variable that it names is not set.
    """

    name: str
    kb: str
    fit: tuple[str, ...] = ()
    fit_on: str = ""
    calibrate_on: str = ""
    scorers: tuple[str, ...] = (ALL,)
    data: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    optional: bool = False


@dataclass(frozen=True)
class Data:
    """A split of a data set, or at most ``most`` images of it, evenly spread.

    ``resize`` is the size (H, W) at which networks without a working size get the images; metrics are computed at the
    size of the masks. ``track`` names the minimum sizes of components (``TRACKS``). ``optional`` is as for a model.
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
    """What to measure.

    ``fpr`` is the false-positive rate at which thresholds are calibrated; ``left_out`` has a line for each optional
    model, data set or sequence that is left out, with the reason.
    """

    models: tuple[Model, ...]
    data: tuple[Data, ...]
    published: tuple[Published, ...] = ()
    seed: int = 0
    fpr: float = 0.05
    left_out: tuple[str, ...] = ()
    sequences: tuple[ClassSequence, ...] = ()


@dataclass
class _Reader:
    """Reads the sections of a recipe; ``left_out`` collects what is optional and lacks a variable."""

    given: Mapping[str, Any]
    left_out: list[str] = field(default_factory=list)

    def models(self) -> tuple[Model, ...]:
        default = names_in("scorers", self.given.get("scorers", [ALL]))
        found = []
        for name, table in tables("models", self.given) if self.given.get("models") else ():
            where = f"models.{name}"
            fields = checked(where, table, MODEL, ("kb",))
            for key in ("fit", "scorers", "data"):
                if key in fields:
                    fields[key] = names_in(f"{where}.{key}", fields[key])
            _check_fit(where, fields)
            _check_names(f"{where}.data", fields.get("data", ()), self.given["data"])
            fields = {"scorers": default, "fit": (), "options": {}, "optional": False, **fields}
            optional = fields["optional"]
            options = options_as_text(f"{where}.options", fields["options"], fields["fit"], fields["scorers"])
            if self._expand(where, fields, ("kb", "fit_on", "calibrate_on"), optional) and all(
                self._expand(f"{where}.options.{scorer}", texts, tuple(texts), optional)
                for scorer, texts in options.items()
            ):
                fields["options"] = typed_options(f"{where}.options", options, fields["fit"])
                found.append(Model(name, **fields))
        return tuple(found)

    def data(self) -> tuple[Data, ...]:
        found = []
        for name, table in tables("data", self.given):
            where = f"data.{name}"
            fields = checked(where, table, DATA, ("spec",))
            if "resize" in fields:
                fields["resize"] = _size(f"{where}.resize", fields["resize"])
            if fields.get("most", 1) < 1:
                raise OwsegError(f"{where}.most is at least 1, not {fields['most']}.")
            if fields.get("track", "anomaly") not in TRACKS:
                raise OwsegError(f"{where}.track is {' or '.join(TRACKS)}, not {fields['track']!r}.")
            if self._expand(where, fields, ("spec",), fields.get("optional", False)):
                found.append(Data(name, **fields))
        return tuple(found)

    def sequences(self) -> tuple[ClassSequence, ...]:
        found = []
        for name, table in tables("sequences", self.given) if self.given.get("sequences") else ():
            where = f"sequences.{name}"
            sequence = read_sequence(where, name, table)
            _check_names(f"{where}.data", [sequence.data], self.given["data"])
            places = dict(enumerate(sequence.places))
            if self._expand(where, places, places, sequence.optional):
                found.append(sequence.at(places.values()))
        return tuple(found)

    def published(self) -> tuple[Published, ...]:
        rows = enumerate(self.given.get("published", []))
        return tuple(_published(f"published[{i}]", row, tuple(self.given["data"])) for i, row in rows)

    def _expand(self, where: str, fields: dict[Any, Any], keys: Iterable[Any], optional: bool) -> bool:
        """Expand variables in ``fields``; return whether all are set, which only what is ``optional`` may lack."""
        for key in (k for k in keys if k in fields):
            fields[key] = os.path.expandvars(fields[key])
            # What is left after the expansion is a variable that is not set.
            if absent := re.search(r"\$(\w+|\{\w+\})", fields[key]):
                if not optional:
                    raise OwsegError(f"{where}.{key}: the variable {absent[0]} is not set; export it.")
                self.left_out.append(f"{where}: {absent[0]} is not set")
                return False
        return True


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe; raise ``OwsegError`` with file and key for whatever is wrong in it.

    Variables such as $OWSEG_DATA in places are expanded.
    """
    path = Path(path)
    try:
        value = read_toml(path)
    except OSError as error:
        raise OwsegError(f"{path} cannot be read ({(error.strerror or str(error)).lower()}); name a recipe.") from None
    try:
        reader = _Reader(checked("", value, RECIPE))
        # A recipe of sequences alone has no models.
        for section in ("data",) if reader.given.get("sequences") else ("models", "data"):
            tables(section, reader.given)
        models, data, published, sequences = reader.models(), reader.data(), reader.published(), reader.sequences()
        fpr, seed = float(reader.given.get("fpr", 0.05)), reader.given.get("seed", 0)
        if not 0 < fpr < 1:
            raise OwsegError(f"fpr lies between 0 and 1, not at {fpr}.")
        if seed < 0:
            raise OwsegError(f"seed is 0 or more, not {seed}.")
    except OwsegError as error:
        raise OwsegError(f"{path}: {error}") from None
    return Recipe(models, data, published, seed, fpr, tuple(reader.left_out), sequences)


def _check_fit(where: str, fields: Mapping[str, Any]) -> None:
    if bool(fields.get("fit")) != bool(fields.get("fit_on")):
        raise OwsegError(f"{where}.fit and {where}.fit_on go together; give both or neither.")
    fitted = fitted_names()
    if wrong := [name for name in fields.get("fit", ()) if name not in fitted]:
        raise OwsegError(f"{where}.fit: there is no {wrong[0]!r} to fit; it is one of {', '.join(fitted)}.")


def _check_names(where: str, names: Iterable[str], data: Iterable[str]) -> None:
    known = tuple(data)
    if wrong := [name for name in names if name not in known]:
        raise OwsegError(f"{where} names {wrong[0]!r}, which is none of the data: {', '.join(known)}.")


def _size(where: str, text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not found:
        raise OwsegError(f"{where} is height x width, such as 512x1024, not {text!r}.")
    return int(found[1]), int(found[2])


def _published(where: str, row: Any, data: tuple[str, ...]) -> Published:
    names = {"data": str, "model": str, "scorer": str, "source": str}
    keys = [column.key for column in COLUMNS]
    fields = checked(where, row, {**names, **dict.fromkeys(keys, float)}, names)
    if fields["data"] not in data:
        raise OwsegError(f"{where}.data is {fields['data']!r}, which is none of the data: {', '.join(data)}.")
    metrics = {key: fields.pop(key) for key in keys if key in fields}
    if not metrics:
        raise OwsegError(f"{where} gives no metric; it can give {', '.join(keys)}.")
    for key, metric in metrics.items():
        if not 0 <= metric <= 1:
            raise OwsegError(f"{where}.{key} lies between 0 and 1, not at {metric:g}; write 0.5 for 50 %.")
    return Published(**fields, metrics=metrics)

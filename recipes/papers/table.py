"""A table of a paper as a recipe: what to train, what to measure, and the published metrics; read from TOML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from owseg._files import read_toml
from owseg.errors import OwsegError

FOLDER = Path(__file__).parent
METRICS = ("ap", "auroc", "fpr95", "miou", "miou_novel", "miou_old", "miou_harmonic", "ms")
T = TypeVar("T")


@dataclass(frozen=True)
class Network:
    """The ``published`` network, and the ``backbone`` that is trained here as ``owseg train`` takes it, if one is.

    ``--dry`` takes a backbone of the same kind, small and with random weights, of the configuration ``stand_in``, and
    decoders of ``width`` channels. ``decoder`` is their kind where it is another than the preset's.
    """

    published: str
    stand_in: Mapping[str, Any]
    backbone: str = ""
    width: int = 16
    decoder: str = ""


@dataclass(frozen=True)
class Model:
    """A knowledge base: trained on ``train_on`` without the classes ``unknown``, by a ``preset`` and ``settings``.

    Where ``kb`` is given, and no dry run, that is loaded instead. With ``inliers`` and ``outliers`` the model is
    ``base`` with a residual pattern, of the same ``preset`` and ``settings``; ``context`` has images of outliers where
    they were photographed, by default ``outliers`` if they are such images. ``members`` is the number of its decoders,
    by default that of the preset, ``seed`` is added to that of the run, and ``scorer`` is fitted and calibrated.
    """

    train_on: str = ""
    unknown: tuple[str, ...] = ()
    preset: str = "light"
    classifier: str = "prototype"
    settings: Mapping[str, Any] = field(default_factory=dict)
    kb: str = ""
    base: str = ""
    inliers: str = ""
    outliers: str = ""
    context: str = ""
    members: int = 0
    seed: int = 0
    scorer: str = "joint"


@dataclass(frozen=True)
class Data:
    """A split to measure on; ``resize`` is not needed, as networks have a working size or ``sides``.

    A model is trained for it without the classes ``unknown`` as well, once for each set of them.
    """

    spec: str
    split: str = "test"
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A row: a ``scorer`` of a model, or classes that it learns; ``published`` has its metrics by name of the data.

    ``options`` are those of an image scorer; with ``fit`` it is trained first, as ``owseg fit-baseline`` does, by a
    ``preset`` and ``settings``. With ``learn`` the model learns these classes by ``method`` with ``options`` from
    ``shots`` images each. ``needs`` is an optional library, without which the row is left empty. ``trained`` says what
    is trained for it.
    """

    name: str
    model: str = ""
    scorer: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    fit: bool = False
    preset: str = "paper"
    settings: Mapping[str, Any] = field(default_factory=dict)
    learn: tuple[str, ...] = ()
    method: str = ""
    shots: int = 0
    needs: str = ""
    trained: str = ""
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table of a paper.

    ``per_image`` is DMLNet's protocol of metrics, ``sides`` those of its test. ``gpu_hours``, or without a GPU
    ``core_hours``, and ``disk_gb`` are what a full run needs, ``expected`` says which metrics to expect and why.
    """

    title: str
    source: str
    expected: str
    disk_gb: float
    network: Network
    models: Mapping[str, Model]
    data: Mapping[str, Data]
    rows: tuple[Row, ...]
    gpu_hours: float = 0.0
    core_hours: float = 0.0
    metrics: tuple[str, ...] = ("ap", "auroc", "fpr95")
    per_image: bool = False
    sides: tuple[int, ...] = ()
    fpr: float = 0.05


def table_names() -> list[str]:
    """Return the names of the tables: those of the TOML files in this folder."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_table(name: str) -> Table:
    """Read the table ``name``; raise ``OwsegError`` for another name, and with the key for what is wrong in it."""
    if name not in table_names():
        raise OwsegError(f"there is no table {name!r}; it is one of {', '.join(table_names())}.")
    value = read_toml(FOLDER / f"{name}.toml")
    try:
        for key, kind in (("network", dict), ("models", dict), ("data", dict), ("rows", list)):
            if not isinstance(value.get(key, kind()), kind):
                raise OwsegError(f"{key} is a section of its own, not {value[key]!r}.")
        parts = {
            "network": _made(Network, value.pop("network", {}), "network"),
            "models": {n: _made(Model, v, f"models.{n}") for n, v in value.pop("models", {}).items()},
            "data": {n: _made(Data, v, f"data.{n}") for n, v in value.pop("data", {}).items()},
            "rows": tuple(_made(Row, v, f"rows[{i}]") for i, v in enumerate(value.pop("rows", []))),
        }
        table = _made(Table, {**value, **parts}, "the table")
        _check(table)
    except OwsegError as error:
        raise OwsegError(f"{name}.toml: {error}") from None
    return table


def _made(kind: type[T], value: Mapping[str, Any], where: str) -> T:
    """Return an instance of a dataclass; refuse keys that it does not have, and missing ones."""
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(value.keys() - names):
        raise OwsegError(f"{where} has no key {unknown[0]!r}; it has {', '.join(sorted(names))}.")
    needed = {f.name for f in fields(kind) if f.default is f.default_factory is MISSING}  # type: ignore[arg-type]
    if absent := sorted(needed - value.keys()):
        raise OwsegError(f"{where} has no {absent[0]}; add it.")
    return kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in value.items()})


def _check(table: Table) -> None:
    for row in table.rows:
        if row.model and row.model not in table.models:
            raise OwsegError(f"the row {row.name} names no model of the table: {row.model!r}.")
        for data, metrics in row.published.items():
            if data not in table.data or not set(metrics) <= set(table.metrics):
                raise OwsegError(f"the row {row.name} has metrics that the table does not: {data} {dict(metrics)}.")
    for name, model in table.models.items():
        if model.base and model.base not in table.models:
            raise OwsegError(f"the model {name} is of none of the table: {model.base!r}.")
    if wrong := [metric for metric in table.metrics if metric not in METRICS]:
        raise OwsegError(f"there is no metric {wrong[0]!r}; it is one of {', '.join(METRICS)}.")

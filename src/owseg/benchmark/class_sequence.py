"""A sequence of a recipe: classes learned one after another, by several methods, from several draws of shots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from owseg._registry import read_options
from owseg.benchmark._checked import checked, names_in
from owseg.benchmark.options import as_text
from owseg.errors import OwsegError
from owseg.learners import LEARNERS
from owseg.types import DEFAULT_SHOTS

if TYPE_CHECKING:
    from owseg.learners.base import Learner

SEQUENCE: dict[str, type] = {
    "kb": list, "order": list, "shots_data": str, "shots_split": str, "data": str, "shots": list, "draws": int,
    "learners": dict, "joint": dict, "optional": bool,
}  # fmt: skip


@dataclass(frozen=True)
class ClassSequence:
    """Classes that each knowledge base of ``kb`` learns in ``order``, by each of ``learners``, by their titles.

    For every number in ``shots``, ``draws`` draws are made from a split of ``shots_data``; what was learned is measured
    on the data set ``data`` of the recipe. ``joint`` has, by the number of classes learned, knowledge bases that were
    trained with these from the start, one for each of ``kb``. ``optional`` is as for a model.
    """

    name: str
    kb: tuple[str, ...]
    order: tuple[str, ...]
    shots_data: str
    data: str
    shots: tuple[int, ...] = (DEFAULT_SHOTS, 1)
    draws: int = 5
    shots_split: str = "train"
    learners: Mapping[str, Learner] = field(default_factory=dict, hash=False)
    joint: Mapping[int, tuple[str, ...]] = field(default_factory=dict, hash=False)
    optional: bool = False

    @property
    def places(self) -> tuple[str, ...]:
        """Whatever names a file or a folder: in the order that ``at`` takes."""
        return (self.shots_data, *self.kb, *(kb for of_step in self.joint.values() for kb in of_step))

    def at(self, places: Iterable[str]) -> ClassSequence:
        """Return this sequence with other ``places``."""
        left = iter(places)
        shots_data, kb = next(left), tuple(next(left) for _ in self.kb)
        joint = {n: tuple(next(left) for _ in of_step) for n, of_step in self.joint.items()}
        return replace(self, shots_data=shots_data, kb=kb, joint=joint)


def read_sequence(where: str, name: str, table: Any) -> ClassSequence:
    """Return the sequence that a table of a recipe describes; raise ``OwsegError`` with its key for what is wrong."""
    if isinstance(table, dict) and isinstance(table.get("kb"), str):
        table = {**table, "kb": [table["kb"]]}
    fields = checked(where, table, SEQUENCE, ("kb", "order", "shots_data", "data"))
    for key in ("kb", "order"):
        fields[key] = names_in(f"{where}.{key}", fields[key])
    if "shots" in fields:
        fields["shots"] = _numbers(f"{where}.shots", fields["shots"])
    if fields.get("draws", 1) < 1:
        raise OwsegError(f"{where}.draws is 1 or more, not {fields['draws']}.")
    fields["learners"] = {
        title: _learner(f"{where}.learners.{title}", title, given)
        for title, given in (fields.get("learners") or {"probe": {}}).items()
    }
    fields["joint"] = {
        step: kb
        for text, given in fields.get("joint", {}).items()
        for step, kb in [_bound(f"{where}.joint.{text}", text, given, len(fields["order"]), len(fields["kb"]))]
    }
    return ClassSequence(name, **fields)


def _numbers(where: str, values: list[Any]) -> tuple[int, ...]:
    if not values or any(type(v) is not int or v < 1 for v in values) or len(set(values)) < len(values):
        raise OwsegError(f"{where} is a list of different whole numbers, 1 or more, not {values!r}.")
    return tuple(values)


def _learner(where: str, title: str, table: Any) -> Learner:
    if not isinstance(table, dict):
        raise OwsegError(f"{where} is a table of the method and its options, not {table!r}.")
    method = table.get("method", title)
    if not isinstance(method, str) or method not in LEARNERS.entries:
        raise OwsegError(f"{where}.method is {' or '.join(LEARNERS.entries)}, not {method!r}.")
    texts = {key: as_text(f"{where}.{key}", value) for key, value in table.items() if key != "method"}
    return LEARNERS.make(method, **read_options(LEARNERS[method], texts, where))


def _bound(where: str, text: str, given: Any, steps: int, networks: int) -> tuple[int, tuple[str, ...]]:
    if not (text.isdecimal() and 1 <= int(text) <= steps):
        raise OwsegError(f"{where} is of a number of classes learned, 1 to {steps}.")
    kb = names_in(where, [given] if isinstance(given, str) else given if isinstance(given, list) else [])
    if len(kb) != networks:
        raise OwsegError(f"{where} names {len(kb)} knowledge bases; give one for each of kb, {networks}.")
    return int(text), kb

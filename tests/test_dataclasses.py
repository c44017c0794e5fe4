"""Every public dataclass can be compared, and every frozen one hashed, whatever its fields hold."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import owseg

MODULES: list[types.ModuleType] = []
for _module in pkgutil.walk_packages(owseg.__path__, "owseg."):
    if not _module.name.endswith("__main__"):
        with suppress(ModuleNotFoundError):  # of an extra
            MODULES.append(importlib.import_module(_module.name))
NAMES = {name: value for module in MODULES for name, value in vars(module).items() if not name.startswith("_")}
"""What annotations may name, though a module imports it for type checkers only."""

CLASSES = {
    f"{value.__module__}.{name}": value
    for name, value in NAMES.items()
    if isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__.startswith("owseg")
}


def value_of(hint: Any) -> Any:
    """Return a value of a type, the hardest to compare and to hash that it allows."""
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return value_of(next(a for a in arguments if a is not type(None)))
    if origin is np.ndarray:
        return np.arange(4.0).reshape(2, 2)
    if origin is torch.Tensor:
        return torch.arange(4.0).view(2, 2)
    if origin in (dict, Mapping):
        return {"a": [value_of(arguments[1])] if arguments else [1]}
    if origin in (list, Sequence):
        return [value_of(arguments[0])] * 2
    if origin is tuple:
        return tuple(value_of(a) for a in arguments if a is not ...)
    if origin is Callable:
        return value_of
    if dataclasses.is_dataclass(origin):
        return made(origin)
    return {int: 1, float: 0.5, str: "a", bool: True, Path: Path("a")}.get(origin, "a")


def made(kind: type) -> Any:
    """Return an instance whose fields have values of their types, as unlikely as they may be together."""
    one, hints = object.__new__(kind), typing.get_type_hints(kind, localns=NAMES)
    for field in dataclasses.fields(kind):
        object.__setattr__(one, field.name, value_of(hints[field.name]))
    return one


def test_they_are_found():
    assert len(CLASSES) > 75 and {"owseg._registry.Entry", "owseg.knowledge.base.KnowledgeBase"} < CLASSES.keys()


@pytest.mark.parametrize("name", CLASSES)
def test_a_value_can_be_compared_and_hashed(name):
    one, other = made(CLASSES[name]), made(CLASSES[name])
    assert one == one and isinstance(one == other, bool) and isinstance(one != other, bool)
    if CLASSES[name].__dataclass_params__.frozen:
        assert len({one, one}) == 1 and len({one: 0, other: 1}) == (1 if one == other else 2)

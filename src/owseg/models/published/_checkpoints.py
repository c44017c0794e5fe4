"""Checkpoints of torch from files into modules: tensors alone are read, by the names that their authors gave them."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from owseg.errors import OwsegError
from owseg.models.published._weights import place_of

M = TypeVar("M", bound=nn.Module)

INSIDE = ("model_state", "model", "state_dict")
"""The keys under which a training script keeps the tensors beside its optimiser."""

PREFIXES = ("module.", "branch1.", "model.")
"""With what the name of every tensor may begin, as it was wrapped in training."""

BOOKKEEPING = re.compile(r"(^|\.)(_tmp_running_(mean|var)|_running_iter|num_batches_tracked)$")
"""What normalisation layers count in training; inference reads none of it."""


@dataclass(frozen=True)
class Part:
    """A module, and how its tensors are called in a file: the beginning of a name here -> that of it there."""

    module: nn.Module
    names: Mapping[str, str] = field(default_factory=lambda: {"": ""}, hash=False)

    def name_of(self, own: str) -> str:
        """Return the name in the file; the first beginning that fits counts."""
        begin = next(begin for begin in self.names if own.startswith(begin))
        return self.names[begin] + own.removeprefix(begin)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of torch or safetensors, by name, without what its training alone needs.

    Nothing but tensors and plain values is unpickled. Raises ``OwsegError`` for a file that is missing or damaged, asks
    for code, or holds no tensors.
    """
    path = path.expanduser()
    try:
        with torch.serialization.safe_globals(_numbers()):
            safe = path.suffix == ".safetensors"
            value: Any = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise OwsegError(f"{path} is no file of safetensors ({error}).") from None
    except OSError as error:
        raise OwsegError(f"{path} cannot be read ({(error.strerror or str(error)).lower()}); name another.") from None
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        what = f"asks for code ({asked[1]})" if asked else "holds more than tensors"
        raise OwsegError(f"{path} {what} and was not opened; only files of tensors are.") from None
    except Exception:  # a damaged file can raise anything
        raise OwsegError(f"{path} is no checkpoint of torch; give the file as its authors publish it.") from None
    while isinstance(value, Mapping) and (key := next((k for k in INSIDE if isinstance(value.get(k), Mapping)), None)):
        value = value[key]
    if not isinstance(value, Mapping) or not value or not all(isinstance(v, Tensor) for v in value.values()):
        raise OwsegError(f"{path} holds no tensors by name.")
    state = {_bare(str(name)): tensor for name, tensor in value.items()}
    return {name: tensor for name, tensor in state.items() if not BOOKKEEPING.search(name)}


def shape_of(state: Mapping[str, Tensor], name: str, path: Path, what: str) -> tuple[int, ...]:
    """Return the shape of the convolution ``name``; raise ``OwsegError`` where there is none."""
    if name not in state or state[name].ndim != 4:
        raise _other(path, what, f"{name} is missing")
    return tuple(state[name].shape)


def resnet_blocks(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Return the numbers of blocks of the layers ``layer1`` to ``layer4``, at least one each."""
    return _blocks(state, r"layer(\d+)\.(\d+)\.", range(1, 5))


def wide_blocks(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Return the numbers of blocks of the modules ``mod2`` to ``mod7``, at least one each."""
    return _blocks(state, r"mod(\d+)\.block(\d+)\.", range(2, 8))


def _blocks(state: Mapping[str, Tensor], pattern: str, layers: range) -> tuple[int, ...]:
    found = {(int(match[1]), match[2]) for name in state if (match := re.match(pattern, name))}
    # One where there is none, so that ``fill`` names what is missing.
    return tuple(max(1, sum(number == layer for number, _ in found)) for layer in layers)


def fill(
    parts: Sequence[Part], state: Mapping[str, Tensor], path: Path, what: str, dropped: tuple[str, ...] = ()
) -> None:
    """Fill the modules of ``parts`` with ``state``; tensors whose name begins with one of ``dropped`` are left out.

    Raises ``OwsegError``, with its name, for a tensor that is missing, left over, of another shape or not finite.
    """
    used = set()
    for part in parts:
        found = {}
        for own, tensor in part.module.state_dict().items():
            name = part.name_of(own)
            if BOOKKEEPING.search(name):
                found[own] = tensor
                continue
            if name not in state:
                raise _other(path, what, f"{name} is missing")
            if state[name].shape != tensor.shape:
                raise _other(path, what, f"{name} is {_size(state[name])}, not {_size(tensor)}")
            if not state[name].isfinite().all():
                raise _other(path, what, f"{name} holds NaN or infinite values")
            found[own] = state[name]
            used.add(name)
        part.module.load_state_dict(found)
    if left := next((name for name in state if name not in used and not name.startswith(dropped)), None):
        raise _other(path, what, f"{left} is left over")


def load_encoder(
    name: str, variants: Mapping[str, Callable[[], M]], names: Mapping[str, str], dropped: tuple[str, ...]
) -> M:
    """Return the encoder of ``variants`` that ``name``, VARIANT:FILE, names, with the weights of that file.

    ``names`` are those of a ``Part``; tensors whose name begins with one of ``dropped``, which a classifier of images
    has besides, are left out. Raises ``OwsegError`` for another name, without a file, and as ``read_checkpoint`` and
    ``fill`` do.
    """
    variant, _, place = name.partition(":")
    if variant not in variants:
        raise OwsegError(f"there is no backbone {name!r}; give {' or '.join(f'{known}:FILE' for known in variants)}.")
    path, encoder = place_of(variant, place, None), variants[variant]()
    fill([Part(encoder, names)], read_checkpoint(path), path, variant, dropped)
    return encoder


def _bare(name: str) -> str:
    while prefix := next((p for p in PREFIXES if name.startswith(p)), ""):
        name = name.removeprefix(prefix)
    return name


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


def _numbers() -> list[Any]:
    """Return what numbers of numpy are made of, which training scripts keep beside the tensors: their best score."""
    make = np.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [
        *((make, name) for name in names),
        np.dtype,
        *{type(np.dtype(t)) for t in (np.float32, np.float64, np.int64)},
    ]


def _other(path: Path, what: str, reason: str) -> OwsegError:
    return OwsegError(f"{path} does not hold the weights of {what} ({reason}).")

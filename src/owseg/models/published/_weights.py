"""Published weights from a file into modules; what does not fit ends in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from owseg.errors import OwsegError

M = TypeVar("M", bound=nn.Module)


def place_of(name: str, place: str, weights: str | Path | None) -> Path:
    """Return where the weights of the network ``name`` lie; raise ``OwsegError`` where neither says it."""
    if not (weights or place):
        raise OwsegError(f"the weights of {name} do not come with owseg; give their file as {name}:FILE.")
    return Path(weights or place)


def read_weights(path: Path, what: str, *needed: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, or of model.safetensors in the folder ``path``, by name.

    Raises ``OwsegError`` where there is no file, and for one that is damaged or has not all of ``needed``.
    """
    path = path.expanduser()
    path = path / "model.safetensors" if path.is_dir() else path
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise _other(path, what, error) from None
    for name in needed:
        if name not in state:
            raise OwsegError(f"{path} does not hold the weights of {what} ({name} is missing).")
    return dict(state)


def filled(module: M, state: Mapping[str, Tensor], path: Path, what: str) -> M:
    """Return ``module`` with the weights ``state``.

    Raises ``OwsegError`` where one is missing, left over or of another shape.
    """
    try:
        module.load_state_dict(dict(state))
    except RuntimeError as error:
        raise _other(path, what, error) from None
    return module


def _other(path: Path, what: str, error: Exception) -> OwsegError:
    reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
    return OwsegError(f"{path} does not hold the weights of {what} ({reason:.200}).")

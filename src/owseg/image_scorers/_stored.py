"""A small network in one safetensors file, with what it takes to build it again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import nn

from owseg._files import write_whole
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase

M = TypeVar("M", bound=nn.Module)


def write_module(module: nn.Module, kind: str, config: Mapping[str, Any], path: str | Path) -> Path:
    """Write the weights of ``module`` and ``config`` as a ``kind``, whole or not at all, and return the path."""
    # safetensors refuses tensors in another memory format, such as channels_last.
    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    return write_whole(path, to_bytes(state, {kind: json.dumps(dict(config))}))


def read_module(path: str | Path, kind: str, make: Callable[..., M], what: str) -> M:
    """Return ``make(**config)`` with the weights of a file that ``write_module`` wrote, in evaluation mode.

    Raises ``OwsegError``, which calls it ``what``, for any other file and for weights that are not finite.
    """
    try:
        with safe_open(str(path), "pt") as file:
            module = make(**json.loads((file.metadata() or {})[kind]))
            module.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        if bad := [name for name, v in module.state_dict().items() if not torch.isfinite(v).all()]:
            raise ValueError(f"{bad[0]} is not finite")
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise OwsegError(f"{path} does not hold {what} ({reason}); train one again.") from None
    return module.eval()


def required(weights: str, name: str) -> str:
    """Return ``weights``, the path of a file; raise ``OwsegError`` where the image scorer ``name`` was given none."""
    if not weights:
        hint = f"give the file that `owseg fit-baseline {name}` stored"
        raise OwsegError(f"the image scorer {name} needs its weights; {hint}.")
    return weights


def require_network(name: str, kb: KnowledgeBase, classes: tuple[str, ...], digest: str, own: str) -> None:
    """Raise ``OwsegError`` where the image scorer ``name`` was trained for a network of other classes or weights."""
    if classes != kb.base_classes:
        raise OwsegError(
            f"this {name} was trained for the classes {', '.join(classes)}, and the network has "
            f"{', '.join(kb.base_classes)}; train it for this one."
        )
    if digest != own:
        raise OwsegError(f"this {name} was trained for a network of other weights; train it for this one.")

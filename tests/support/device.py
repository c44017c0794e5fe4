"""A device that is not there: tensors on it have their values on the CPU, and do not mix with others.

It stands in for a GPU. Its tensors say that they are on "meta"; what would fail on a GPU because a tensor was left
behind, or was never brought back, fails on it, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import lightning_fabric as lightning
import pytest
import torch
from lightning_fabric.accelerators import CPUAccelerator
from lightning_fabric.strategies import SingleDeviceStrategy
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")


class Away(torch.Tensor):
    """A tensor on the device; ``values`` are its values on the CPU."""

    values: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> Away:
        made = torch.Tensor._make_wrapper_subclass(
            cls, values.shape, strides=values.stride(), storage_offset=values.storage_offset(), dtype=values.dtype,
            device=DEVICE,
        )  # fmt: skip
        made.values = values
        return made

    def tolist(self) -> Any:
        return self.values.tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:  # a checkpoint has the values
        return self.values.__reduce_ex__(protocol)

    def __tensor_flatten__(self) -> tuple[list[str], None]:  # with these, Module.to moves a parameter in its place
        return ["values"], None

    @staticmethod
    def __tensor_unflatten__(parts: Mapping[str, torch.Tensor], *_: Any) -> Away:
        return Away(parts["values"])

    @classmethod
    def __torch_dispatch__(cls, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(call, args, kwargs or {})


class Device(TorchDispatchMode):
    """While it is entered, tensors can be moved to the device and back."""

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(call, args, kwargs or {})


def run(call: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Compute ``call`` on the CPU; raise ``RuntimeError`` for tensors of both devices, unless one copies them."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    away = any(isinstance(tensor, Away) for tensor in tensors)
    name = call._schema.name.removeprefix("aten::")
    # A number as a tensor of the CPU may take part, as on a GPU.
    if away and name not in ("_to_copy", "copy_") and any(t.ndim and not isinstance(t, Away) for t in tensors):
        raise RuntimeError(f"{name} was given tensors on two devices")
    if name == "copy_":
        away = isinstance(args[0], Away)
    if kwargs.get("device") is not None:
        away = torch.device(kwargs["device"]).type == DEVICE.type
        kwargs = {**kwargs, "device": torch.device("cpu")}
    found = call(*tree_map(_on_cpu, args), **tree_map(_on_cpu, kwargs))
    if not away:
        return found
    made = tree_map(lambda value: Away(value) if isinstance(value, torch.Tensor) else value, found)
    return return_and_correct_aliasing(call, args, dict(kwargs), made)


def _on_cpu(value: Any) -> Any:
    return value.values if isinstance(value, Away) else value


class Accelerator(CPUAccelerator):
    """Fabric's, for the device."""

    def setup_device(self, device: torch.device) -> None:
        pass


def devices(*modules: torch.nn.Module) -> set[str]:
    """Return the kinds of device on which modules have tensors."""
    return {t.device.type for module in modules for t in (*module.parameters(), *module.buffers())}


@contextmanager
def trainings_on_it(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let every training run on the device."""
    strategy = SingleDeviceStrategy(DEVICE, Accelerator())
    with monkeypatch.context() as patch, Device():
        patch.setattr(lightning, "Fabric", partial(lightning.Fabric, strategy=strategy))
        patch.setattr(torch, "autocast", lambda *given, **options: nullcontext())  # which does not know the device
        yield

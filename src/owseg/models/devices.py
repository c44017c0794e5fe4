"""Which device runs a network: a name that a person gives, such as "auto" or "cuda:1", and what is there."""

from __future__ import annotations

import torch

from owseg.errors import OwsegError

AUTO = "auto"


def choose_device(name: str = AUTO) -> torch.device:
    """Return the device ``name``: "auto", "cpu", "cuda", "cuda:N" or "mps".

    "auto" is a GPU of CUDA, else one of Apple's, else the CPU. Raises ``OwsegError`` for another name, and for a device
    that is not there.
    """
    if name == AUTO:
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if _count(kind)))
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdecimal()) or (number and kind != "cuda"):
        raise OwsegError(f"there is no device {name!r}; it is auto, cpu, cuda, cuda:1 or mps.")
    count = _count(kind)
    if int(number or 0) >= count:
        there = f"the GPUs are numbered from 0 to {count - 1}" if count else f"torch finds no {kind} device"
        raise OwsegError(f"{name} is not there: {there}; give another --device, or auto.")
    return torch.device(name)


def device_title(device: torch.device) -> str:
    """Return the name of a device for people, such as ``cuda:0 (NVIDIA H200)``."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def _count(kind: str) -> int:
    """Return how many devices of a ``kind`` there are."""
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    return int(kind == "cpu" or torch.backends.mps.is_available())

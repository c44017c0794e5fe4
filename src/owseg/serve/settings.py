"""What a client of the service may send."""

from __future__ import annotations

from dataclasses import dataclass

from owseg.errors import OwsegError


@dataclass(frozen=True)
class Limits:
    """How much a client may send, and how long images wait for others.

    ``max_bytes`` of a request, ``max_pixels`` of an image, ``max_queue`` images that wait, ``max_wait`` seconds for
    others to be run with, ``seconds`` to send a request.
    """

    max_bytes: int = 32 << 20
    max_pixels: int = 16_000_000
    max_queue: int = 64
    max_wait: float = 0.01
    seconds: float = 20.0

    def __post_init__(self) -> None:
        for name, least in (("max_bytes", 1), ("max_pixels", 1), ("max_queue", 1), ("max_wait", 0), ("seconds", 0.1)):
            if not getattr(self, name) >= least:
                raise OwsegError(f"{name.replace('_', '-')} is at least {least}, not {getattr(self, name)}.")

"""Outputs that are cached, so that each image passes the network once however often it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from threading import Lock

import numpy as np
from torch import Tensor

from owseg.models.engine import Engine
from owseg.models.over_images import Batched, threads_of
from owseg.types import Forward, Output


class CachedForward:
    """A ``Forward`` that caches the outputs of another: each image passes the network once.

    Learning never changes the network, so its outputs stay valid. An output takes about 4 MB for a MobileNetV2 at
    480x360; once ``gigabytes`` (of 2^30 bytes) are full, further images pass the network each time. Several threads may
    use it.
    """

    def __init__(self, forward: Forward, gigabytes: float = 2.0) -> None:
        self.forward, self.gigabytes, self.bytes_left = forward, gigabytes, gigabytes * 2**30
        self._outputs: dict[str, Output] = {}
        self._lock = Lock()

    @property
    def batch_size(self) -> int:
        """The number of images that are run at once."""
        return self.forward.batch_size if isinstance(self.forward, Batched) else 1

    @property
    def threads(self) -> int:
        """The number of images, or of batches, that are worked on at the same time."""
        return threads_of(self.forward)

    @cached_property
    def of_pyramid(self) -> CachedForward:
        """The cache of another forward whose outputs have the same pyramid (see ``pyramids``), of the same size."""
        return CachedForward(pyramids(self.forward), self.gigabytes)

    def __call__(self, image: np.ndarray, scale: float = 1.0) -> Output:
        """Return the output for an image (3, H, W) uint8."""
        key = _key(image, scale)
        if key in self._outputs:
            return self._outputs[key]
        # Whoever brings a function of the image alone can learn by all methods but those that need scales.
        return self._kept(key, self.forward(image) if scale == 1 else self.forward(image, scale))

    def run(self, images: Sequence[np.ndarray]) -> list[Output]:
        """Return the output for each of some images of one size."""
        if not isinstance(self.forward, Batched):
            return [self(image) for image in images]
        keys = [_key(image, 1.0) for image in images]
        new = [i for i, key in enumerate(keys) if key not in self._outputs]
        outputs = dict(zip(new, self.forward.run([images[i] for i in new]) if new else (), strict=True))
        return [self._kept(key, outputs[i]) if i in outputs else self._outputs[key] for i, key in enumerate(keys)]

    def _kept(self, key: str, output: Output) -> Output:
        with self._lock:
            size = _bytes_of(output)
            if key not in self._outputs and size <= self.bytes_left:
                self._outputs[key], self.bytes_left = output, self.bytes_left - size
            return self._outputs.get(key, output)


def pyramids(forward: Forward) -> Forward:
    """Return what gives the pyramids of ``forward`` and need give nothing else: faster where its network is known."""
    if isinstance(forward, CachedForward):
        return forward.of_pyramid
    return forward.of_pyramid() if isinstance(forward, Engine) else forward


def _key(image: np.ndarray, scale: float) -> str:
    # By content, as the same image may be read into another array; with the shape, which the bytes do not tell.
    about = repr((image.shape, scale)).encode()
    return hashlib.sha256(about + np.ascontiguousarray(image).tobytes()).hexdigest()


def _bytes_of(output: Output) -> int:
    sizes: list[int] = []

    def counted(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    output.map(counted)
    return sum(sizes)

"""The engine: from images to outputs. All code that runs a network over images uses it."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from owseg.errors import OwsegError
from owseg.models.network import Network, to_tensor
from owseg.models.ops import resize_image, working_size
from owseg.models.residual_pattern import ResidualPattern
from owseg.models.sides import averaged_over_sides
from owseg.models.tiles import tiled, windowed
from owseg.types import Forward, Output

TILE = 512
"""The side of a tile, in pixels, for a network without a working size."""

SMALLEST = 32
"""An image with a shorter side, in pixels, is too small: it is one cell of the network's last features."""

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class Engine:
    """A ``Forward``, image (3, H, W) uint8 -> ``Output``: one pass of a network and of its residual pattern, if any.

    The image is resized to the network's working size, or to ``size``: the length of the shorter side, to a multiple of
    32 pixels each. With ``full_resolution`` the embedding is interpolated to (H, W) before it is classified; with
    ``multi_scale`` it is averaged over views of the image (see ``Network.multi_scale``). With ``tile`` the image keeps
    its size, or gets ``size``, and is run in overlapping tiles as large as the working size (see ``tiled``); with
    ``window`` in sliding windows of so many pixels a side (see ``windowed``). A network of ``squares`` is always run in
    tiles. With ``sides`` the image gets each of these as its shorter side, and logits are averaged at (H, W) (see
    ``averaged_over_sides``); of the other options ``multi_scale`` alone acts then. Runs on the device of the network,
    without gradients.
    """

    network: Network = field(repr=False)
    residual: ResidualPattern | None = field(default=None, repr=False)
    full_resolution: bool = False
    multi_scale: bool = False
    size: int | None = None
    tile: bool = False
    window: int | None = None
    sides: tuple[int, ...] = ()

    @torch.no_grad()
    def __call__(self, image: np.ndarray, scale: float = 1.0) -> Output:
        """Return the output for an image, its sides ``scale`` times those of the working size.

        Raises ``OwsegError`` for any other array, and an image that is too small for a network without a working size.
        """
        batch = to_tensor(image).to(next(self.network.parameters()).device)
        given = torch.from_numpy(np.ascontiguousarray(image)).to(batch.device)[None]
        try:
            return replace(self._run(batch, scale), image=given)
        except RuntimeError as error:
            # A kernel may be larger than the features of a small image; most networks take it all the same.
            height, width = image.shape[1:]
            if min(height, width) < SMALLEST and self.network.size is None:
                raise OwsegError(
                    f"an image of {width}x{height} is too small for this network; leave it out."
                ) from error
            raise

    def _run(self, batch: Tensor, scale: float) -> Output:
        """Return the output for an image (1, 3, H, W) in [0, 1]."""
        network: Callable[..., Output] = self.network.multi_scale if self.multi_scale else self.network
        run = partial(network, residual=self.residual)
        size = (batch.shape[-2], batch.shape[-1])
        if self.sides:
            return averaged_over_sides(run, batch, self.sides, scale, self.network.multiple)
        shorter = self.size or (None if self.tile or self.window else self.network.size)
        shape = working_size(size, shorter, scale, self.network.multiple)
        # The same memory format as the weights (see ``prepared``), or each convolution would convert its input.
        batch = resize_image(batch, shape).contiguous(memory_format=torch.channels_last)
        # Of a network of squares, a tile is no longer than the image's shorter side.
        side = min(self.network.size or TILE, *shape) if self.network.squares else self.network.size or TILE
        if self.window is not None:
            output = windowed(run, batch, self.window)
        else:
            output = tiled(run, batch, side) if self.tile or self.network.squares else run(batch)
        return self.network.full_resolution(output, size) if self.full_resolution else output


class CachedForward:
    """A ``Forward`` that caches the outputs of another: each image passes the network once.

    Learning never changes the network, so its outputs stay valid. An output takes about 4 MB for a MobileNetV2 at
    480x360; once ``gigabytes`` (of 2^30 bytes) are full, further images pass the network each time.
    """

    def __init__(self, forward: Forward, gigabytes: float = 2.0) -> None:
        self.forward, self.bytes_left = forward, gigabytes * 2**30
        self._outputs: dict[str, Output] = {}

    def __call__(self, image: np.ndarray, scale: float = 1.0) -> Output:
        """Return the output for an image (3, H, W) uint8."""
        # By content, as the same image may be read into another array; with the shape, which the bytes do not tell.
        about = repr((image.shape, scale)).encode()
        key = hashlib.sha256(about + np.ascontiguousarray(image).tobytes()).hexdigest()
        if key not in self._outputs:
            # Whoever brings a function of the image alone can learn by all methods but those that need scales.
            output = self.forward(image) if scale == 1 else self.forward(image, scale)
            size = _bytes_of(output)
            if size > self.bytes_left:
                return output
            self._outputs[key], self.bytes_left = output, self.bytes_left - size
        return self._outputs[key]


def _bytes_of(output: Output) -> int:
    every = (*output.features, output.embedding, output.logits, output.residual, output.evidence, output.negative,
             output.image)  # fmt: skip
    tensors = {id(t): t for t in every if t is not None}  # a linear classifier's evidence is its logits
    return sum(t.numel() * t.element_size() for t in tensors.values())


def prepared(module: M) -> M:
    """Return ``module`` in evaluation mode and in the memory format channels_last: itself if it is so, else a copy.

    The format decides the last bits of a convolution, so the same weights have the same one everywhere.
    """
    weights = [p for p in (*module.parameters(), *module.buffers()) if p.ndim == 4]
    # By strides: 1x1 and depth-wise kernels count as contiguous in either format, and convolutions differ by them.
    laid_out = all(p.stride() == _channels_last(p.shape) for p in weights)
    if laid_out and not any(m.training for m in module.modules()):
        return module
    return prepare(copy.deepcopy(module))


def prepare(module: M) -> M:
    """Set ``module`` itself to evaluation mode and channels_last, and return it: what ``prepared`` does to a copy."""
    ready: M = module.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ready


def _channels_last(shape: torch.Size) -> tuple[int, ...]:
    _, channels, height, width = shape
    return channels * height * width, 1, channels * width, channels

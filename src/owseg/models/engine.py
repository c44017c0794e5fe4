"""The engine: from images to outputs. All code that runs a network over images uses it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from owseg.errors import OwsegError
from owseg.models.network import BackboneAlone, Network, check_image
from owseg.models.ops import resize_image, size_of, working_size
from owseg.models.residual_pattern import ResidualPattern
from owseg.models.sides import averaged_over_sides
from owseg.models.tiles import tiled, windowed
from owseg.types import Output

PRECISIONS = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}
"""The floats that a network may compute with, by the name of the option; what it returns is always float32."""

BATCH = 8
"""The images that a GPU runs at once, if nobody says how many."""

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

    ``over_images`` runs it on many images: ``batch`` of one size at a time, by default one on a CPU and ``BATCH`` on a
    GPU, while ``workers`` threads read others and do what is done with outputs, by default as many as torch has.
    ``precision`` is one of ``PRECISIONS``: with 16 bits a GPU is faster, and scores differ a little from those that the
    threshold was found on. With ``compiled`` torch compiles the network for each size of image, which takes a minute
    (on a CPU it needs a C++ compiler), and one batch is run at a time; labels are the same, embeddings to the last
    digits.
    """

    network: Network = field(repr=False)
    residual: ResidualPattern | None = field(default=None, repr=False)
    full_resolution: bool = False
    multi_scale: bool = False
    size: int | None = None
    tile: bool = False
    window: int | None = None
    sides: tuple[int, ...] = ()
    batch: int | None = field(default=None, repr=False)
    workers: int | None = field(default=None, repr=False)
    precision: str = field(default="32", repr=False)
    compiled: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise OwsegError(f"there is no precision {self.precision!r}; it is {', '.join(PRECISIONS)}.")
        for name in ("batch", "workers"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise OwsegError(f"{name} is a number of images, 1 or more, not {value}.")
        _ = self._alone  # before several threads ask for it

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}  # no lock

    def of_pyramid(self) -> Engine:
        """Return an engine whose outputs have the same pyramid; the network is its backbone alone."""
        # Views of multi_scale, and all sides but the last, leave no trace in the pyramid.
        views: dict[str, Any] = {"full_resolution": False, "multi_scale": False, "sides": self.sides[-1:]}
        return replace(self, network=prepared(BackboneAlone.of(self.network)), residual=None, **views)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @property
    def batch_size(self) -> int:
        """The number of images that are run at once."""
        return self.batch or (1 if self.device.type == "cpu" else BATCH)

    @property
    def threads(self) -> int:
        """The number of images, or of batches, that are worked on at the same time."""
        return self.workers or torch.get_num_threads()

    def __call__(self, image: np.ndarray, scale: float = 1.0) -> Output:
        """Return the output for an image, its sides ``scale`` times those of the working size.

        Raises ``OwsegError`` for any other array, and an image that is too small for a network without a working size.
        """
        check_image(image)
        return self._outputs([image], scale)

    def run(self, images: Sequence[np.ndarray]) -> list[Output]:
        """Return the output for each of some images of one size, in one batch; raise as for a single one."""
        for image in images:
            check_image(image)
        output = self._outputs(images, 1.0)
        return [output.of(i) for i in range(len(images))] if len(images) > 1 else [output]

    @torch.no_grad()
    def _outputs(self, images: Sequence[np.ndarray], scale: float) -> Output:
        given = torch.from_numpy(np.stack(images))
        # Bytes are copied, a quarter of the floats; from pinned memory while the GPU is busy with the batch before.
        given = given.pin_memory() if self.device.type == "cuda" else given
        given = given.to(self.device, non_blocking=True)
        dtype = PRECISIONS[self.precision]
        reduced = nullcontext() if dtype == torch.float32 else torch.autocast(self.device.type, dtype)
        # On a GPU one batch at a time: a second one would only take memory. Whatever follows is on its way meanwhile.
        # Compiled, too: while torch compiles for one thread, flags of the process are set which the others read.
        with self._alone if self.compiled or self.device.type != "cpu" else nullcontext(), reduced:
            try:
                output = self.traceable(given, scale)
            except RuntimeError as error:
                # A kernel may be larger than the features of a small image; most networks take it all the same.
                height, width = given.shape[-2:]
                if min(height, width) < SMALLEST and self.network.size is None:
                    raise OwsegError(
                        f"an image of {width}x{height} is too small for this network; leave it out."
                    ) from error
                raise
        output = output if dtype == torch.float32 else output.map(Tensor.float)
        return replace(output, image=given)

    @cached_property
    def _alone(self) -> Lock:
        return Lock()

    @cached_property
    def _network(self) -> Callable[..., Output]:
        network: Callable[..., Output] = self.network.multi_scale if self.multi_scale else self.network
        return torch.compile(network) if self.compiled else network

    def traceable(self, images: Tensor, scale: float = 1.0) -> Output:
        """Return the output for images (B, 3, H, W) uint8, without its image: tensors alone, for a graph as well."""
        batch = images.float().div_(255)
        run = partial(self._network, residual=self.residual)
        size = size_of(batch)
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

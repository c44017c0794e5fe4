"""Operations and layers that several networks use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from owseg.errors import OwsegError
from owseg.models.traced import adaptive_mean, has_size, is_traced, largest, rounded, shrunken, smallest, surely
from owseg.openset import closed_map

M = TypeVar("M", bound=nn.Module)

MOST_MULTIPLE = 512
"""The largest number of pixels that an image's sides become a multiple of."""

AT_ONCE = 2**29
"""So many logits are interpolated at a time for a closed map: 2 GiB of float32."""


def on_meta(make: Callable[[], M]) -> M:
    """Return the module that ``make`` makes, on the device "meta": its names and shapes, in no memory."""
    with torch.device("meta"):
        return make()


def filled(make: Callable[[], M], read: Callable[[], Mapping[str, Tensor]], refusal: str) -> M:
    """Return the module that ``make`` makes, with the weights that ``read`` returns.

    Whether they fit is found ``on_meta``, so that what someone wrote into a file takes no more memory than the file.
    Raises ``OwsegError``, which begins with ``refusal``, where a name or a shape differs.
    """
    planned = on_meta(make)
    expected, state = planned.state_dict(), dict(read())
    fits = expected.keys() == state.keys() and all(expected[name].shape == value.shape for name, value in state.items())
    if fits:  # in the type and memory format of the module; empty_like, asked about meta, would import SymPy
        like = {n: torch.empty_strided(e.shape, e.stride(), dtype=e.dtype) for n, e in expected.items()}
        state = {name: like[name].copy_(value) for name, value in state.items()}
    try:
        planned.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise OwsegError(f"{refusal} ({str(error).splitlines()[0]}).") from None
    if fits and not _some_on_meta(planned):
        return planned  # no weights were drawn at random
    module = make()
    module.load_state_dict(state)
    return module


def _some_on_meta(module: nn.Module) -> bool:
    """Whether a tensor has no values, such as one that is computed from the configuration and is in no state."""
    kept = (value for part in module.modules() for value in vars(part).values())
    tensors = (*module.parameters(), *module.buffers(), *(value for value in kept if isinstance(value, Tensor)))
    return any(tensor.is_meta for tensor in tensors)


def size_of(maps: Tensor) -> tuple[int, int]:
    """Return the size (h, w) of maps (..., h, w)."""
    return maps.shape[-2], maps.shape[-1]


def working_size(size: tuple[int, int], shorter: int | None, scale: float = 1.0, multiple: int = 1) -> tuple[int, int]:
    """Return the size (h, w) of an image of ``size`` whose shorter side becomes ``shorter``, times ``scale``.

    With ``shorter`` None it keeps its size, times ``scale``. Each side is rounded to the nearest ``multiple``.
    """
    factor = Fraction(str(scale)).limit_denominator(10_000) * (1 if shorter is None else shorter)
    over = 1 if shorter is None else smallest(*size)
    height, width = (rounded(factor.numerator * side, factor.denominator * over) for side in size)
    return _nearest(largest(1, height), multiple), _nearest(largest(1, width), multiple)


def resize_image(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate images (B, 3, H, W) to ``size`` (height, width): bilinear, without aliasing where they shrink."""
    if has_size(images, size):
        return images
    grows = surely(size[0] >= images.shape[-2]) and surely(size[1] >= images.shape[-1])
    if not grows and is_traced():
        return shrunken(images, size)  # which is bilinear interpolation where an image grows
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=not grows)


class ConvNorm(nn.Sequential):
    """A convolution, its batch normalisation, and what follows them.

    Where no gradients are wanted and the normalisation is in evaluation, it is folded into the weights: the same but
    for the last digits, and a map is written once, not twice.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers in their order."""
        conv, norm, *rest = self
        # A norm over several GPUs is another class, as torch replaces it; an exporter folds for itself.
        if torch.is_grad_enabled() or is_traced() or norm.training or not isinstance(norm, nn.BatchNorm2d):
            return cast(Tensor, super().forward(x))  # type: ignore[no-untyped-call]
        conv, mean, var = cast(nn.Conv2d, conv), cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        folded = fuse_conv_bn_weights(conv.weight, conv.bias, mean, var, norm.eps, norm.weight, norm.bias)
        x = conv._conv_forward(x, *folded)
        for layer in rest:
            x = layer(x)
        return x


def conv_bn(inside: int, out: int, kernel: int = 1, rate: int = 1) -> ConvNorm:
    """Return convolution of dilation ``rate``, batch normalisation, ReLU; the size stays."""
    # Without a bias: the batch norm has one.
    conv = nn.Conv2d(inside, out, kernel, padding=rate * (kernel // 2), dilation=rate, bias=False)
    return ConvNorm(conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def check_batch(norm: nn.Module, images: int) -> None:
    """Raise ``OwsegError`` where ``norm`` is in training and would have one value of each channel, that of an image."""
    if norm.training and images < 2:
        raise OwsegError("the mean over an image is not normalised in a batch of one image; give a batch of 2 or more.")


def depthwise(channels: int, rate: int) -> ConvNorm:
    """Return a depth-wise 3x3 of dilation ``rate`` with batch normalisation and ReLU."""
    # Padding as wide as the dilation keeps the size.
    conv = nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate, groups=channels, bias=False)
    return ConvNorm(conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: (B, C, h, w) -> (B, out, ceil(h / stride), ceil(w / stride)).

    Where an odd number of zeros is needed, the odd one is after the last pixel. So at stride 2 an even size is not
    padded as in PyTorch; with PyTorch's padding, every map of published weights of TensorFlow would be shifted.
    """

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Pad for the size of ``x``, then convolve."""
        of_axes = zip(x.shape[-2:], self.kernel_size, self.stride, self.dilation, strict=True)
        (top, bottom), (left, right) = (_same(*axis) for axis in of_axes)
        if surely(top == bottom) and surely(left == right):  # the convolution pads by itself, without a copy of the map
            return F.conv2d(x, weight, bias, self.stride, (top, left), self.dilation, self.groups)
        x = F.pad(x, (left, right, top, bottom))
        return F.conv2d(x, weight, bias, self.stride, 0, self.dilation, self.groups)


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Return the zeros before and after a row of ``size`` pixels."""
    if stride == 1:
        return (kernel - 1) // 2 * dilation, kernel // 2 * dilation
    # In whole numbers and without a branch, as an exported graph pads for the size that it is run at.
    zeros = largest(((size + stride - 1) // stride - 1) * stride + kernel - size, 0)
    return zeros // 2 * dilation, (zeros - zeros // 2) * dilation


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate (B, C, h, w) bilinearly to ``size`` (height, width), with ``align_corners=False``."""
    if has_size(maps, size):
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def resize_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Return ids (B, H, W) at ``size`` (h, w), long: each cell has the id of the pixel at its centre."""
    # "nearest" would take the pixel at a cell's corner. Through float, as int64 has no kernel; ids are exact in it.
    return F.interpolate(labels[:, None].float(), size=size, mode="nearest-exact")[:, 0].long()


def pooled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps (B, C, H, W) at ``size`` (h, w), each cell the mean of those that it covers."""
    # By products in a graph: runtimes have no such pooling.
    return adaptive_mean(maps, size) if is_traced() else F.adaptive_avg_pool2d(maps, size)


class Pool(nn.Module):
    """``pooled`` to squares of ``bins`` a side."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, bins, bins)."""
        return pooled(maps, (self.bins, self.bins))


class Shuffle(nn.Module):
    """Channels of ``groups`` take turns, as ``nn.ChannelShuffle``, which cannot be exported."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        return x.reshape(x.shape[0], self.groups, -1, *x.shape[-2:]).transpose(1, 2).flatten(1, 2)


def closed_map_at(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the ``closed_map`` (B, H, W) long of logits (B, K, h, w) that are interpolated to ``size`` (H, W).

    A few classes are interpolated at a time: at 24 megapixels the logits of 150 would take 14 GB.
    """
    if is_traced():  # a graph has one number of steps, for any size
        return closed_map(resize(logits, size))
    step = max(1, AT_ONCE // (len(logits) * size[0] * size[1]))
    if logits.shape[1] <= step:
        return closed_map(resize(logits, size))
    best, labels = resize(logits[:, :step], size).max(1)
    for first in range(step, logits.shape[1], step):
        values, indices = resize(logits[:, first : first + step], size).max(1)
        better = values > best  # ties go to the first class
        best = torch.where(better, values, best)
        labels = torch.where(better, indices.add_(first), labels)
    return labels


def resize_to_multiple(image: Tensor, multiple: int | Sequence[int]) -> Tensor:
    """Resize (B, C, H, W) bilinearly so that each side is the nearest multiple of ``multiple``, and at least one.

    ``multiple`` is one number, or one of the height and one of the width. Half-way between two it is the larger.
    """
    rows, columns = (multiple, multiple) if isinstance(multiple, int) else multiple
    if not (0 < rows <= MOST_MULTIPLE and 0 < columns <= MOST_MULTIPLE):
        raise OwsegError(f"an image becomes a multiple of 1 to {MOST_MULTIPLE} pixels, not of {multiple}.")
    height, width = image.shape[-2:]
    return resize(image, (_nearest(height, rows), _nearest(width, columns)))


def _nearest(size: int, multiple: int) -> int:
    return largest(1, (2 * size + multiple) // (2 * multiple)) * multiple


@torch.no_grad()
def widened_conv(conv: nn.Conv2d, out: int) -> nn.Conv2d:
    """Return a 1x1 convolution with ``out`` outputs: the first as in ``conv``, others than it has are zero."""
    assert conv.bias is not None
    wider = nn.Conv2d(conv.in_channels, out, 1)
    assert wider.bias is not None
    wider.to(conv.weight.device)
    for new, old in ((wider.weight, conv.weight), (wider.bias, conv.bias)):
        new.zero_()
        new[: len(old)] = old[:out]
    return wider

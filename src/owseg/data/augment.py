"""Augmentation of a training sample: random scale, crop, flip and photometric jitter, from one generator."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from owseg.labels import IGNORE
from owseg.types import Sample


def augment(
    sample: Sample,
    crop: tuple[int, int],
    scale: tuple[float, float],
    jitter: float,
    rng: np.random.Generator,
    size: int | None = None,
    centred: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return a random view: image (3, h, w) float in [0, 1] and target (h, w) long, of size ``crop``.

    The image, where ``size`` is given first made to have that shorter side, is resized by a log-uniform factor in
    ``scale``, cropped (padded with IGNORE where it is smaller), mirrored with probability 1/2, and its brightness,
    contrast and saturation are each scaled by 1 ± ``jitter``. It is cropped at a random place and padded at the right
    and the bottom, or, if ``centred``, cropped at its centre and padded on all sides.
    """
    assert sample.target is not None
    height, width = crop
    # Log-uniform: halving and doubling are equally likely.
    factor = float(np.exp(rng.uniform(np.log(scale[0]), np.log(scale[1]))))
    full_h, full_w = sample.target.shape
    factor *= 1.0 if size is None else size / min(full_h, full_w)
    # Cropping comes before resizing: only the pixels that are kept are interpolated.
    cut_h, cut_w = min(full_h, round(height / factor)), min(full_w, round(width / factor))
    top, left = (full_h - cut_h) // 2, (full_w - cut_w) // 2
    if not centred:
        top, left = int(rng.integers(full_h - cut_h + 1)), int(rng.integers(full_w - cut_w + 1))
    window = np.s_[top : top + cut_h, left : left + cut_w]
    image = torch.from_numpy(np.ascontiguousarray(sample.image[:, window[0], window[1]])).float().div_(255)
    target = torch.from_numpy(np.ascontiguousarray(sample.target[window])).long()
    shape = (min(height, round(cut_h * factor)), min(width, round(cut_w * factor)))
    image = F.interpolate(image[None], size=shape, mode="bilinear", antialias=factor < 1, align_corners=False)[0]
    # "nearest" would shift the target by up to half a pixel against the bilinear image.
    target = F.interpolate(target[None, None].float(), size=shape, mode="nearest-exact")[0, 0].long()
    if rng.random() < 0.5:
        image, target = image.flip(-1), target.flip(-1)
    # Before the padding, which would enter the mean that the contrast is scaled about.
    image = _jitter(image, jitter, rng)
    pad_h, pad_w = height - shape[0], width - shape[1]
    if pad_h or pad_w:
        above, before = (pad_h // 2, pad_w // 2) if centred else (0, 0)
        border = (before, pad_w - before, above, pad_h - above)
        image, target = F.pad(image, border), F.pad(target, border, value=IGNORE)
    return image, target


def _jitter(image: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Scale brightness, then contrast about the mean, then saturation about grey, and clip to [0, 1]."""
    brightness, contrast, saturation = (float(v) for v in rng.uniform(1 - strength, 1 + strength, 3))
    image = image * brightness
    image = (image - image.mean()) * contrast + image.mean()
    grey = image.mean(0, keepdim=True)
    return ((image - grey) * saturation + grey).clamp_(0, 1)

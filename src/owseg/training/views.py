"""What a segmentation network is trained on: random views of images, or a frozen backbone's features of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from owseg.data.augment import augment
from owseg.data.dataset import DataSet
from owseg.models.backbones.base import Backbone
from owseg.training.config import TrainConfig


@dataclass(frozen=True, eq=False)
class AugmentedViews:
    """Random views of ``data``'s images and masks; half as large in the first ``config.small`` of the epochs.

    ``size`` is the network's working size.
    """

    data: DataSet
    config: TrainConfig
    size: int | None = None

    def __call__(self, epoch: int, i: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return a view (3, h, w) in [0, 1] of image ``i`` and its target (h, w) long."""
        config = self.config
        shrink = 0.5 if epoch < config.small * config.epochs else 1.0
        crop = (round(config.crop[0] * shrink), round(config.crop[1] * shrink))
        scale = (config.scale[0] * shrink, config.scale[1] * shrink)
        sample, size = self.data[i], self.size
        sample.mask_for("training")
        if config.short_sides:
            size = _fitting(round(int(rng.choice(config.short_sides)) * shrink), sample.image.shape[1:], crop)
            scale = (1.0, 1.0)
        return augment(sample, crop, scale, config.jitter, rng, size)


def _fitting(side: int, image: tuple[int, ...], crop: tuple[int, int]) -> int:
    """Return ``side``, or the longest shorter side at which an image of size ``image`` (H, W) fits into ``crop``."""
    return min(side, int(min(image) * min(crop[0] / image[0], crop[1] / image[1])))


class FrozenFeatures:
    """The pyramid of a backbone that does not learn, of a number of ``views`` of each image, all full size.

    The epochs take ``config.views`` of them in turn, so that the backbone computes each of them once: its maps are kept
    in memory in 16 bits, up to ``limit`` bytes, and computed again where they do not fit. The values are the same.
    """

    def __init__(self, views: AugmentedViews, backbone: Backbone, limit: int = 6 << 30) -> None:
        # No smaller views in the first share of the epochs: those of a batch have one size.
        self.views = replace(views, config=replace(views.config, small=0.0))
        self.backbone, self.bytes_left = backbone, limit
        self._kept: dict[tuple[int, int], tuple[Tensor, ...]] = {}

    def view(self, epoch: int, i: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        """Return a view (3, h, w) of image ``i`` and its target (h, w) long, or nothing where its maps are kept.

        ``rng`` is not used: what is random in a view depends on the seed, the number of the view and the image.
        """
        number = epoch % self.views.config.views
        if (number, i) in self._kept:
            return ()
        return self.views(number, i, np.random.default_rng([self.views.config.seed, number, i]))

    def finish(self, epoch: int, i: int, view: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the maps (C, h, w) float32 of the ``view``, finest first, and its target (h, w) long."""
        key = epoch % self.views.config.views, i
        made = self._kept.get(key)
        if made is None:
            made = self._computed(*view)
            size = sum(t.numel() * t.element_size() for t in made)
            if size <= self.bytes_left:
                self._kept[key], self.bytes_left = made, self.bytes_left - size
        *features, target = made
        return *(f.float() for f in features), target.long()

    @torch.no_grad()
    def _computed(self, image: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        device = next(self.backbone.parameters()).device
        maps = self.backbone(image[None].to(device, memory_format=torch.channels_last))
        return *(_in_16_bits(m[0]).cpu() for m in maps), target.to(torch.uint8)


def _in_16_bits(features: Tensor) -> Tensor:
    """Return ``features`` as float16, or as they are where that overflows."""
    half = features.half()
    return half if bool(half.isfinite().all()) else features

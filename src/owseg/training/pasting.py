"""Outliers that are shown in training: which of them, how they get into an image, and how well others are found."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from owseg.data.augment import augment
from owseg.data.copy_paste import paste
from owseg.data.dataset import DataSet, Source
from owseg.data.outliers import Outlier, Outliers
from owseg.errors import OwsegError
from owseg.knowledge.pieces import cell_of
from owseg.labels import IGNORE, UNKNOWN
from owseg.metrics.pooled import Pooled
from owseg.models.engine import Engine
from owseg.models.network import Network
from owseg.models.ops import resize, resize_labels
from owseg.scorers.eds import eds
from owseg.scorers.max_logit import max_logit
from owseg.training.config import PastingConfig
from owseg.training.processes import ALONE, Process
from owseg.types import Forward, Sample, Scorer


def pasted(sample: Sample, outliers: Outliers, config: PastingConfig, rng: np.random.Generator) -> Sample:
    """Return ``sample`` with ``config.pasted`` random outliers in it."""
    for _ in range(config.pasted):
        outlier = outliers.read(int(rng.integers(len(outliers))))
        sample = paste(sample, outlier, rng, config.sizes, config.feather, config.factors)
    return sample


def set_aside(outliers: Outliers, every: int = 8) -> tuple[Outliers, Outliers]:
    """Return the outliers to train on and those that validation pastes: every eighth, or the last of fewer.

    A single one serves both.
    """
    numbers = range(len(outliers))
    held = [i for i in numbers if i % every == every - 1] or list(numbers[-1:])
    apart = set(held)
    kept = [i for i in numbers if i not in apart] or held
    return outliers.pick(kept), outliers.pick(held)


@dataclass(frozen=True, eq=False)
class PastedViews:
    """The views that the network sees: of inlier images with outliers pasted into them, and of ``context`` images."""

    inliers: DataSet
    outliers: Outliers
    context: Outliers | None
    config: PastingConfig
    size: int | None = None  # the network's working size

    def __call__(self, epoch: int, i: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        """Return image and target of inlier image ``i`` and, with ``context``, those of a random one of these."""
        config = self.config
        sample = inlier_sample(self.inliers[i])
        if config.pasted_into == "image":
            # Pasted first, one augmentation covers both: as sharp, as bright and as large.
            sample = pasted(sample, self.outliers, config, rng)
        view = augment(sample, config.crop, config.scale, config.jitter, rng, self.size)
        if config.pasted_into == "view":
            view = _pasted_into_view(view, self.outliers, config, rng)
        if self.context is None:
            return view
        shown, scale = context_sample(self.context.read(int(rng.integers(len(self.context))))), config.context_scale
        return *view, *augment(shown, config.crop, scale, config.jitter, rng, self.size, config.context_centred)


def _pasted_into_view(
    view: tuple[Tensor, Tensor], outliers: Outliers, config: PastingConfig, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return a view, as ``augment`` does, with outliers in it."""
    image, target = (part.numpy() for part in view)
    sample = Sample(np.rint(255 * image).astype(np.uint8), target.astype(np.uint8), "")
    made = pasted(sample, outliers, config, rng)
    return torch.from_numpy(made.image).float().div_(255), torch.from_numpy(made.target).long()


def sure_inliers(images: DataSet, network: Network, unsure: float, process: Process = ALONE) -> DataSet:
    """Return ``images`` with targets that are 0 on inliers and IGNORE elsewhere (see ``inlier_sample``).

    Of an image without ground truth the share ``unsure`` is left out of which ``network`` is least sure, by EDS, with a
    linear classifier by the largest logit: what is unknown in it should not be shown as an inlier. That is computed
    here, once for each image, as a worker that reads images has no network.
    """
    engine = Engine(copy.deepcopy(network).eval().to(process.device))
    score: Scorer = eds if network.is_metric else max_logit

    def of_mine() -> list[np.ndarray | None]:
        return [
            _least_sure(score(engine(sample.image))[0], unsure) if sample.target is None else None
            for sample in process.read(images.__getitem__, len(images))
        ]

    left_out = process.in_order(of_mine)

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        sample, cells = images[i], left_out[i]
        target = np.asarray(inlier_sample(sample).target)
        if cells is not None:
            left = cells.ravel()[cell_of(target.shape, cells.shape)]
            target = np.where(left, IGNORE, target).astype(np.uint8)
        return sample.image, target

    return DataSet(Source(images.source.name, images.labels, images.source.ids, read), images.labels, IGNORE)


def _least_sure(score: Tensor, share: float) -> np.ndarray:
    """Return where the highest ``share`` of a score (h, w) lies, (h, w) bool."""
    found = score.cpu().numpy()
    return np.asarray(found > np.quantile(found, 1 - share))


def require_inliers(data: DataSet) -> None:
    """Raise ``OwsegError`` where no pixel of ``data`` is an inlier."""
    if not any((np.asarray(inlier_sample(sample).target) == 0).any() for sample in data):
        raise OwsegError(f"{data.source.name} has no pixel that is neither void nor unknown; give other images.")


def pasted_ap(
    forward: Forward,
    scorer: Scorer,
    val: DataSet,
    outliers: Outliers,
    config: PastingConfig,
    process: Process = ALONE,
) -> float:
    """Return the AP of ``scorer`` on ``val`` with outliers pasted into it, the same ones at every call.

    Each process of a training takes some of the images, and all return the same.
    """

    def read(i: int) -> Sample:
        return pasted(inlier_sample(val[i]), outliers, config, np.random.default_rng([7, i]))

    def on_mine() -> Pooled:
        state = Pooled()
        for sample in process.read(read, len(val)):
            target = np.asarray(sample.target)
            state.update(resize(scorer(forward(sample.image))[:, None], target.shape)[0, 0].cpu().numpy(), target)
        return state

    return sum(process.gathered(on_mine), Pooled()).compute().ap


def inlier_sample(sample: Sample) -> Sample:
    """Return ``sample`` with a target that is 0 where its ground truth is neither void nor unknown, else IGNORE."""
    if sample.target is None:
        return replace(sample, target=np.zeros(sample.image.shape[1:], np.uint8))
    return replace(sample, target=np.where(sample.target < UNKNOWN, 0, IGNORE).astype(np.uint8))


def context_sample(outlier: Outlier) -> Sample:
    """Return an outlier where it was photographed, with a target: UNKNOWN on it, IGNORE where void, 0 elsewhere."""
    target = np.where(outlier.mask, UNKNOWN, 0).astype(np.uint8)
    if outlier.void is not None:
        target[outlier.void] = IGNORE
    return Sample(outlier.image, target, outlier.id)


def masks_on(targets: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return where outliers and where inliers are, (B, h, w) bool each, on another grid."""
    small = resize_labels(targets, grid)
    return small == UNKNOWN, small < UNKNOWN

"""The images that ``recipes.regions`` reads: sets, and score, ground truth and quantiles of each image in a file."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from owseg._files import write_whole
from owseg._progress import track
from owseg.data.dataset import DataSet, spread_over
from owseg.data.datasets import open_dataset
from owseg.knowledge.adaptation import moved
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import divide_val
from owseg.knowledge.load import load
from owseg.knowledge.regions import MIN_AREA, OBSTACLE_AREA
from owseg.knowledge.tasks import for_task
from owseg.labels import UNKNOWN, LabelSpace
from owseg.metrics.components import ANOMALY_TRACK, OBSTACLE_TRACK, Sizes
from owseg.models.ops import resize
from owseg.openset import Threshold, quantiles
from owseg.scorers import whole_image
from owseg.training.config import PastingConfig
from owseg.training.pasting import set_aside
from owseg.types import Sample
from recipes.held_out import objects_of
from recipes.segments import SMALL, with_objects
from recipes.towns import open_towns

IMAGES = 8
CHOSEN_ON, MEASURED_ON = 24, 30


@dataclass(frozen=True, eq=False)
class Scored:
    """An image by its score (h, w) float32 on the grid of the scorer, and its ground truth (H, W) uint8.

    ``quantiles`` are those of the score, by which a threshold is moved.
    """

    coarse: np.ndarray
    target: np.ndarray
    quantiles: np.ndarray

    @property
    def score(self) -> np.ndarray:
        """The score (H, W) float32 at the size of the image, as ``KnowledgeBase.assess`` gives it."""
        return _resized(self.coarse, self.target.shape)

    @property
    def known(self) -> np.ndarray:
        """Where a class of the knowledge base is, (H, W) bool."""
        return np.asarray(self.target < UNKNOWN)


def scored(kb: KnowledgeBase, samples: Iterable[Sample], file: Path, count: int) -> list[Scored]:
    """Return ``count`` samples with the score of ``kb``, from ``file`` where it is there."""
    if not file.exists():
        arrays: dict[str, np.ndarray] = {}
        for i, sample in enumerate(track(samples, file.stem, count)):
            assert sample.target is not None
            output = kb.forward(sample.image)
            coarse, whole = (
                kb.require_scorer(name)(output)[0].float().cpu().numpy() for name in (kb.scorer, whole_image(kb.scorer))
            )
            found = quantiles(_resized(whole, sample.image.shape[1:]))
            # Masks of more pixels than their images are reduced to these, where regions are predicted.
            step = sample.target.shape[0] // sample.image.shape[1]
            arrays |= {f"coarse {i}": coarse, f"target {i}": sample.target[::step, ::step], f"quantiles {i}": found}
        memory = io.BytesIO()
        np.savez_compressed(memory, **arrays)  # type: ignore[arg-type]
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, memory.getvalue())
    with np.load(file) as kept:
        return [Scored(*(kept[f"{part} {i}"] for part in ("coarse", "target", "quantiles"))) for i in range(count)]


def _resized(coarse: np.ndarray, size: Sequence[int]) -> np.ndarray:
    found: np.ndarray = resize(torch.from_numpy(coarse)[None, None], (size[0], size[1]))[0, 0].numpy()
    return found


def camvid(place: Path, labels: LabelSpace, calibrates: bool) -> DataSet:
    """Return the half of CamVid's val that calibrates, or images of the other one."""
    half = divide_val(open_dataset(f"camvid:{place}/camvid", "val", labels))[calibrates]
    return half if calibrates else spread_over(half, CHOSEN_ON)


def towns(place: Path, labels: LabelSpace) -> DataSet:
    """Return street photos of other towns."""
    classes = open_dataset(f"camvid:{place}/camvid", "val", labels).source.classes
    return spread_over(open_towns(place / "labelmefacade", classes, labels), CHOSEN_ON)


def pasted(data: DataSet, place: Path, count: int, sizes: tuple[float, float]) -> Iterable[Sample]:
    """Return images with so many objects pasted into each, of those that no training shows."""
    return with_objects(data, set_aside(objects_of(place / "camvid", data.labels))[1], count, sizes)


def published(spec: str, split: str = "val") -> Callable[[Path, LabelSpace], DataSet]:
    """Return what opens images of a published set."""
    return lambda place, labels: spread_over(open_dataset(spec.format(place), split, labels), MEASURED_ON)


@dataclass(frozen=True)
class Set:
    """Images by the knowledge base that is measured on them and its task, with the least sizes of components."""

    kb: str
    count: int
    samples: Callable[[Path, LabelSpace], Iterable[Sample]]
    sizes: Sizes = OBSTACLE_TRACK
    task: str = "unknown"

    @property
    def limits(self) -> str:
        """The name of the set on which the limits of evidence are found."""
        return f"limits of {self.kb}, {self.task}"

    @property
    def min_area(self) -> float:
        """The smallest region, as a share of the image."""
        return MIN_AREA if self.task == "unknown" else OBSTACLE_AREA


USUAL, LOST = PastingConfig.sizes, "fishyscapes-lostfound:{}/anomaly/FS_LostFound_1024x512"
CHOICE = {
    "val": Set("street8", CHOSEN_ON, lambda p, known: camvid(p, known, False)),
    "val, pasted": Set("street", CHOSEN_ON, lambda p, known: pasted(camvid(p, known, False), p, 2, USUAL)),
    "val, small pasted": Set("street", CHOSEN_ON, lambda p, known: pasted(camvid(p, known, False), p, 5, SMALL)),
    "other towns": Set("street8", CHOSEN_ON, towns),
    "other towns, pasted": Set("street", CHOSEN_ON, lambda p, known: pasted(towns(p, known), p, 2, USUAL)),
}
REPORTED = {
    "RoadAnomaly21": Set("street", 10, published("roadanomaly21:{}/anomaly/RoadAnomaly21"), ANOMALY_TRACK),
    "Lost & Found": Set("street", MEASURED_ON, published(LOST)),
    "Lost & Found, obstacles": Set("street", MEASURED_ON, published(LOST), task="obstacles"),
    "CamVid test": Set("street8", MEASURED_ON, published("camvid:{}/camvid", "test")),
}
SETS: Mapping[str, Set] = {
    **{
        chosen.limits: replace(chosen, count=50, samples=lambda place, labels: camvid(place, labels, True))
        for chosen in REPORTED.values()
    },
    **CHOICE,
    **REPORTED,
}


class Images:
    """The scores of each set, read once and kept in ``runs``."""

    def __init__(self, place: Path, runs: Path) -> None:
        self.place, self.runs = place, runs
        self.kb, self._read = cache(load), cache(self._scored)

    def __call__(self, name: str) -> list[Scored]:
        """Return the images of a set; raise ``KeyError`` for a name that none has."""
        return self._read(name)

    def _scored(self, name: str) -> list[Scored]:
        chosen = SETS[name]
        kb = for_task(self.kb(chosen.kb), chosen.task)
        file = self.runs / f"{chosen.kb}-{kb.fingerprint()}" / f"{name}.npz"
        return scored(kb, chosen.samples(self.place, kb.labels), file, chosen.count)

    def threshold(self, name: str) -> Threshold:
        """Return the threshold that is stored with the knowledge base of a set."""
        threshold = for_task(self.kb(SETS[name].kb), SETS[name].task).threshold
        assert threshold is not None
        return threshold


def adapted(threshold: Threshold, found: Sequence[Scored], seed: int) -> Threshold:
    """Return the threshold that ``adapt`` moves to eight of the images, or to all of fewer."""
    drawn = np.random.default_rng(seed).choice(len(found), min(IMAGES, len(found)), replace=False)
    return moved(threshold, [found[i].quantiles for i in drawn])

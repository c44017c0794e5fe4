"""Scores pooled over segments of the image: what they gain, on images that no table of results reports.

    export OWSEG_DATA=DIR                      # DIR/camvid, outlier_objects, labelmefacade
    python -m recipes.segments street8         # several minutes for each knowledge base
    python -m recipes.segments street8-inliers
    python -m recipes.segments street          # nothing is unknown but the objects: what photos of other towns gain

CamVid's val, street photos of other towns, and both with objects pasted into them that no training shows, of the usual
sizes and small. "mean" is the plain mean over each segment, of the same segments: what ``joint@segments`` was chosen
over.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from owseg._progress import track
from owseg.data.dataset import DataSet, spread_over
from owseg.data.datasets import open_dataset
from owseg.data.outliers import Outliers
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.labels import IGNORE, UNKNOWN
from owseg.metrics.pixel import Exact
from owseg.models.ops import resize, resize_image, working_size
from owseg.scorers.contrast import LOCAL, contrasted, sharpened
from owseg.scorers.segments import ROWS, pooled, segmentations
from owseg.training.config import PastingConfig
from owseg.training.pasting import pasted, set_aside
from owseg.types import Sample
from recipes.held_out import objects_of, place_of_data
from recipes.tables import markdown
from recipes.towns import open_towns

SMALL = (0.03, 0.1)
"""The sizes of small objects: their longer side as a share of the image's shorter side."""


def sharper(score: np.ndarray) -> np.ndarray:
    """Return the score (h, w) ``sharpened`` as in ``contrasted``."""
    return sharpened(torch.from_numpy(score)[None], LOCAL)[0].numpy()


def enhanced(score: np.ndarray) -> np.ndarray:
    """Return the score (h, w) ``contrasted``."""
    return contrasted(torch.from_numpy(score)[None])[0].numpy()


Form = Callable[[np.ndarray, list[np.ndarray]], np.ndarray]
FORMS: Mapping[str, Form] = {
    "joint": lambda score, maps: score,
    "mean, finest": lambda score, maps: means(score, maps[:1]),
    "mean": lambda score, maps: means(score, maps),
    "mean and joint, halves": lambda score, maps: (means(score, maps) + score) / 2,
    "pooled": pooled,
    "pooled, and beyond the surroundings": lambda score, maps: sharper(pooled(score, maps)),
    "joint@segments": lambda score, maps: enhanced(pooled(score, maps)),
}
"""What ``joint@segments``, the last, was chosen over."""


def means(score: np.ndarray, maps: list[np.ndarray]) -> np.ndarray:
    """Return the mean score (h, w) of each pixel's segment, averaged over several maps of segments."""
    sums = [(np.bincount(m.ravel(), score.ravel()) / np.bincount(m.ravel()))[m] for m in maps]
    return np.asarray(np.mean(sums, 0), np.float32)


def with_objects(data: DataSet, objects: Outliers, count: int, sizes: tuple[float, float]) -> Iterator[Sample]:
    """Yield images with so many objects pasted into each; what else is unknown in them is left out."""
    for i, sample in enumerate(data):
        known = replace(sample, target=np.where(sample.target == UNKNOWN, IGNORE, sample.target))
        config = PastingConfig(pasted=count, sizes=sizes)
        yield pasted(known, objects, config, np.random.default_rng([7, i]))


def chosen_on(place: Path, kb: KnowledgeBase, most: int) -> dict[str, Iterable[Sample]]:
    """Return the images by a name, at most so many of each."""
    every = open_dataset(f"camvid:{place}", "val", kb.labels)
    val = spread_over(every, most)
    towns = spread_over(open_towns(place.parent / "labelmefacade", every.source.classes, kb.labels), most)
    _, objects = set_aside(objects_of(place, kb.labels))
    usual = PastingConfig.sizes
    return {
        "val": val,
        "val, pasted": with_objects(val, objects, 2, usual),
        "val, small pasted": with_objects(val, objects, 5, SMALL),
        "other towns": towns,
        "other towns, pasted": with_objects(towns, objects, 2, usual),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kb", help="a knowledge base that knows no car, pedestrian and bicyclist, such as street8")
    parser.add_argument("--data", type=Path, default=place_of_data(), help="CamVid, SegNet layout")
    parser.add_argument("--most", type=int, default=40, help="at most so many images of a set, evenly spread")
    args = parser.parse_args()
    kb, columns = load(args.kb), {}
    for where, samples in chosen_on(args.data, kb, args.most).items():
        states = {form: Exact() for form in FORMS}
        for sample in track(samples, where, args.most):
            output = kb.forward(sample.image)
            assert output.image is not None and sample.target is not None
            size = working_size((sample.image.shape[1], sample.image.shape[2]), ROWS)
            image = resize_image(output.image.float(), size).round().clamp(0, 255).byte()[0].movedim(0, -1).numpy()
            score, maps = resize(kb.scorers["joint"](output)[:, None], size)[0, 0].numpy(), segmentations(image)
            for form, state in states.items():
                found = torch.from_numpy(FORMS[form](score, maps))[None, None]
                state.update(resize(found, sample.target.shape)[0, 0].numpy(), sample.target)
        columns[where] = [state.compute() for state in states.values()]
    rows = [
        (form, *("–" if np.isnan(m.ap) else f"{m.ap:.3f} / {m.fpr95:.3f}" for m in found))
        for form, *found in zip(FORMS, *columns.values(), strict=True)
    ]
    markdown(f"Pooled over segments, {args.kb}: AP / FPR95", ("form", *columns), rows)


if __name__ == "__main__":
    main()

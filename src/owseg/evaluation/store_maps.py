"""Scores, closed map and ground truth of every image of a data set, written to a folder of maps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from owseg._progress import track
from owseg.data.dataset import DataSet, Labelled
from owseg.errors import OwsegError
from owseg.evaluation.maps import Manifest, MapFolder, Maps
from owseg.knowledge.base import KnowledgeBase
from owseg.models.ops import resize
from owseg.models.over_images import over_images
from owseg.types import Forward, ImageScorer, Output, Sample


def store_maps(
    kb: KnowledgeBase,
    data: DataSet,
    directory: str | Path,
    scorers: Sequence[str] | None = None,
    forward: Forward | None = None,
    settings: Mapping[str, Any] | None = None,
    image_scorers: Mapping[str, ImageScorer] | None = None,
) -> MapFolder:
    """Write the maps of every image of ``data`` into ``directory``; images that are there already are not redone.

    ``data`` is opened against ``kb.labels``; a score is -inf where a learned class is predicted. ``scorers`` is by
    default ``kb``'s own; a name that ``image_scorers`` has means that one (see ``owseg.image_scorers``). ``forward`` is
    by default ``kb.engine()``; where it is another, ``settings`` describes it, so that maps made differently are never
    mixed. ``owseg.evaluation.measure.measure`` computes the metrics. Raises ``OwsegError`` for other labels, an image
    without a mask, an unknown scorer, a score that is NaN, and a folder with maps of anything else.
    """
    if data.labels.names != kb.labels.names:
        raise OwsegError("the data set has other labels than the knowledge base; open it against kb.labels.")
    names, beside = tuple(scorers or (kb.scorer,)), image_scorers or {}
    make_scorers(kb, [name for name in names if name not in beside])
    ids = data.source.ids
    # The threshold is no part of the fingerprint: maps are those of scores, whatever is called unknown later.
    manifest = Manifest(
        kb.fingerprint(), data.fingerprint(), data.source.name, kb.labels.names, names, ids, settings or {}
    )
    folder = MapFolder.begin(directory, manifest)
    missing, number = list(folder.missing()), {name: i for i, name in enumerate(ids)}
    left = data.pick([number[image] for image in missing])

    def maps_of(sample: Sample, output: Output) -> Maps:
        return _maps_of(kb, sample, output, names, beside)

    found = over_images(forward or kb.engine(), Labelled(left, "evaluation"), maps_of)
    for image, maps in track(zip(missing, found, strict=True), "scoring", len(missing)):
        folder.write(image, maps)
    return folder


def make_scorers(kb: KnowledgeBase, names: Iterable[str]) -> None:
    """Make the scorers ``names`` of ``kb``; raise ``OwsegError`` for one that it has not or that cannot be made."""
    for name in names:
        kb.require_scorer(name)


def _maps_of(
    kb: KnowledgeBase, sample: Sample, output: Output, names: Sequence[str], beside: Mapping[str, ImageScorer]
) -> Maps:
    target = sample.mask_for("evaluation")
    size = target.shape[0], target.shape[1]
    assessed = kb.assess(output, size, tuple(name for name in names if name not in beside))
    of_image = {name: _resized(beside[name](sample.image), size) for name in names if name in beside}
    # An image scorer knows nothing of learned classes; they decide for it as for any other score.
    assessed = replace(assessed, scores={**assessed.scores, **of_image})
    scores = {name: assessed.decided(name) for name in names}
    for name, score in scores.items():
        if np.isnan(score).any():  # found here, not after hours of scoring, by the metrics
            raise OwsegError(f"the score {name} of {sample.id} is NaN; check the weights and the image.")
    return Maps(assessed.labels, target, scores)


def _resized(score: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    resized: np.ndarray = resize(torch.from_numpy(score)[None, None], size)[0, 0].numpy()
    return resized

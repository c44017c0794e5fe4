"""Scores, labels and ground truth of every image of a data set, written to disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from owseg._progress import track
from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.evaluation.maps import Folder, Manifest, Maps
from owseg.knowledge.base import KnowledgeBase
from owseg.models.ops import resize
from owseg.types import Forward, ImageScorer


def store_maps(
    kb: KnowledgeBase,
    data: DataSet,
    directory: str | Path,
    scorers: Sequence[str] | None = None,
    forward: Forward | None = None,
    settings: Mapping[str, Any] | None = None,
    beside: Mapping[str, ImageScorer] | None = None,
) -> Folder:
    """Write what ``kb`` says of every image of ``data`` into ``directory``; images that are there are not redone.

    ``data`` is opened against ``kb.labels``; a score is -inf where a learned class claims the pixel. By default only
    ``kb``'s own scorer is asked. ``forward`` is by default ``kb.forward``; ``settings`` says in words and numbers in which
    way it is another. Names of ``scorers`` that are in ``beside`` mean the scores of images there (see
    ``owseg.baselines``). The figures are ``owseg.measure.measure``'s. Raises ``OwsegError`` for other labels, an image
    without truth, an unknown scorer, a score that is NaN, and a folder with maps of anything else.
    """
    if data.labels.names != kb.labels.names:
        raise OwsegError("the data set speaks other labels than the knowledge base; open it against kb.labels.")
    names, beside = tuple(scorers or (kb.scorer,)), beside or {}
    for name in names:
        if name not in beside:
            kb.require_scorer(name)
    of = Manifest(
        kb.fingerprint(),
        data.fingerprint(),
        data.source.name,
        kb.labels.names,
        names,
        data.source.ids,
        settings or {},
    )
    folder = Folder.begin(directory, of)
    missing, number = list(folder.missing()), {name: i for i, name in enumerate(data.source.ids)}
    for picture in track(missing, "scoring", len(missing)):
        sample = data[number[picture]]
        if sample.target is None:
            raise OwsegError(f"{sample.id} has no mask; evaluation needs one for every image.")
        output, size = (forward or kb.forward)(sample.image), (sample.target.shape[0], sample.target.shape[1])
        assessed = kb.assess(output, size, tuple(name for name in names if name not in beside) or (kb.scorer,))
        scores = {}
        for name in names:
            if name in beside:
                score = resize(torch.from_numpy(beside[name](sample.image))[None, None], size)[0, 0].numpy()
                scores[name] = np.where(assessed.learned, -np.inf, score).astype(np.float32)
            else:
                scores[name] = assessed.decided(name)
        if any(np.isnan(score).any() for score in scores.values()):
            raise OwsegError(f"a score of {picture} is NaN; check the weights and the image.")
        folder.write(picture, Maps(assessed.labels, sample.target, scores))
    return folder

"""Predictions as annotations, one for each class of an image, for people to correct."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from owseg._progress import track
from owseg.data.given import Given
from owseg.errors import OwsegError
from owseg.exchange.annotation import Annotation
from owseg.knowledge.base import KnowledgeBase
from owseg.labels import RESERVED, UNKNOWN
from owseg.models.over_images import over_images
from owseg.openset import NO_THRESHOLD
from owseg.types import Forward


def predicted_annotations(
    kb: KnowledgeBase, paths: Sequence[Path], forward: Forward | None = None
) -> Iterator[Annotation]:
    """Yield an annotation for each class that ``kb`` predicts in each image; "unknown" is one of them.

    ``image`` is the path below the folder that all images share. ``forward`` is by default ``kb.engine()``. Raises
    ``OwsegError`` without a threshold, and for an image that cannot be read.
    """
    if kb.threshold is None:
        raise OwsegError(NO_THRESHOLD)
    # Labelling tools find an image by its name, so it must tell images of several folders apart.
    root = os.path.commonpath([p.resolve().parent for p in paths])
    names = {**dict(enumerate(kb.labels.names)), UNKNOWN: RESERVED[UNKNOWN]}
    palette = kb.labels.palette().tolist()
    predictions = over_images(forward or kb.engine(), Given(paths), kb.decide)
    for path, prediction in track(zip(paths, predictions, strict=True), "predicting", len(paths)):
        open_set = prediction.open_set
        image = path.resolve().relative_to(root).as_posix()
        for i in np.unique(open_set).tolist():
            yield Annotation(names[i], open_set == i, image, tuple(palette[i]))

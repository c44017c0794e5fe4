"""Void as a class: what a network is trained on whose score is the probability of a class "background"."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from owseg.data.dataset import Source
from owseg.errors import OwsegError
from owseg.labels import BACKGROUND, IGNORE


def with_background(source: Source) -> Source:
    """Return ``source`` with a last class, "background", whose pixels are those that are void in ``source``.

    Classes that a label space leaves out do not become "background": opened with ``train=True`` they are IGNORE, so
    that nothing unknown is trained on. Raises ``OwsegError`` for a source that has a class of that name.
    """
    if BACKGROUND in source.classes:
        raise OwsegError(f"{source.name} has a class {BACKGROUND!r} already; train on it as it is.")
    void = len(source.classes)

    def read(i: int) -> tuple[np.ndarray, np.ndarray | None]:
        image, raw = source.read(i)
        return image, raw if raw is None else np.where(raw == IGNORE, void, raw).astype(np.uint8)

    return replace(source, classes=source.classes.extend(BACKGROUND), read=read)

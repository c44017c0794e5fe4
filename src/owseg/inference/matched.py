"""The threshold of an export whose scores are not those of its knowledge base: fewer bits, another size or score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from owseg.knowledge.adaptation import quantiles_of
from owseg.knowledge.pieces import pixels, rated_pieces
from owseg.knowledge.prediction import Prediction
from owseg.openset import Reference, Threshold


def matched(threshold: Threshold, before: Sequence[Prediction], after: Sequence[Prediction], area: float) -> Threshold:
    """Return the threshold of the scores ``after`` at which as much is unknown as ``before`` at ``threshold``.

    Both are predictions for the same images, of which no ground truth is needed. As large a share of their pixels lies
    above the value, and between value and median; as many regions of at least ``area`` exceed the threshold of regions.
    Where no pixel is unknown before, or all are, the value moves by the difference of the medians. The result says that
    it is estimated.
    """
    old, new = (np.concatenate([p.score.ravel() for p in some]) for some in (before, after))
    decided_before, decided = (np.concatenate([p.decided.ravel() for p in some]) for some in (before, after))
    share, unit = float(np.mean(decided_before > np.float32(threshold.value))), threshold.unit
    if 0 < share < 1:
        value = float(np.quantile(decided, 1 - share))
        # The median of known scores lies a unit below the threshold: it is at the same rank of both.
        unit = value - float(np.quantile(new, np.mean(old <= threshold.value - threshold.unit)))
        unit = max(unit, float(new.std()) / 10)  # where scores are much the same, it would be next to nothing
    else:
        value = threshold.value + float(np.median(new) - np.median(old))
    scores = [q for p in after if (q := quantiles_of(p.image, p.score)) is not None]
    found = replace(
        threshold,
        value=value,
        unit=unit if unit > 0 else threshold.unit,
        reference=Reference.of(scores) if scores and threshold.reference else threshold.reference,
        estimated=True,
    )
    if threshold.regions is None:
        return found
    count = sum(e > threshold.regions.value for e in _evidence(before, threshold, area))
    each = sorted(_evidence(after, found, area), reverse=True)
    return replace(found, regions=replace(threshold.regions, value=each[count] if len(each) > count else 0.0))


def _evidence(predictions: Sequence[Prediction], threshold: Threshold, area: float) -> Iterator[float]:
    """Yield the evidence of each piece of the predictions that may be a region at ``threshold``."""
    for p in predictions:
        unknown = p.decided > np.float32(threshold.value)
        yield from rated_pieces(p.score, unknown, threshold, pixels(area, unknown.shape))[1].tolist()

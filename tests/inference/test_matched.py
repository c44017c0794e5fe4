"""The threshold of other scores of the same images: as much is unknown, and as many regions, as before."""

from dataclasses import replace

import numpy as np
import pytest

from owseg.inference.matched import matched
from owseg.knowledge.pieces import pieces_above, pixels
from owseg.knowledge.prediction import Prediction
from owseg.labels import LabelSpace
from owseg.openset import Reference, RegionThreshold, Threshold, open_set_map
from tests.support import tiny

AREA, SPACE = 0.005, LabelSpace.of(("road", "sky"))
THRESHOLD = Threshold(
    4.0, "quantile", 0.05, 0.05, 3.0, 9, 999, Reference(1.0, 0.1, 9), regions=RegionThreshold(0.15, "quantile", 1, 1, 9)
)


def predictions(change=lambda score: score, learned=None, seed=0, high=7.0):
    """Six images with squares that score high, and what becomes of their scores."""
    rng, found = np.random.default_rng(seed), []
    for i in range(6):
        score = rng.normal(1, 0.5, (48, 64)).astype(np.float32)
        for j in range(i):
            score[8 * j : 8 * j + 6, 10 * j : 10 * j + 6 + j] = high + rng.normal(0, 0.3) + j
        labels, score = np.zeros((48, 64), np.uint8), change(score).astype(np.float32)
        mine = np.zeros_like(labels, bool) if learned is None else learned
        open_set = open_set_map(labels, np.where(mine, -np.inf, score), THRESHOLD.value)
        found.append(Prediction(labels, score, open_set, tiny.image(i), SPACE, THRESHOLD, learned=mine))
    return found


def regions(some, threshold):
    return [int(pieces_above(p.score, p.decided > np.float32(threshold.value), threshold, pixels(AREA, (48, 64))).max())
            for p in some]  # fmt: skip


def share(some, threshold):
    return np.mean([(p.decided > np.float32(threshold.value)).mean() for p in some])


@pytest.mark.parametrize(("factor", "offset"), [(1, 0), (2.5, 0), (0.3, -7), (1, 100)])
def test_it_follows_scores_that_are_scaled_and_moved(factor, offset):
    before, after = predictions(), predictions(lambda score: factor * score + offset)
    found = matched(THRESHOLD, before, after, AREA)
    assert sum(regions(before, THRESHOLD)) > 3 and share(before, THRESHOLD) > 0.02
    assert share(after, found) == pytest.approx(share(before, THRESHOLD), abs=1e-4)
    assert regions(after, found) == regions(before, THRESHOLD)
    # Any value in the gap between the squares and the rest will do.
    assert factor * 2.5 + offset < found.value < factor * 7 + offset and found.estimated
    assert found.reference.mean == pytest.approx(factor * 1 + offset, abs=0.05 * factor) and found.reference.images == 6
    assert replace(found, value=4.0, unit=3.0, reference=THRESHOLD.reference, estimated=False,
                   regions=THRESHOLD.regions) == THRESHOLD  # fmt: skip


def test_other_scores_have_as_many_unknown_pixels_and_as_many_regions():
    before, after = predictions(), predictions(lambda score: np.square(score) + score, seed=1, high=5.0)
    found = matched(THRESHOLD, before, after, AREA)
    assert share(after, found) == pytest.approx(share(before, THRESHOLD), abs=1e-3)
    assert sum(regions(after, found)) == sum(regions(before, THRESHOLD))
    assert 0 < found.unit < found.value


def test_what_was_learned_is_never_unknown():
    learned = np.zeros((48, 64), bool)
    learned[:24] = True
    before, after = predictions(learned=learned), predictions(lambda score: 2 * score, learned)
    found = matched(THRESHOLD, before, after, AREA)
    assert share(after, found) == pytest.approx(share(before, THRESHOLD), abs=1e-4) and share(before, THRESHOLD) < 0.03
    assert regions(after, found) == regions(before, THRESHOLD)


def test_where_nothing_is_unknown_it_moves_with_the_median():
    far = replace(THRESHOLD, value=50.0)
    found = matched(far, predictions(), predictions(lambda score: score + 3), AREA)
    assert found.value == pytest.approx(53, abs=1e-3) and found.unit == 3.0 and found.regions.value == 0.0


def test_without_regions_and_reference_there_are_none():
    plain = replace(THRESHOLD, regions=None, reference=None)
    found = matched(plain, predictions(), predictions(lambda score: 2 * score), AREA)
    assert found.regions is None and found.reference is None

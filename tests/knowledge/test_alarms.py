"""The threshold of regions: how many false ones are found, against loops over every threshold and image."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from owseg.errors import OwsegError
from owseg.knowledge import alarms
from owseg.knowledge.alarms import false_regions, region_threshold
from owseg.knowledge.calibration import calibrate
from owseg.knowledge.load import load
from owseg.knowledge.pieces import GROWTH, pieces_above
from owseg.openset import RegionThreshold, Threshold, threshold_at_fpr
from tests.support import tiny

PIXELS = Threshold(0.5, "quantile", 0.05, 0.05, unit=1.0, images=1, pixels=1)


def at(value, threshold=PIXELS):
    return replace(threshold, regions=RegionThreshold(value, "quantile", 0.3, 0.0, 1))


def some_maps(count=12, seed=0, shape=(40, 50)):
    """Smooth scores with hills of several heights; in every third image some of the highest are not known."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        score = ndimage.gaussian_filter(rng.normal(size=shape), 3) * 8
        known = np.ones(shape, bool) if i % 3 else score < 1.5
        found.append((score.astype(np.float32), known))
    return found


def slowly(score, known, value):
    """``false_regions`` by a flood over 4-neighbours; holes are filled first."""
    grown = score > value - GROWTH * PIXELS.unit
    grown &= score > PIXELS.value
    holes, n = ndimage.label(~grown)
    for i in range(1, n + 1):
        hole = holes == i
        edge = hole[0].any() or hole[-1].any() or hole[:, 0].any() or hole[:, -1].any()
        if not edge and hole.sum() < 4:
            grown |= hole
    pieces, n = ndimage.label(grown)
    count = 0
    for i in range(1, n + 1):
        piece = pieces == i
        surely = (piece & (score > value) & (score > PIXELS.value)).any()
        count += piece.sum() >= 4 and surely and known[piece].sum() * 2 >= piece.sum()
    return count


@pytest.mark.parametrize("value", [0.4, 0.8, 1.5, 99.0])
def test_false_regions_are_those_of_loops(value):
    """MIN_AREA of 40 x 50 pixels is 4."""
    counts = [false_regions(score, known, at(value)) for score, known in some_maps()]
    assert counts == [slowly(score, known, value) for score, known in some_maps()]
    assert (sum(counts) > 3) == (value < 2)


@pytest.mark.parametrize("rate", [0.05, 0.3, 1.0])
def test_no_higher_threshold_has_more_false_regions_than_were_asked_for(rate):
    maps = some_maps()
    found = region_threshold(maps, PIXELS, rate)
    assert found.images == 12 and found.target == rate and found.method == "quantile"
    every = np.unique(np.concatenate([s[k] for s, k in maps]))
    higher = every[every >= found.value][:: 1 + len(every) // 80]
    assert max(np.mean([slowly(s, k, v) for s, k in maps]) for v in higher) <= rate and found.achieved <= rate
    # A little lower, and there are too many: the thresholds that are tried are dense enough for that.
    assert max(np.mean([slowly(s, k, v) for s, k in maps]) for v in (found.value - d for d in (0.1, 0.3, 0.6))) > rate


def test_conformal_bounds_the_share_of_images_with_one():
    maps = some_maps(30)
    found = region_threshold(maps, PIXELS, 0.3, "conformal")
    share = np.mean([slowly(s, k, found.value) > 0 for s, k in maps])
    assert share <= found.achieved and (30 * found.achieved + 1) / 31 <= 0.3
    assert found.value != region_threshold(maps, PIXELS, 0.3).value  # which counts two in an image as two


@pytest.mark.parametrize(
    ("rate", "method", "count", "sentence"),
    [
        (0.0, "quantile", 3, "above 0"),
        (float("nan"), "quantile", 3, "above 0"),
        (1.0, "conformal", 3, "below 1 for conformal"),
        (0.1, "conformal", 8, "needs at least 9 images, not 8"),
        (0.3, "quantile", 0, "no known pixel"),
    ],
)
def test_what_cannot_be_promised_is_refused(rate, method, count, sentence):
    with pytest.raises(OwsegError, match=sentence):
        region_threshold(some_maps(count), PIXELS, rate, method)


def test_a_region_grows_from_what_is_surely_unknown():
    """Two hills of the same foot: only the one that rises above the threshold is a region, down to its foot."""
    score = np.zeros((20, 40), np.float32)
    score[5:15, 3:15], score[8:12, 6:12] = 1.95, 2.4
    score[5:15, 25:37] = 1.95
    pieces = pieces_above(score, score > 0.5, at(2.0), 4)
    assert np.array_equal(pieces, (score > 1.9) & (np.arange(40) < 20))
    assert pieces_above(score, score > 0.5, at(2.1), 4).sum() == 24  # the foot is more than GROWTH below
    assert (
        pieces_above(score, score > 2, at(2.1), 4).sum() == 24 and not pieces_above(score, score > 9, at(2.1), 4).any()
    )
    assert pieces_above(score, score > 0.5, PIXELS, 4).max() == 2  # without a threshold of regions: all that is unknown


# ---- in a knowledge base


@pytest.fixture(scope="module")
def kb():
    return calibrate(tiny.calibrated(), tiny.dataset(), fpr=0.3, false_alarms=0.5)


def test_calibration_finds_both_and_they_are_stored(kb, tmp_path):
    data, maps = tiny.dataset(), []
    for sample in data:
        assessed = kb.assess(kb.forward(sample.image), sample.target.shape)
        maps.append((assessed.decided(kb.scorer), sample.target < 254))
    pixels = threshold_at_fpr(maps, 0.3)
    assert replace(kb.threshold, reference=None) == replace(pixels, regions=region_threshold(maps, pixels, 0.5))
    kb.save(tmp_path / "kb")
    assert load(tmp_path / "kb").threshold == kb.threshold and "0.5 false alarms per image" in kb.history[-1].message


def test_a_prediction_has_the_regions_that_the_knowledge_base_finds(kb):
    low = replace(kb.threshold, regions=replace(kb.threshold.regions, value=kb.threshold.value))
    kb = replace(kb, threshold=low)
    for i in range(4):
        image = tiny.image(i)
        prediction, found = kb.predict(image), kb.regions(image)
        assert [r.to_json() for r in prediction.regions] == [r.to_json() for r in found]
        assert prediction.regions is prediction.regions  # found once
        none = replace(prediction, find=None)
        with pytest.raises(OwsegError, match="no regions"):
            none.regions  # noqa: B018
        assert "regions.json" not in dict(none.files()) and "regions.json" in dict(prediction.files())
        assert np.array_equal(none.overlay(), prediction.overlay()) == (len(found) == 0)


def hills(heights):
    """Images that show one hill each, of known pixels."""
    for height in heights:
        score = np.zeros((40, 50), np.float32)
        score[10:20, 10:20] = height + np.linspace(0, 0.01, 10)
        yield score, np.ones(score.shape, bool)


@pytest.mark.parametrize(("method", "count"), [("quantile", 6), ("conformal", 5)])
def test_of_twenty_images_so_many_may_have_an_alarm(method, count):
    """At a rate of .3, of 20 images 6; conformal, (20 L + 1) / 21 <= .3 allows 5."""
    heights = 1 + np.arange(20) / 10
    found = region_threshold(hills(heights), PIXELS, 0.3, method)
    assert found.achieved == count / 20 and sum(h + 0.01 > found.value for h in heights) == count


def test_an_alarm_at_a_higher_threshold_still_counts(monkeypatch):
    """One image has its alarm above a score of 1.5 alone, the other below it: that is 2 of 2, not 1."""
    monkeypatch.setattr(
        alarms, "false_regions", lambda score, _, t: int((t.regions.value > 1.5) == (score.max() > 1.7))
    )
    assert region_threshold(hills([1.6, 1.8]), PIXELS, 0.5).value > 1.5

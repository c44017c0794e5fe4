"""The threshold of regions: how many false ones are found, against loops over pixels, pieces and images."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from owseg.errors import OwsegError
from owseg.knowledge.alarms import false_evidence, region_threshold
from owseg.knowledge.calibration import calibrate
from owseg.knowledge.load import load
from owseg.knowledge.pieces import GROWTH, evidence, half_maximum, pieces_above, rated_pieces, sure_pieces
from owseg.metrics.threshold import threshold_at_fpr
from owseg.openset import RegionThreshold, Threshold
from tests.support import tiny

PIXELS = Threshold(0.5, "quantile", 0.05, 0.05, unit=0.8, images=1, pixels=1)
LOW = PIXELS.value + GROWTH * PIXELS.unit


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


def slowly(score, known):
    """The evidence of the false pieces of an image; a piece has 4 pixels, which is MIN_AREA of 40 x 50."""
    sure = score > np.float32(LOW)
    holes, n = ndimage.label(~sure)
    for i in range(1, n + 1):
        hole = holes == i
        edge = hole[0].any() or hole[-1].any() or hole[:, 0].any() or hole[:, -1].any()
        if not edge and hole.sum() < 4:
            sure = sure | hole
    pieces, n = ndimage.label(sure)
    found = []
    for i in range(1, n + 1):
        places = np.argwhere(pieces == i)
        if len(places) >= 4:
            excess = [max(0.0, (float(score[y, x]) - PIXELS.value) / PIXELS.unit) for y, x in places]
            each = sum(excess) / len(places) * (len(places) / score.size) ** 0.25
            found += [each for part in parts_of(score, pieces == i) if known[part].sum() * 2 >= part.sum()]
    return found


def parts_of(score, piece):
    """The parts of a piece at half maximum, holes filled, as masks; the piece itself where none has 4 pixels."""
    top = max(float(score[y, x]) for y, x in np.argwhere(piece)) - PIXELS.value
    kept = piece & (score.astype(float) - PIXELS.value >= 0.5 * top)
    holes, n = ndimage.label(~kept)
    for i in range(1, n + 1):
        hole = holes == i
        edge = hole[0].any() or hole[-1].any() or hole[:, 0].any() or hole[:, -1].any()
        kept = kept | hole if not edge and hole.sum() < 4 else kept
    numbers, n = ndimage.label(kept)
    return [numbers == i for i in range(1, n + 1) if (numbers == i).sum() >= 4] or [piece]


def test_the_evidence_of_false_pieces_is_that_of_loops():
    for score, known in some_maps():
        assert sorted(false_evidence(score, known, PIXELS)) == pytest.approx(sorted(slowly(score, known)))
    assert sum(len(slowly(*image)) for image in some_maps()) > 20


@pytest.mark.parametrize("rate", [0.05, 0.3, 1.0])
def test_it_is_the_least_threshold_with_no_more_false_regions_than_were_asked_for(rate):
    maps = some_maps()
    found = region_threshold(maps, PIXELS, rate)
    every = sorted(e for image in maps for e in slowly(*image))
    rates = {t: sum(e > t + 1e-9 for e in every) / 12 for t in (0.0, *every)}
    least = min(t for t, r in rates.items() if r <= rate)
    assert found.value == pytest.approx(least) and found.achieved == pytest.approx(rates[least])
    assert (found.images, found.target, found.method) == (12, rate, "quantile")
    counted = sum(pieces_above(s, s > PIXELS.value, at(found.value), 4).max() for s, k in maps if k.all())
    assert counted <= rate * 12


def hills(heights):
    """Images that show one hill each, of known pixels."""
    for height in heights:
        score = np.zeros((40, 50), np.float32)
        score[10:20, 10:20] = height
        yield score, np.ones(score.shape, bool)


@pytest.mark.parametrize(("method", "count"), [("quantile", 6), ("conformal", 5)])
def test_of_twenty_images_so_many_may_have_an_alarm(method, count):
    """At a rate of .3, of 20 images 6; conformal, (20 L + 1) / 21 <= .3 allows 5."""
    heights = 2 + np.arange(20) / 10
    found = region_threshold(hills(heights), PIXELS, 0.3, method)
    seen = [pieces_above(s, s > PIXELS.value, at(found.value), 4).max() for s, _ in hills(heights)]
    assert found.achieved == count / 20 and seen == [0] * (20 - count) + [1] * count


def test_conformal_counts_images_not_regions():
    score = np.zeros((40, 50), np.float32)
    for i in range(5):
        score[2:12, 2 + 9 * i : 9 + 9 * i] = 3 + i / 10
    maps = [(score, np.ones(score.shape, bool)), *hills([0.0] * 9)]
    assert region_threshold(maps, PIXELS, 0.2, "conformal").value == 0  # one image of ten has any
    assert region_threshold(maps, PIXELS, 0.2).achieved == 0.2  # two regions in ten images


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


def test_a_region_is_without_its_haze_and_a_large_one_needs_a_lower_score():
    score = np.zeros((40, 80), np.float32)
    score[5:35, 5:35], score[10:30, 10:30] = LOW - 0.01, 2.0  # a thing, and haze around it
    score[10:14, 60:64] = 2.4
    unknown = score > PIXELS.value
    pieces = sure_pieces(score, unknown, PIXELS, 4)
    large, small = evidence(score, pieces, PIXELS)
    assert np.array_equal(pieces, np.where(score == 2, 1, 0) + np.where(score == np.float32(2.4), 2, 0))
    assert large == pytest.approx(1.5 / 0.8 * (400 / 3200) ** 0.25) and small < large
    assert np.array_equal(pieces_above(score, unknown, at((small + large) / 2), 4), pieces == 1)
    assert pieces_above(score, unknown, at(0.0), 17).max() == 1 and not pieces_above(score, unknown, at(9.0), 4).any()
    assert np.array_equal(pieces_above(score, unknown, PIXELS, 4) > 0, unknown)  # without a threshold: all


def test_a_region_ends_at_half_of_its_highest_score_above_the_threshold():
    score = np.zeros((40, 80), np.float32)
    score[5:35, 5:35], score[10:20, 10:30], score[22:32, 10:30] = 1.3, 2.2, 2.4  # .8, 1.7 and 1.9 above the threshold
    score[5:15, 50:60], score[9, 54] = 1.3, 2.3  # a top of one pixel
    pieces = sure_pieces(score, score > PIXELS.value, PIXELS, 4)
    assert pieces.max() == 2
    found, rating = rated_pieces(score, score > PIXELS.value, PIXELS, 4)
    tops = np.isin(score, np.float32([2.2, 2.4]))
    first, second, alone = found[10, 10], found[22, 10], found[5, 50]
    assert {first, second, alone} == {1, 2, 3} == {*found[found > 0]}
    assert np.array_equal((found == first) | (found == second), tops)
    assert np.array_equal(found == alone, pieces == pieces[5, 50])  # no part is large enough, so it stays whole
    whole = evidence(score, pieces, PIXELS)
    assert rating[[first - 1, second - 1]] == pytest.approx([whole[pieces[5, 5] - 1]] * 2)
    assert rating[alone - 1] == pytest.approx(whole[pieces[5, 50] - 1]) and rating[alone - 1] < rating[first - 1]
    above = pieces_above(score, score > PIXELS.value, at(rating[alone - 1]), 4)
    assert np.array_equal(above > 0, tops)
    assert np.array_equal(half_maximum(score, pieces, PIXELS, 4, 0.0), pieces)


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
    kb = replace(kb, threshold=replace(kb.threshold, regions=None))
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


def test_a_box_says_by_how_many_units_the_score_is_above_the_threshold(kb, monkeypatch):
    kb = replace(kb, threshold=replace(kb.threshold, regions=None))
    prediction, drawn = next(p for p in map(kb.predict, map(tiny.image, range(8))) if len(p.regions)), []
    monkeypatch.setattr("owseg.knowledge.prediction.draw_boxes", lambda pixels, boxes: drawn.extend(boxes) or pixels)
    prediction.overlay()
    assert [box for box, _ in drawn] == [r.box for r in prediction.regions]
    for (_, text), region in zip(drawn, prediction.regions, strict=True):
        score = prediction.score[region.mask.mask()].max()
        assert float(text) == pytest.approx((score - kb.threshold.value) / kb.threshold.unit, abs=0.051)

"""Thresholds move with the scores, say that they are estimates, and another place is noticed."""

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from owseg.errors import OwsegError
from owseg.knowledge import adaptation
from owseg.knowledge.adaptation import MOST, adapt, adapt_to_some, find_shift, moved, quantiles_of
from owseg.knowledge.calibration import find_threshold
from owseg.knowledge.load import load
from owseg.openset import Reference, Threshold, quantiles
from tests.support import tiny


def threshold_on(maps, fpr=0.05):
    """The threshold and reference of scores of which all is known, by plain numpy."""
    pooled = np.concatenate([m.ravel() for m in maps])
    value = float(np.quantile(pooled, 1 - fpr))
    return Threshold(value, "quantile", fpr, fpr, value - float(np.median(pooled)), len(maps), pooled.size,
                     Reference.of([quantiles(m) for m in maps]))  # fmt: skip


def drawn(rng, count, shift=0.0, spread=0.1):
    """Scores of ``count`` images whose means differ by ``spread``."""
    return [rng.normal(shift + rng.normal(0, spread), 1, (48, 64)) for _ in range(count)]


def test_the_estimate_is_the_old_threshold_plus_the_shift_of_the_medians(kb):
    """Computed once more in float64, image after image, without what adapts."""
    images = [tiny.image(i) for i in range(5)]
    new = adapt(kb, images).threshold
    medians = [float(np.median(kb.predict(image).score.astype(np.float64))) for image in images]
    old = [float(np.median(kb.predict(s.image).score.astype(np.float64))) for s in tiny.varied()]
    assert kb.threshold.reference.mean == pytest.approx(sum(old) / len(old), abs=1e-6)
    assert kb.threshold.reference.deviation == pytest.approx(np.std(old, ddof=1), abs=1e-6)
    expected = kb.threshold.value + sum(medians) / 5 - sum(old) / len(old)
    assert new.value == pytest.approx(expected, abs=1e-6) and abs(new.value - kb.threshold.value) > 1e-3
    assert (new.reference.mean, new.reference.images) == (pytest.approx(np.mean(medians), abs=1e-6), 5)
    same = ("method", "target_fpr", "achieved_fpr", "unit", "images", "pixels")
    assert all(getattr(new, name) == getattr(kb.threshold, name) for name in same)
    assert new.estimated and not kb.threshold.estimated  # and the value that was given stays
    assert new.regions == kb.threshold.regions  # evidence counts from the threshold, which is the one that moves


@pytest.mark.parametrize("shift", [-2.0, 0.7, 3.0])
def test_a_place_where_all_scores_are_higher_loses_what_was_asked(shift):
    rng = np.random.default_rng(0)
    old, new = threshold_on(drawn(rng, 30)), drawn(rng, 8, shift)
    scores = [quantiles(m) for m in new]
    pooled = np.concatenate([m.ravel() for m in new])
    assert (pooled > moved(old, scores).value).mean() == pytest.approx(0.05, abs=0.01)
    found = find_shift(old, scores)
    assert found.score == pytest.approx(shift, abs=0.15) and found.significant and found.images == 8
    assert found.lost == pytest.approx((pooled > old.value).mean(), abs=0.02)


def test_what_is_unknown_neither_moves_the_threshold_far_nor_counts_as_lost():
    rng = np.random.default_rng(1)
    old, new = threshold_on(drawn(rng, 30)), drawn(rng, 8, 1.0)
    known = np.concatenate([m[6:].ravel() for m in new])
    for m in new:
        m[:6] = 9  # an eighth of each image
    scores = [quantiles(m) for m in new]
    assert 0.02 < (known > moved(old, scores).value).mean() <= 0.06
    assert find_shift(old, scores).lost == pytest.approx((known > old.value).mean(), abs=0.04)


def test_the_bound_is_student_s_for_one_image():
    rng = np.random.default_rng(2)
    old = threshold_on(drawn(rng, 12))
    medians = [np.median(m) for m in drawn(np.random.default_rng(2), 12)]
    found = find_shift(old, [quantiles(drawn(rng, 1)[0])])
    expected = stats.t.ppf(0.995, 11) * np.std(medians, ddof=1) * np.sqrt(1 + 1 / 12)
    assert found.critical == pytest.approx(expected, rel=1e-6)


def test_the_same_place_is_rarely_taken_for_another_however_alike_the_images_are():
    rng = np.random.default_rng(3)
    found = []
    for _ in range(400):
        reference = Reference.of([np.full(201, m) for m in rng.normal(0, 1, 10)])
        threshold = Threshold(3.0, "quantile", 0.05, 0.05, 3.0, 10, 10, reference)
        found.append(find_shift(threshold, [np.full(201, rng.normal())] * 8, level=0.05).significant)
    assert 0.02 <= np.mean(found) <= 0.08  # frames that are all the same: the level itself


def test_after_adapting_the_place_is_no_other_one(kb):
    images = [tiny.image(i) for i in range(6)]
    scores = [quantiles(kb.predict(image).score) for image in images]
    new = adapt(kb, images).threshold
    assert find_shift(new, scores).score == pytest.approx(0, abs=1e-9)
    assert adapt(adapt(kb, images[:2]), images).threshold.value == pytest.approx(
        new.value
    )  # no matter what came before


def test_one_image_says_nothing_of_how_images_differ():
    old = threshold_on(drawn(np.random.default_rng(4), 1))
    found = find_shift(old, [quantiles(m) for m in drawn(np.random.default_rng(5), 3, 50.0)])
    assert found.critical == math.inf and not found.significant and found.to_json()["critical"] is None


def test_the_history_and_what_is_stored_say_that_it_is_an_estimate(kb, tmp_path):
    new = adapt(kb, [tiny.image(i) for i in range(3)])
    assert new.history[-1].action == "adapt" and "estimated; no rate is promised" in new.history[-1].message
    assert "estimated; no rate is promised" in repr(new) and "estimated" not in repr(kb)
    new.save(tmp_path / "kb")
    loaded = load(tmp_path / "kb")
    assert loaded.threshold == new.threshold and loaded.threshold.to_json()["estimated"] is True
    assert loaded.threshold.reference == new.threshold.reference and loaded.history[-1].details["names"] == ["", "", ""]


def test_the_given_forward_is_used(kb):
    calls = []

    def forward(image, scale=1.0):
        calls.append(image.shape)
        return kb.forward(255 - image, scale)

    images = [tiny.image(i) for i in range(3)]
    inverted = adapt(kb, [255 - image for image in images]).threshold.value
    assert adapt(kb, images, forward).threshold.value == inverted != adapt(kb, images).threshold.value
    assert len(calls) == 3


def test_one_that_was_stored_without_a_reference_falls_back_on_the_median_of_known_pixels(kb):
    old = replace(kb, threshold=replace(kb.threshold, reference=None))
    images = [tiny.image(i) for i in range(3)]
    new = adapt(old, images)
    medians = [float(np.median(kb.predict(image).score)) for image in images]
    assert new.threshold.value == pytest.approx(kb.threshold.unit + np.mean(medians), abs=1e-5)
    assert "from the median of known pixels alone" in new.history[-1].message
    assert "from the median" not in adapt(kb, images).history[-1].message
    assert not find_shift(old.threshold, [np.full(201, 1e6)]).significant


@pytest.mark.parametrize("images, change, why", [
    ([], {}, "there is no image to adapt to"),
    ([np.full((3, 48, 64), 9, np.uint8)], {}, "more than one colour"),
    ([tiny.image()], None, "no threshold yet"),
    ([tiny.image()], {"reference": None, "unit": 1.0}, "does not say which scores it was calibrated on"),
    ([np.zeros((1, 2, 3, 4))], {}, "an image is"),
])  # fmt: skip
def test_mistakes_end_in_one_sentence(kb, images, change, why):
    threshold = None if change is None else replace(kb.threshold, **change)
    with pytest.raises(OwsegError, match=why):
        adapt(replace(kb, threshold=threshold), images)


def test_images_of_one_colour_do_not_count(kb):
    flat = np.zeros((3, 48, 64), np.uint8)
    flat[1] = 200
    assert adapt(kb, [tiny.image(), flat]).threshold == adapt(kb, [tiny.image()]).threshold
    assert quantiles_of(tiny.image(), np.ones((48, 64))) is None and quantiles_of(flat, np.eye(64)) is None


def test_at_most_sixteen_are_looked_at_evenly_spread_and_what_cannot_be_read_is_left_out(kb, tmp_path, monkeypatch):
    paths = [tmp_path / f"p{i:02d}.png" for i in range(40)]
    for i, path in enumerate(paths):
        Image.fromarray(tiny.image(i).transpose(1, 2, 0)).save(path)
    seen, adapted = [], adaptation.adapt

    def recorded(kb, images, forward, skip, read):
        seen.append((images, forward))
        return adapted(kb, images[:3], forward, skip, read)

    monkeypatch.setattr(adaptation, "adapt", recorded)
    adapt_to_some(kb, paths, kb.forward)
    (picked, forward), numbers = seen[0], [int(p.stem[1:]) for p in seen[0][0]]
    assert len(picked) == MOST and numbers[0] == 0 and numbers[-1] == 39 and forward == kb.forward
    assert set(np.diff(numbers).tolist()) == {2, 3}
    paths[0].write_bytes(b"no image")
    assert adapt_to_some(kb, paths[:3]).history[-1].details["names"] == ["p01.png", "p02.png"]
    with pytest.raises(OwsegError, match=r"p00\.png"):
        adapted(kb, paths[:3])


def test_calibrating_stores_what_all_pixels_are_like_unknown_ones_too(kb):
    data = tiny.dataset(6, 4, unknown=True)
    found = find_threshold(kb, data).reference
    assert found == Reference.of([quantiles(kb.predict(s.image).score) for s in data])

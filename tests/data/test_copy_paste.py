"""Outliers pasted into images: nothing else changes, and size, place, mirror and edge are what they should be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from owseg.data.copy_paste import SIZES, paste
from owseg.data.outliers import Outlier
from owseg.labels import IGNORE, UNKNOWN
from owseg.types import Sample


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.tuples(st.integers(4, 40), st.integers(4, 40)),
    st.tuples(st.integers(24, 80), st.integers(24, 80)), st.sampled_from([0.0, 2.0]), st.booleans(),
)  # fmt: skip
def test_pasted_pixels_are_the_outlier_and_nothing_else_moves(seed, small, large, feather, labelled):
    rng = np.random.default_rng(seed)
    mask = np.zeros(small, bool)
    mask[rng.integers(small[0]) :, rng.integers(small[1]) :] = True
    outlier = Outlier(np.full((3, *small), 200, np.uint8), mask, "o")
    target = rng.integers(0, 4, large).astype(np.uint8) if labelled else None
    if target is not None:
        target[0] = IGNORE
    sample = Sample(rng.integers(0, 100, (3, *large)).astype(np.uint8), target, "s")
    kept = sample.image.copy()
    made = paste(sample, outlier, np.random.default_rng(seed), (0.2, 0.9), feather)
    pasted = made.target == UNKNOWN
    assert np.array_equal(sample.image, kept)
    assert np.array_equal(made.image[:, ~pasted], sample.image[:, ~pasted])
    assert np.array_equal(made.target[~pasted], np.zeros(large)[~pasted] if target is None else target[~pasted])
    if feather == 0:
        assert np.array_equal((made.image == 200).all(0), pasted)  # the image is darker
    rows, columns = np.nonzero(pasted)
    if len(rows):
        longest = max(np.ptp(rows), np.ptp(columns)) + 1
        assert 0.2 * min(large) - 2 <= longest <= 0.9 * min(large) + 1


def test_the_corner_that_an_outlier_leaves_free_stays():
    mask = np.ones((30, 30), bool)
    mask[:15, :15] = False
    outlier = Outlier(np.full((3, 30, 30), 200, np.uint8), mask, "o")
    made = paste(
        Sample(np.zeros((3, 40, 40), np.uint8), None, "s"), outlier, np.random.default_rng(1), (0.75, 0.7500001)
    )
    assert (made.target == UNKNOWN).sum() == mask.sum() == (made.image == 200).all(0).sum()


def test_an_outlier_without_pixels_is_not_pasted():
    sample = Sample(np.zeros((3, 8, 8), np.uint8), None, "s")
    nothing = Outlier(np.zeros((3, 4, 4), np.uint8), np.zeros((4, 4), bool), "o")
    assert paste(sample, nothing, np.random.default_rng(0)) is sample


def black(size):
    return Sample(np.zeros((3, *size), np.uint8), None, "s")


def test_sizes_are_drawn_log_uniformly_from_the_range_that_is_given():
    outlier = Outlier(np.full((3, 30, 20), 200, np.uint8), np.ones((30, 20), bool), "o")

    def sides(*sizes):
        made = (paste(black((200, 300)), outlier, np.random.default_rng(seed), *sizes) for seed in range(300))
        return np.array([(m.target == UNKNOWN).any(1).sum() / 200 for m in made])  # its longer side is vertical

    usual, small = sides(), sides((0.1, 0.2))
    assert SIZES[0] - 0.01 <= usual.min() < 0.1 and 0.5 < usual.max() <= SIZES[1] + 0.01
    assert abs(np.median(np.log(usual)) - np.mean(np.log(SIZES))) < 0.2  # in the middle of the logarithms
    assert small.min() >= 0.095 and small.max() <= 0.205


def photograph():
    """An ellipse, brighter to the right and the bottom, in a photograph of even sides."""
    rows, columns = np.mgrid[:120, :160]
    mask = ((rows - 59.5) / 40) ** 2 + ((columns - 89.5) / 30) ** 2 <= 1
    image = np.stack([rows, columns, rows + columns // 2]).astype(np.uint8)
    return Outlier(image, mask, "o")


@pytest.mark.parametrize("factor", [0.25, 0.5, 0.75, 1.0])
def test_by_a_factor_the_whole_image_of_an_outlier_is_scaled(factor):
    """Against the release's order: the photograph and its mask are scaled as a whole, then cut to the object's box."""
    outlier = photograph()
    size = (round(160 * factor), round(120 * factor))
    planes = [Image.fromarray(p).resize(size, Image.Resampling.BILINEAR) for p in outlier.image]
    whole = np.asarray(Image.fromarray(outlier.mask.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)) > 0.5
    rows, columns = np.nonzero(whole.any(1))[0], np.nonzero(whole.any(0))[0]
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    for seed in range(6):
        made = paste(black((200, 300)), outlier, np.random.default_rng(seed), factors=(factor,))
        shown = made.target == UNKNOWN
        tall, wide = (np.ptp(side) + 1 for side in np.nonzero(shown))
        assert abs(tall - len(rows)) <= 1 and abs(wide - len(columns)) <= 1
        assert abs(shown.sum() - whole.sum()) <= 2 * (len(rows) + len(columns)) / 2
        for plane, pasted in zip(planes, made.image, strict=True):
            middle = np.asarray(plane)[box][len(rows) // 4 : -len(rows) // 4, len(columns) // 4 : -len(columns) // 4]
            assert abs(pasted[shown].mean() - np.asarray(plane)[whole].mean()) < 2
            assert middle.max() - 3 <= pasted[shown].max()


def test_factors_are_drawn_as_often_as_they_are_named():
    square = Outlier(np.full((3, 60, 60), 200, np.uint8), np.ones((60, 60), bool), "o")
    sides = [
        int((paste(black((90, 90)), square, np.random.default_rng(seed), factors=(0.25, 0.5, 0.5, 1)).target == UNKNOWN)
            .any(1).sum())
        for seed in range(400)
    ]  # fmt: skip
    assert set(sides) == {15, 30, 60}
    assert 160 < sides.count(30) < 240 and 70 < sides.count(15) < 130


def test_what_would_be_larger_than_the_image_is_made_to_fit():
    wide = Outlier(np.full((3, 30, 120), 200, np.uint8), np.ones((30, 120), bool), "o")
    made = paste(black((40, 60)), wide, np.random.default_rng(0), factors=(2.0,))
    rows, columns = np.nonzero(made.target == UNKNOWN)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (15, 60)


def test_half_of_the_outliers_are_mirrored_and_places_are_spread():
    image = np.zeros((3, 20, 20), np.uint8)
    image[:, :, :10], image[:, :, 10:] = 50, 250
    outlier, mirrored, places = Outlier(image, np.ones((20, 20), bool), "o"), 0, []
    for seed in range(200):
        made = paste(black((100, 100)), outlier, np.random.default_rng(seed), (0.2, 0.2001))
        rows, columns = np.nonzero(made.target == UNKNOWN)
        mirrored += made.image[0, rows[0], columns[0]] == 250
        places.append((rows.min(), columns.min()))
    assert 70 < mirrored < 130
    assert np.ptp(places, axis=0).min() > 70 and np.max(places) <= 80


def test_a_feathered_edge_is_blended_inwards():
    outlier = Outlier(np.full((3, 40, 40), 200, np.uint8), np.ones((40, 40), bool), "o")
    for feather, first in ((0.0, [200, 200, 200, 200]), (3.0, [50, 100, 150, 200])):
        made = paste(black((80, 80)), outlier, np.random.default_rng(3), (0.5, 0.50001), feather)
        rows, columns = np.nonzero(made.target == UNKNOWN)
        middle = (rows.min() + rows.max()) // 2
        assert made.image[0, middle, columns.min() : columns.min() + 4].tolist() == first
        assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (40, 40)


def test_the_name_says_what_was_pasted():
    outlier = Outlier(np.full((3, 4, 4), 200, np.uint8), np.ones((4, 4), bool), "cow_1")
    assert paste(black((40, 40)), outlier, np.random.default_rng(0)).id == "s+cow_1"

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from owseg.data.masks import Rle
from owseg.errors import OwsegError
from owseg.knowledge.calibration import calibrate, fit_scorers
from owseg.knowledge.regions import cells, components, pixels, split_pieces
from owseg.labels import UNKNOWN
from tests.reference import regions as oracle
from tests.support import tiny

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))


@pytest.fixture(scope="module")
def kb():
    data = tiny.dataset()
    return calibrate(fit_scorers(tiny.knowledge_base(), data), data, fpr=0.3, scorer="joint")


@given(masks)
@settings(deadline=None)
def test_run_lengths_are_cocos_and_come_back(mask):
    rle = Rle.of(mask)
    assert list(rle.counts) == oracle.run_lengths(mask)
    assert np.array_equal(rle.mask(), mask) and rle.area == mask.sum()
    assert Rle.from_json(rle.to_json(), mask.shape) == rle
    coco = pytest.importorskip("pycocotools.mask")
    theirs = coco.frPyObjects(rle.to_json(), *mask.shape)
    assert np.array_equal(coco.decode(theirs).astype(bool), mask) and coco.area(theirs) == rle.area


@pytest.mark.parametrize(
    "value",
    [
        None, [], {}, {"size": [2, 3]}, {"size": [2, 3], "counts": [5]}, {"size": [2, 3], "counts": [7]},
        {"size": [3, 2], "counts": [6]}, {"size": [2, 3], "counts": [8, -2]}, {"size": [2, 3], "counts": [6.0]},
        {"size": [2, 3], "counts": "6"}, {"size": [2], "counts": [6]}, {"size": [2, 3], "counts": [True, 5]},
    ],
)  # fmt: skip
def test_what_is_no_mask_of_that_size_is_refused(value):
    assert Rle.from_json({"size": [2, 3], "counts": [6]}, (2, 3)).area == 0
    with pytest.raises(OwsegError, match="not those of a mask of 3x2"):
        Rle.from_json(value, (2, 3))


@given(masks, st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_components_are_those_of_a_flood(unknown, least):
    ids, expected = components(unknown, least), oracle.components(unknown, least)
    assert ids.max() == len(expected)
    found = [sorted(zip(*map(list, np.nonzero(ids == i)), strict=True)) for i in range(1, len(expected) + 1)]
    assert sorted(found) == sorted(sorted(piece) for piece in expected)


def two_things(angle=90.0, noise=0.2, seed=0):
    """One piece of 24x48 pixels on a grid of 6x12 cells; left and right half point ``angle`` degrees apart."""
    rng = np.random.default_rng(seed)
    z = noise * rng.normal(size=(8, 6, 12))
    z[0, :, :6] += 3
    z[0, :, 6:] += 5 * np.cos(np.radians(angle))
    z[1, :, 6:] += 5 * np.sin(np.radians(angle))
    return np.pad(np.ones((20, 44), int), 2), z


def test_two_things_that_touch_are_told_apart():
    piece, z = two_things()
    ids = split_pieces(piece, z, 50, 0.5)
    assert set(np.unique(ids)) == {0, 1, 2} and np.array_equal(ids > 0, piece > 0)
    assert len(np.unique(ids[:, :24])) == len(np.unique(ids[:, 24:])) == 2  # one thing, and what is none
    assert np.array_equal(split_pieces(piece, z, 50, 0.5), ids)


@pytest.mark.parametrize("angle, apart", [(0.0, False), (50.0, False), (70.0, True), (180.0, True)])
def test_things_are_told_apart_by_the_cosine(angle, apart):
    piece, z = two_things(angle)
    assert split_pieces(piece, z, 50, 0.5).max() == 1 + apart
    assert split_pieces(piece, z, 50, -1).max() == 1  # never
    assert split_pieces(piece, 100 * z, 50, 0.5).max() == 1 + apart  # only directions count


def test_a_side_that_is_too_small_is_no_thing_of_its_own():
    piece, z = two_things()
    assert split_pieces(piece, z, 441, 0.5).max() == 1  # each side has 440 pixels
    assert split_pieces(piece, z, 440, 0.5).max() == 2
    z[:, 0, :2] = 40 * np.eye(8)[5][:, None]  # a corner unlike all else, too small, does not hide the two
    ids = split_pieces(piece, z, 200, 0.5)
    assert ids.max() == 2 and np.array_equal(ids > 0, piece > 0)


@given(hnp.arrays(bool, (12, 16)), st.integers(1, 8), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_regions_are_connected_large_and_apart(unknown, least, seed):
    z = np.random.default_rng(seed).normal(size=(5, 4, 5))
    pieces = components(unknown, least)
    ids = split_pieces(pieces, z, least, 0.9)
    assert not ids[pieces == 0].any()
    assert {*np.unique(pieces)} - {0} == {*np.unique(pieces[ids > 0])}  # none is lost
    for i in range(1, ids.max() + 1):
        assert len(oracle.pieces(ids == i)) == 1 and (ids == i).sum() >= least
        assert len(np.unique(pieces[ids == i])) == 1


@given(masks, st.tuples(st.integers(1, 9), st.integers(1, 9)))
@settings(deadline=None)
def test_cells_count_the_pixels(mask, grid):
    grid = (min(grid[0], mask.shape[0]), min(grid[1], mask.shape[1]))
    expected = np.zeros(grid)
    for i, j in zip(*np.nonzero(mask), strict=True):
        expected[i * grid[0] // mask.shape[0], j * grid[1] // mask.shape[1]] += 1
    assert np.array_equal(cells(mask, grid), expected)


def test_a_region_is_what_it_says(kb):
    image = tiny.image(3)
    output, prediction = kb.forward(image), kb.predict(image)
    found = kb.regions(image, 20, 0.5, image_id="p")
    assert np.array_equal(found.unknown, prediction.open_set == UNKNOWN) and found.regions
    z = kb.feature_space.whitened(output)[0].double().numpy()
    h, w = z.shape[1:]
    for region in found:
        at = [(int(i), int(j)) for i, j in zip(*np.nonzero(region.mask.mask()), strict=True)]
        assert region.image_id == "p" and region.area == len(at) >= 20 and region.box == oracle.box(at)
        assert region.share == len(at) / image[0].size
        scores = [float(prediction.score[p]) for p in at]
        assert region.mean == pytest.approx(np.mean(scores)) and region.peak == max(scores)
        mean = np.mean([z[:, i * h // image.shape[1], j * w // image.shape[2]] for i, j in at], axis=0)
        assert region.embedding == pytest.approx(mean, abs=1e-4)
        gaps = [float(np.linalg.norm(m.double().numpy() - mean)) for m in kb.feature_space.means]
        assert region.nearest == kb.labels.names[int(np.argmin(gaps))]
        assert region.distance == pytest.approx(min(gaps), rel=1e-4)
    areas = [r.area for r in found.regions]
    assert areas == sorted(areas, reverse=True)


def test_without_fitted_scorers_regions_are_compared_in_the_last_stage(kb):
    plain = calibrate(replace(kb, fitted={}, scorer="max_logit", threshold=None), tiny.dataset(), fpr=0.3)
    last = plain.forward(tiny.image(1)).features[-1][0].numpy()
    (first, *_) = plain.regions(tiny.image(1), min_area=20)
    cover = cells(first.mask.mask(), last.shape[1:])
    mean = ((last - last.mean((1, 2), keepdims=True)) * cover).sum((1, 2)) / cover.sum()
    assert first.embedding == pytest.approx(mean, abs=1e-5)
    labels = plain.predict(tiny.image(1)).labels[first.mask.mask()]
    assert first.distance is None and first.nearest == plain.labels.names[np.bincount(labels).argmax()]


def test_areas_are_pixels_or_a_share():
    assert pixels(0.002, (360, 480)) == 346 and pixels(50, (360, 480)) == 50 and pixels(1e-9, (3, 3)) == 1
    for wrong in (0, -1, float("nan")):
        with pytest.raises(OwsegError, match="above 0"):
            pixels(wrong, (3, 3))


def test_what_is_no_cosine_is_refused(kb):
    for wrong in (-1.1, 1.1, float("nan"), float("inf")):
        with pytest.raises(OwsegError, match="cosine"):
            kb.regions(tiny.image(), split_at=wrong)


def test_nothing_unknown_is_no_region(kb):
    assert kb.threshold is not None
    calm = replace(kb, threshold=replace(kb.threshold, value=1e9))
    found = calm.regions(tiny.image())
    assert found.regions == () and not found.unknown.any()
    assert torch.is_grad_enabled()

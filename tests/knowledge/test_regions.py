"""The unknown pixels of an image as regions: connected, large enough, of one object each, against plain loops."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from owseg.data.masks import Rle
from owseg.errors import OwsegError
from owseg.knowledge.calibration import calibrate
from owseg.knowledge.pieces import cell_of, components, directions, pixels, pixels_per_cell, split_pieces
from owseg.knowledge.regions import RegionFeatures, find_regions
from owseg.labels import UNKNOWN
from owseg.openset import Threshold
from tests.reference import regions as oracle
from tests.support import tiny
from tests.support.counting import Elements, elements

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))


@given(masks, st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_components_are_those_of_a_flood(unknown, least):
    ids, expected = components(unknown, least), oracle.components(unknown, least)
    assert ids.max() == len(expected)
    found = [sorted(zip(*map(list, np.nonzero(ids == i)), strict=True)) for i in range(1, len(expected) + 1)]
    assert sorted(found) == sorted(sorted(piece) for piece in expected)


def two_objects(angle=90.0, noise=0.2, seed=0):
    """One piece of 24x48 pixels on a grid of 6x12 cells; left and right half point ``angle`` degrees apart."""
    rng = np.random.default_rng(seed)
    z = noise * rng.normal(size=(8, 6, 12))
    z[0, :, :6] += 3
    z[0, :, 6:] += 5 * np.cos(np.radians(angle))
    z[1, :, 6:] += 5 * np.sin(np.radians(angle))
    return np.pad(np.ones((20, 44), int), 2), z


def test_two_objects_that_touch_are_two_regions():
    piece, z = two_objects()
    ids = split_pieces(piece, z, 50, 0.5)
    assert set(np.unique(ids)) == {0, 1, 2} and np.array_equal(ids > 0, piece > 0)
    assert len(np.unique(ids[:, :24])) == len(np.unique(ids[:, 24:])) == 2  # one object, and what is none
    assert np.array_equal(split_pieces(piece, z, 50, 0.5), ids)


@pytest.mark.parametrize("angle, apart", [(0.0, False), (50.0, False), (70.0, True), (180.0, True)])
def test_objects_are_told_apart_by_the_cosine(angle, apart):
    piece, z = two_objects(angle)
    assert split_pieces(piece, z, 50, 0.5).max() == 1 + apart
    assert split_pieces(piece, z, 50, -1).max() == 1  # never
    assert split_pieces(piece, 100 * z, 50, 0.5).max() == 1 + apart  # only directions count


@pytest.mark.filterwarnings("error")
def test_an_image_smaller_than_the_grid_is_cut_without_a_warning():
    _, z = two_objects()
    assert split_pieces(np.ones((3, 4), int), z, 1, 0.5).max() == 2


def test_a_side_that_is_too_small_is_no_object_of_its_own():
    piece, z = two_objects()
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
    assert np.array_equal(pixels_per_cell(cell_of(mask.shape, grid)[mask], grid), expected)


def test_a_region_is_what_it_says(unsure_kb):
    kb, image = unsure_kb, tiny.image(3)
    output, prediction = kb.forward(image), kb.predict(image)
    found = kb.regions(image, 20, 0.5, image_id="p")
    assert np.array_equal(found.unknown, prediction.open_set == UNKNOWN) and len(found) == len(found.regions) > 0
    assert list(found) == list(found.regions) and found[0] is found.regions[0]
    z = kb.feature_space.whitened(output)[0].double().numpy()
    h, w = z.shape[1:]
    for region in found:
        mask = region.mask.mask()
        at = [(int(i), int(j)) for i, j in zip(*np.nonzero(mask), strict=True)]
        assert region.image_id == "p" and region.area == len(at) >= 20 and region.box == oracle.box(at)
        assert region.share == len(at) / image[0].size
        scores = [float(prediction.score[p]) for p in at]
        assert region.mean == pytest.approx(np.mean(scores)) and region.peak == max(scores)
        sure = np.abs(prediction.score - region.mean) > 1e-5
        assert np.array_equal(region.core.mask()[sure], (mask & (prediction.score >= region.mean))[sure])
        mean = np.mean([z[:, i * h // image.shape[1], j * w // image.shape[2]] for i, j in at], axis=0)
        assert region.embedding == pytest.approx(mean, abs=1e-4)
        gaps = [float(np.linalg.norm(m.double().numpy() - mean)) for m in kb.feature_space.means]
        assert region.nearest == kb.labels.names[int(np.argmin(gaps))]
        assert region.distance == pytest.approx(min(gaps), rel=1e-4)
    areas = [r.area for r in found]
    assert areas == sorted(areas, reverse=True)


def test_the_options_reach_the_regions(unsure_kb):
    """The least area, and the cosine: 1 cuts whatever may be cut, -1 nothing."""
    image = tiny.image(3)
    unsure_kb = replace(unsure_kb, threshold=replace(unsure_kb.threshold, regions=None))  # all that is unknown
    areas = [r.area for r in unsure_kb.regions(image, min_area=1)]
    least = areas[-1] + 1
    assert [r.area for r in unsure_kb.regions(image, min_area=least)] == [a for a in areas if a >= least] != []
    never, often = (len(unsure_kb.regions(image, 20, cosine)) for cosine in (-1, 1))
    assert never < often
    assert [r.mask for r in unsure_kb.regions(image)] == [r.mask for r in unsure_kb.regions(image, 0.002, 0.5)]


def test_a_class_that_no_pixel_was_fitted_to_is_never_the_nearest(unsure_kb):
    """Its mean is zero, which may be the nearest to everything."""
    joint = copy.deepcopy(unsure_kb.fitted["joint"])
    joint.mahalanobis.counts[:2] = 0
    other = replace(unsure_kb, fitted={"joint": joint})
    nearest = {r.nearest for k in (unsure_kb, other) for r in k.regions(tiny.image(3), 20)}
    assert {r.nearest for r in other.regions(tiny.image(3), 20)} == {"tree"} < nearest


def test_without_fitted_scorers_regions_are_compared_by_the_last_stage(unsure_kb):
    bare = calibrate(
        replace(unsure_kb, fitted={}, scorer="max_logit", threshold=None), tiny.dataset(), fpr=0.3, false_alarms=None
    )
    image = tiny.image(1)
    last = bare.forward(image).features[-1][0].double().numpy()
    z = last - last.mean((1, 2), keepdims=True)
    first = bare.regions(image, min_area=20)[0]
    mask = first.mask.mask()
    weight = pixels_per_cell(cell_of(mask.shape, z.shape[1:])[mask], z.shape[1:])
    assert first.embedding == pytest.approx((z * weight).sum((1, 2)) / weight.sum(), abs=1e-4)
    labels = bare.predict(image).labels[mask]
    assert first.distance is None and first.nearest == bare.labels.names[np.bincount(labels).argmax()]


def test_an_image_is_named_by_its_path(unsure_kb, photos):
    unsure_kb = replace(unsure_kb, threshold=replace(unsure_kb.threshold, regions=None))  # all that is unknown
    path = photos / "p1.png"
    assert {r.image_id for r in unsure_kb.regions(path)} == {"p1.png"}
    assert {r.image_id for r in unsure_kb.regions(path, image_id="other")} == {"other"}
    assert {r.image_id for r in unsure_kb.regions(tiny.image(1))} == {""}


def test_a_region_is_plain_json(unsure_kb):
    region = unsure_kb.regions(tiny.image(3))[0]
    value = json.loads(json.dumps(region.to_json(), allow_nan=False))
    assert value["area"] == region.area and value["box"] == list(region.box) and value["nearest"] == region.nearest
    assert Rle.from_json(value["mask"], (48, 64)) == region.mask and "embedding" not in value


def test_regions_can_be_printed_compared_and_hashed(unsure_kb):
    found = unsure_kb.regions(tiny.image(3), image_id="p3.png")
    region = found[0]
    x, y, width, height = region.box
    assert repr(region) == (
        f"Region(p3.png, {width}x{height} at ({x}, {y}), {region.area} pixels: mean score {region.mean:.4g}, "
        f"nearest {region.nearest})"
    )
    assert repr(found) == f"RegionProposals({len(found)} regions, {found.unknown.mean():.1%} of the image unknown)"
    assert region == region and region != replace(region) and len({region, found, found}) == 2


def test_areas_are_pixels_or_a_share():
    assert pixels(0.002, (360, 480)) == 346 and pixels(50, (360, 480)) == 50 and pixels(1e-9, (3, 3)) == 1
    for wrong in (0, -1, float("nan")):
        with pytest.raises(OwsegError, match="above 0"):
            pixels(wrong, (3, 3))


def test_what_is_no_cosine_is_refused(unsure_kb):
    for wrong in (-1.1, 1.1, float("nan"), float("inf")):
        with pytest.raises(OwsegError, match="cosine"):
            unsure_kb.regions(tiny.image(), split_at=wrong)


def test_nothing_unknown_is_no_region(kb):
    calm = replace(kb, threshold=replace(kb.threshold, value=1e9))
    found = calm.regions(tiny.image())
    assert found.regions == () and not found.unknown.any()
    assert torch.is_grad_enabled()


def test_directions_have_length_one():
    x = np.array([[3.0, 4.0], [0.0, 0.0], [-2.0, 0.0]])
    assert np.allclose(directions(x), [[0.6, 0.8], [0, 0], [-1, 0]])
    for bad in (np.nan, np.inf):
        with pytest.raises(OwsegError, match="an embedding is not finite"):
            directions(np.array([[1.0, bad]]))


def test_the_work_on_a_region_is_that_of_its_box():
    """As many pixels are read of an image with sixteen times as many regions."""
    size, grid = (128, 128), (16, 16)
    z = np.random.default_rng(0).normal(size=(4, *grid)).astype(np.float32)
    threshold, features = Threshold(1.0, "quantile", 0.1, 0.1, 1.0, 1, 1), RegionFeatures.of_map(z)

    def seen(count):
        side = 128 // count
        unknown = np.zeros(size, bool)
        for i, j in np.ndindex(count, count):
            unknown[side * i : side * i + side // 2, side * j : side * j + side // 2] = True
        score, labels = np.where(unknown, 2, 0).astype(np.float32), np.zeros(size, np.uint8)
        found = []

        def find():
            split = split_pieces(ndimage.label(unknown)[0].view(Elements), z, 1, 0.5)
            found.append(split)
            return find_regions(
                unknown,
                score.view(Elements),
                labels,
                threshold,
                features,
                lambda embedding, own: ("road", 1.0),
                "",
                1,
                -1,
            )

        counted = elements(find)
        assert found[0].max() >= count * count
        return counted

    assert seen(16) < 2 * seen(4)

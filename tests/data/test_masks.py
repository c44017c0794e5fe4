"""Run lengths: one type, exact both ways, and refused where they come from elsewhere and do not fit."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as api

from owseg.data.masks import MAX_PIXELS, Rle, box_iou, check_size, decode_counts, decode_rows, encode_rows
from owseg.errors import OwsegError
from tests.reference.tracks import pixel_iou
from tests.support.counting import grows_linearly

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))
PAIRS = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9).flatmap(
    lambda size: st.lists(arrays(bool, size), min_size=1, max_size=4)
)


def counted(mask):
    """The run lengths of a mask, column by column, by counting pixel after pixel."""
    counts, on = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != on:
            counts.append(0)
            on = pixel
        counts[-1] += 1
    return counts


@settings(deadline=None)
@given(MASKS)
def test_a_mask_comes_back_from_everything_it_is_written_as(mask):
    rle = Rle.of(mask)
    assert rle.size == mask.shape and list(rle.counts) == counted(mask) == decode_counts(rle.code.decode())
    assert np.array_equal(rle.mask(), mask) and rle.mask().dtype == bool
    assert rle == Rle.from_counts(rle.counts, mask.shape) == Rle.from_json(rle.to_json(), mask.shape)
    assert rle == pickle.loads(pickle.dumps(rle)) and len({rle, Rle.of(mask.copy())}) == 1
    assert rle.to_json() == {"size": list(mask.shape), "counts": counted(mask)}
    theirs = api.frPyObjects(rle.to_json(), *mask.shape)
    assert np.array_equal(api.decode(theirs).astype(bool), mask)


@settings(deadline=None)
@given(MASKS)
def test_area_and_box_are_those_of_the_pixels(mask):
    rle, (rows, columns) = Rle.of(mask), np.nonzero(mask)
    assert rle.area == mask.sum()
    edges = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1) if len(rows) else (0, 0, 0, 0)
    assert rle.box == edges


@settings(deadline=None)
@given(PAIRS)
def test_a_union_has_the_pixels_of_any(masks):
    first, *others = map(Rle.of, masks)
    assert first.union(*others) == Rle.of(np.logical_or.reduce(masks))


@settings(deadline=None)
@given(MASKS, st.data())
def test_runs_of_no_pixel_change_nothing(mask, data):
    """Equal masks are equal, and their unions right, however their run lengths were written."""
    counts = []
    for run in counted(mask):
        part = data.draw(st.integers(0, run))
        counts += [part, 0, run - part]
    rle = Rle.from_counts(counts, mask.shape)
    assert rle == Rle.of(mask) and rle.union(rle) == rle


@settings(deadline=None)
@given(MASKS)
def test_rows_are_run_lengths_of_the_transposed(mask):
    runs = encode_rows(mask)
    assert runs == counted(mask.T) and np.array_equal(decode_rows(runs, mask.shape), mask)


@settings(deadline=None)
@given(st.lists(st.floats(-3, 12), min_size=6, max_size=12).filter(lambda p: len(p) % 2 == 0))
def test_a_polygon_is_drawn_as_the_coco_api_draws_it(polygon):
    rle = Rle.of_polygon(polygon, (7, 9))
    assert np.array_equal(rle.mask(), api.decode(api.frPyObjects([polygon], 7, 9))[:, :, 0].astype(bool))
    assert rle == Rle.of(rle.mask())


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([5], "run lengths of 5 pixels do not fit 3x2"),
        ([7], "do not fit"),
        ([], "do not fit"),
        ([0, 2**40], "do not fit"),
        ([8, -2], "integers from 0"),
        ([6.0], "integers from 0"),
        ([True, 5], "integers from 0"),
        ("6", "integers from 0"),
    ],
)
def test_runs_that_do_not_fit_are_refused(counts, message):
    for read in (Rle.from_counts, decode_rows):
        with pytest.raises(OwsegError, match=message):
            read(counts, (2, 3))


@pytest.mark.parametrize(
    "value", [None, [], {}, 3, {"size": [2, 3]}, {"size": [3, 2], "counts": [6]}, {"size": [2], "counts": [6]},
              {"size": [2.0, 3], "counts": [6]}, {"size": 6, "counts": [6]}, {"size": [2, 3], "counts": [5]},
              {"size": [2, 3], "counts": None}, {"size": [2, 3], "counts": 6}],
)  # fmt: skip
def test_json_that_is_no_mask_of_that_size_is_refused(value):
    assert Rle.from_json({"size": [2, 3], "counts": [6]}, (2, 3)).area == 0
    with pytest.raises(OwsegError, match="these run lengths are not those of a mask of 3x2"):
        Rle.from_json(value, (2, 3))


def test_a_mask_takes_few_bytes_and_a_short_line():
    mask = np.zeros((1080, 1920), bool)
    mask[200:700, 300:900] = True  # 600 columns, 1201 runs
    assert len(Rle.of(mask).code) < 3000 and repr(Rle.of(mask)) == "Rle(size=(1080, 1920))"


def test_sizes_that_no_image_has_are_refused():
    assert check_size(1, MAX_PIXELS) == (1, MAX_PIXELS)
    with pytest.raises(OwsegError, match="is larger than 67,108,864 pixels; cut it into parts"):
        check_size(2, MAX_PIXELS)
    for height, width in ((0, 3), (3, 0), (-1, 3), (3, 2.0), ("3", 2), (True, 2), (None, 2)):
        with pytest.raises(OwsegError, match="an image cannot be"):
            check_size(height, width)


@settings(deadline=None)
@given(PAIRS)
def test_a_mask_is_within_another_where_that_has_all_its_pixels(masks):
    first, last = masks[0], masks[-1]
    assert Rle.of(first).within(Rle.of(last)) == bool((last | ~first).all())
    assert Rle.of(first & last).within(Rle.of(last)) and Rle.of(first).within(Rle.of(first | last))


def test_masks_are_joined_in_pairs(monkeypatch):
    """Of many, each would else be joined with all that came before it."""
    merge, runs = api.merge, []

    def counting(parts, **options):
        assert len(parts) <= 2
        runs.append(sum(len(part["counts"]) for part in parts))
        return merge(parts, **options)

    monkeypatch.setattr("owseg.data.masks.coco.merge", counting)

    def joined(n):
        runs.clear()
        masks = [Rle.placed(np.ones((1, 1), bool), 2 * i, 0, (2 * n, 1)) for i in range(n)]
        assert masks[0].union(*masks[1:]).area == n
        return sum(runs)

    assert grows_linearly(joined, 256)


@pytest.mark.parametrize("seed", range(5))
def test_the_iou_of_boxes_is_that_of_their_pixels(seed):
    rng = np.random.default_rng(seed)
    boxes = np.concatenate([rng.integers(0, 20, (8, 2)), rng.integers(1, 20, (8, 2))], 1)
    found = box_iou(boxes[:5].astype(float), boxes[5:].astype(float))
    expected = [[pixel_iou(a, b) for b in boxes[5:]] for a in boxes[:5]]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    none = np.zeros((0, 4))
    assert box_iou(none, boxes).shape == (0, len(boxes)) and box_iou(boxes, none).shape == (len(boxes), 0)

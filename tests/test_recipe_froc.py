"""FROC curves of the recipe of regions, against loops over sets of pixels."""

import numpy as np
import pytest
from scipy import ndimage

from owseg.labels import IGNORE, UNKNOWN
from recipes import froc


def pixels_of(mask):
    return {(int(y), int(x)) for y, x in np.argwhere(mask)}


def slowly(pieces, rating, target, limit, least):
    """Return false alarms, things found and things of one image by sets of pixels."""
    numbers, count = ndimage.label(target == UNKNOWN, np.ones((3, 3)))
    things = [pixels_of(numbers == i) for i in range(1, count + 1) if (numbers == i).sum() >= least]
    known, marks = pixels_of(target < UNKNOWN), []
    for i, rate in enumerate(rating, 1):
        if rate > limit:
            marks.append(pixels_of(pieces == i))
    false = sum(2 * len(mark & known) >= len(mark) for mark in marks)
    hit = 0
    for thing in things:
        others = set().union(*(other for other in things if other is not thing))
        void = pixels_of(target >= UNKNOWN) - set().union(*things)
        hit += any(len(thing & m) >= 0.25 * len((thing | (m - void)) - others) for m in marks)
    return false, hit, len(things)


def made_up(seed):
    """Pieces, their rating, and a target of blocks: known, unknown, void; some pieces fit a thing."""
    rng = np.random.default_rng(seed)
    target = np.kron(rng.choice([0, 0, 3, UNKNOWN, IGNORE], (6, 7)), np.ones((3, 3))).astype(np.uint8)
    target[0, 0] = UNKNOWN
    grown = ndimage.binary_dilation(target == UNKNOWN, iterations=int(rng.integers(1, 3)))
    mask = (grown & (rng.random(target.shape) < 0.9)) if seed % 2 else rng.random(target.shape) < 0.5
    pieces, n = ndimage.label(mask)
    return pieces, rng.integers(1, 6, n) / 2, target


def test_false_alarms_and_things_found_are_those_of_loops_over_sets_of_pixels():
    made = [made_up(seed) for seed in range(12)]
    images = [froc.detections(*one, 5) for one in made]
    hits = set()
    for limit in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5):
        false, hit, things = np.sum([slowly(*one, limit, 5) for one in made], 0)
        assert froc.alarms(images, limit) == pytest.approx(false / 12)
        assert froc.found(images, limit) == pytest.approx(hit / things)
        hits.add(hit)
    assert len(hits) > 3 and 0 < min(hits - {0}) < things
    rates, shares = froc.curve(images)
    for rate, share in zip(rates, shares, strict=True):
        limit = min(t for t in (0.0, 0.5, 1, 1.5, 2, 2.5) if froc.alarms(images, t) <= rate + 1e-9)
        assert share == froc.found(images, limit)
    assert rates[1] == pytest.approx(1 / 12) and rates[-1] == froc.alarms(images, 0.0)
    assert (np.diff(shares) >= 0).all()


def test_regions_that_are_the_things_find_all_without_an_alarm_and_none_find_none():
    target = np.zeros((40, 50), np.uint8)
    target[5:17, 8:20], target[35:38, 40:48], target[:, :3] = UNKNOWN, UNKNOWN, IGNORE
    things, n = ndimage.label(target == UNKNOWN)
    everything = froc.detections(things, np.ones(n), target, 1)
    assert froc.found([everything], 0.0) == 1 and froc.alarms([everything], 0.0) == 0
    assert everything.shares.tolist() == [144 / 2000, 24 / 2000]
    nothing = froc.detections(np.zeros_like(things), np.zeros(0), target, 1)
    assert froc.found([nothing], 0.0) == 0 and froc.limit_at([nothing], 0.1) == 0
    assert [part.tolist() for part in froc.curve([nothing])] == [[0.0], [0.0]]
    whole = froc.detections(np.ones_like(things), np.ones(1), np.zeros_like(target), 1)
    assert froc.alarms([whole], 0.0) == 1 and np.isnan(froc.found([whole], 0.0))
    assert froc.found([everything], 0.0, (0.05, 1)) == 1 and np.isnan(froc.found([everything], 0.0, (0.2, 1)))


def test_of_void_alone_and_of_small_things_nothing_counts():
    target = np.full((10, 10), IGNORE, np.uint8)
    target[:5] = 0
    target[8, 8] = UNKNOWN
    pieces = np.zeros((10, 10), int)
    pieces[4:7, :3], pieces[3:5, 5:] = 1, 2  # a third of the first is known, all of the second
    found = froc.detections(pieces, np.array([1.0, 2.0]), target, 2)
    assert found.false.tolist() == [False, True] and not len(found.best)

"""Metrics are values that can be compared, hashed and printed, whatever they hold."""

import numpy as np
import pytest

from owseg.errors import OwsegError
from owseg.labels import UNKNOWN
from owseg.metrics.binned import Binned
from owseg.metrics.components import Components, Sizes, match
from owseg.metrics.false_positives import FalsePositives
from owseg.metrics.iou import IoU
from owseg.metrics.open_iou import OpenIoU
from owseg.metrics.pixel import Exact, PerImage
from tests.support.scores import score_maps


def pixel(make):
    state = make()
    for score, target in score_maps(0):
        state.update(score, target)
    return state


def components():
    state = Components(Sizes(1, 1))
    state.update(np.eye(4, dtype=bool), np.where(np.eye(4), UNKNOWN, 0).astype(np.uint8))
    return state.compute()


def false_positives():
    state = FalsePositives(0.1)
    state.update(np.eye(4, dtype=bool), np.zeros((4, 4), np.uint8))
    return state.compute()


def open_metrics():
    state = OpenIoU(("a", "b"), {"t": 0.5})
    state.update(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.uint8), np.eye(2, dtype=np.uint8))
    return state.compute()["t"]


VALUES = {
    "exact": lambda: pixel(Exact).compute(),
    "binned": lambda: pixel(Binned).compute(),
    "per image": lambda: pixel(PerImage).compute(),
    "undefined": lambda: Exact().compute(),
    "components": components,
    "false positives": false_positives,
    "open": open_metrics,
}
STATES = {
    "curves": lambda: pixel(Exact).curves(),
    "matched": lambda: match(np.eye(4, dtype=bool), np.full((4, 4), UNKNOWN, np.uint8)),
    "iou": lambda: IoU.of("ab").update(np.eye(2, dtype=np.uint8), np.eye(2, dtype=np.uint8)),
}


@pytest.mark.parametrize("name", [*VALUES, *STATES])
def test_a_value_can_be_compared_and_hashed(name):
    make = {**VALUES, **STATES}[name]
    one, other = make(), make()
    assert one == one and isinstance(one == other, bool) and isinstance(one != other, bool)
    assert len({one, one}) == 1 and len({one: 0, other: 1}) in (1, 2)
    assert len(repr(one)) < 500


@pytest.mark.parametrize("name", sorted(set(VALUES) - {"undefined", "open"}))
def test_equal_metrics_are_equal_and_have_one_hash(name):
    one, other = VALUES[name](), VALUES[name]()
    assert one == other and hash(one) == hash(other)


@pytest.mark.parametrize("make", [Exact, PerImage])
def test_states_of_different_operating_points_do_not_merge(make):
    with pytest.raises(OwsegError, match="same operating point"):
        _ = make("first") + make("nearest")

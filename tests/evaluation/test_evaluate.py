"""What is counted in an evaluation, above all pixels of some known class, and masks finer than their images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from owseg.data.dataset import DataSet
from owseg.evaluation.evaluate import evaluate
from owseg.knowledge.calibration import calibrate, find_threshold, fit_scorers
from owseg.labels import KNOWN, UNKNOWN, LabelSpace
from owseg.metrics.pixel import Exact
from tests.support import tiny


def relabelled(data: DataSet, change) -> DataSet:
    """Return ``data`` with ``change(ids)`` for its masks."""
    read = data.source.read

    def changed(i):
        image, ids = read(i)
        return image, change(ids.copy())

    return replace(data, source=replace(data.source, read=changed))


@pytest.fixture(scope="module")
def kb():
    data = tiny.dataset()
    return calibrate(fit_scorers(tiny.knowledge_base(), data), data, 0.3, scorer="energy")


def hidden(ids: np.ndarray) -> np.ndarray:
    ids[:, ::2][ids[:, ::2] < 3] = KNOWN
    return ids


def test_a_pixel_of_some_known_class_is_an_inlier_and_no_ious(kb):
    data = tiny.dataset(4, 4, unknown=True)
    shown, veiled = evaluate(kb, data), evaluate(kb, relabelled(data, hidden))
    assert veiled.scores == shown.scores and not np.isnan(shown.scores["energy"].auroc)
    assert veiled.unknown_recall == shown.unknown_recall and veiled.known_fpr == shown.known_fpr
    assert 0 < shown.known_fpr < 1
    assert any("IoU" in title for title, _, _ in veiled.tables())
    assert veiled.iou.counts.sum() == sum((hidden(data.source.read(i)[1]) < 3).sum() for i in range(4))
    assert veiled.called["rock"] == shown.called["rock"]
    assert sum(total for _, total in veiled.called.values()) < sum(total for _, total in shown.called.values())


def test_a_set_that_knows_only_anomalies_can_be_measured(kb):
    """Against hand-made counts: 0 is an anomaly, everything else is known."""
    data = tiny.dataset(4, 4)
    source = replace(
        data.source,
        classes=LabelSpace.of(["anomaly"]),
        read=lambda i: (data.source.read(i)[0], np.where(data.source.read(i)[1] == 3, 0, KNOWN).astype(np.uint8)),
    )
    measured = evaluate(kb, DataSet(source, kb.labels))
    state, called = Exact(), np.zeros((2, 2))
    for sample in data:
        score, truth = kb.score(kb.forward(sample.image), sample.target.shape), sample.target == 3
        state.update(score, np.where(truth, UNKNOWN, 0).astype(np.uint8))
        above = score > np.float32(kb.threshold.value)
        called += [[(above & truth).sum(), truth.sum()], [(above & ~truth).sum(), (~truth).sum()]]
    assert measured.scores["energy"] == state.compute()
    assert measured.unknown_recall == called[0, 0] / called[0, 1]
    assert measured.known_fpr == called[1, 0] / called[1, 1]
    assert np.isnan(measured.iou.mean())
    assert not any("IoU" in title for title, _, _ in measured.tables())


def test_a_threshold_is_found_on_known_pixels_whatever_they_are_called(kb):
    data = tiny.dataset(4, 4, unknown=True)
    assert find_threshold(kb, relabelled(data, hidden)) == find_threshold(kb, data)


def test_scorers_are_fitted_to_named_pixels_alone():
    """A class that is KNOWN everywhere is not seen, and nothing else changes."""
    data = tiny.dataset(4, 3)
    base = tiny.knowledge_base()
    void = relabelled(data, lambda ids: np.where(ids == 2, 255, ids).astype(np.uint8))
    known = relabelled(data, lambda ids: np.where(ids == 2, KNOWN, ids).astype(np.uint8))
    one, other = (fit_scorers(base, d).fitted.state_dict() for d in (void, known))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_finer_mask_is_what_is_measured_against(kb):
    """Twice the pixels: the score is interpolated to the mask, the image stays as it is."""
    data = tiny.dataset(3, 4, unknown=True)
    big = relabelled(data, lambda ids: ids.repeat(2, 0).repeat(2, 1))
    big = replace(big, source=replace(big.source, finer=True))
    looked = []

    def forward(image):
        looked.append(image.shape)
        return kb.forward(image)

    measured, state = evaluate(kb, big, forward=forward), Exact()
    for sample in big:
        state.update(kb.score(kb.forward(sample.image), sample.target.shape), sample.target)
    assert measured.scores["energy"] == state.compute()
    assert measured.scores["energy"].inliers == 4 * evaluate(kb, data).scores["energy"].inliers
    assert set(looked) == {(3, 48, 64)}
    assert find_threshold(kb, big).value == pytest.approx(find_threshold(kb, data).value, rel=0.05)

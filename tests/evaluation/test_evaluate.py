"""What is counted in an evaluation, pixels of some known class, masks finer than their images, and every argument."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.evaluation.evaluate import evaluate, evaluation_of
from owseg.evaluation.evaluator import Evaluator
from owseg.knowledge.calibration import calibrate, find_threshold, fit_scorers
from owseg.labels import KNOWN, UNKNOWN, LabelSpace
from owseg.metrics.pixel import Exact, PerImage
from tests.support import tiny


def with_masks(data: DataSet, change) -> DataSet:
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


def score_of(kb, sample):
    return kb.assess(kb.forward(sample.image), sample.target.shape).scores[kb.scorer]


def hidden(ids: np.ndarray) -> np.ndarray:
    ids[:, ::2][ids[:, ::2] < 3] = KNOWN
    return ids


def test_a_pixel_of_some_known_class_is_an_inlier_and_no_ious(kb):
    data = tiny.dataset(4, 4, unknown=True)
    shown, veiled = evaluate(kb, data), evaluate(kb, with_masks(data, hidden))
    assert veiled.scores == shown.scores and not np.isnan(shown.scores["energy"].auroc)
    assert veiled.unknown_recall == shown.unknown_recall and veiled.known_fpr == shown.known_fpr
    assert 0 < shown.known_fpr < 1
    assert any("IoU" in title for title, _, _ in veiled.tables())
    assert veiled.iou.counts.sum() == sum((hidden(data.source.read(i)[1]) < 3).sum() for i in range(4))
    assert veiled.predicted_unknown["rock"] == shown.predicted_unknown["rock"]
    assert sum(total for _, total in veiled.predicted_unknown.values()) < sum(
        total for _, total in shown.predicted_unknown.values()
    )


def test_a_set_that_knows_only_anomalies_can_be_measured(kb):
    """Against hand-made counts: 0 is an anomaly, everything else is known."""
    data = tiny.dataset(4, 4)
    source = replace(
        data.source,
        classes=LabelSpace.of(["anomaly"]),
        read=lambda i: (data.source.read(i)[0], np.where(data.source.read(i)[1] == 3, 0, KNOWN).astype(np.uint8)),
    )
    measured = evaluate(kb, DataSet(source, kb.labels))
    state, counts = Exact(), np.zeros((2, 2))
    for sample in data:
        score, outlier = score_of(kb, sample), sample.target == 3
        state.update(score, np.where(outlier, UNKNOWN, 0).astype(np.uint8))
        above = score > np.float32(kb.threshold.value)
        counts += [[(above & outlier).sum(), outlier.sum()], [(above & ~outlier).sum(), (~outlier).sum()]]
    assert measured.scores["energy"] == state.compute()
    assert measured.unknown_recall == counts[0, 0] / counts[0, 1]
    assert measured.known_fpr == counts[1, 0] / counts[1, 1]
    assert np.isnan(measured.iou.mean())
    assert not any("IoU" in title for title, _, _ in measured.tables())


def test_a_threshold_is_found_on_known_pixels_whatever_they_are_called(kb):
    data = tiny.dataset(4, 4, unknown=True)
    assert find_threshold(kb, with_masks(data, hidden)) == find_threshold(kb, data)


def test_scorers_are_fitted_to_named_pixels_alone():
    """A class that is KNOWN everywhere is not seen, and nothing else changes."""
    data = tiny.dataset(4, 3)
    base = tiny.knowledge_base()
    void = with_masks(data, lambda ids: np.where(ids == 2, 255, ids).astype(np.uint8))
    known = with_masks(data, lambda ids: np.where(ids == 2, KNOWN, ids).astype(np.uint8))
    one, other = (fit_scorers(base, d).fitted["joint"].state_dict() for d in (void, known))
    assert one
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_finer_mask_is_what_is_measured_against(kb):
    """Twice the pixels: the score is interpolated to the mask, the image stays as it is."""
    data = tiny.dataset(3, 4, unknown=True)
    big = with_masks(data, lambda ids: ids.repeat(2, 0).repeat(2, 1))
    big = replace(big, source=replace(big.source, finer=True))
    shapes = []

    def forward(image):
        shapes.append(image.shape)
        return kb.forward(image)

    measured, state = evaluate(kb, big, forward=forward), Exact()
    for sample in big:
        state.update(score_of(kb, sample), sample.target)
    assert measured.scores["energy"] == state.compute()
    assert measured.scores["energy"].inliers == 4 * evaluate(kb, data).scores["energy"].inliers
    assert set(shapes) == {(3, 48, 64)}
    assert find_threshold(kb, big).value == pytest.approx(find_threshold(kb, data).value, rel=0.05)


def test_the_scorers_that_were_asked_for_are_measured_each_by_its_name(kb):
    data = tiny.dataset(3, 4, unknown=True)
    found = evaluate(kb, data, ("entropy", "msp"))
    assert list(found.scores) == list(found.states) == list(found.to_json()["scores"]) == ["entropy", "msp"]
    for name in ("entropy", "msp"):
        state = Exact()
        for sample in data:
            scores = kb.assess(kb.forward(sample.image), sample.target.shape, (name,)).scores
            state.update(scores[name], sample.target)
        assert found.scores[name] == state.compute()
    assert found.scores["msp"] != found.scores["entropy"]
    assert list(evaluate(kb, data).scores) == [kb.scorer]
    # The open-set map is that of the knowledge base's own score, whichever are measured.
    assert found.unknown_recall == evaluate(kb, data).unknown_recall
    with pytest.raises(OwsegError, match="no scorer 'rpl'"):
        evaluate(kb, data, ("rpl",))


def test_the_metric_that_was_given_is_used(kb):
    data = tiny.dataset(3, 4, unknown=True)
    made = []

    def metric():
        made.append(PerImage("first"))
        return made[-1]

    found = evaluate(kb, data, ("msp", "energy"), metric)
    assert list(found.states.values()) == made and len(made) == 2
    assert found.scores["msp"] != evaluate(kb, data, ("msp",)).scores["msp"]


def test_the_images_pass_the_given_forward_in_their_order(kb):
    data, seen = tiny.dataset(4, 4, unknown=True), []

    def forward(image):
        seen.append(image)
        return kb.forward(image, full_resolution=True)

    found = evaluate(kb, data, forward=forward)
    assert all(np.array_equal(image, sample.image) for image, sample in zip(seen, data, strict=True))
    full = evaluate(kb, data, forward=partial(kb.forward, full_resolution=True))
    assert found.scores == full.scores != evaluate(kb, data).scores
    turned = evaluate(kb, data.pick([3, 2, 1, 0]), forward=forward)
    assert np.array_equal(seen[4], data[3].image) and turned.scores == found.scores


def test_the_split_that_was_opened_is_the_one_that_is_measured(kb):
    """Against one image alone: nothing but the images of the data set counts."""
    data = tiny.dataset(4, 4, unknown=True)
    last = evaluate(kb, data.pick([3]))
    assert last.images == 1 and last.iou.counts.sum() == (data[3].target < 3).sum()
    assert last.scores != evaluate(kb, data.pick([0])).scores


def test_learned_classes_are_never_unknown(stages, frames):
    """Against a count by hand of the open-set map, and of a score that is -inf where a class was learned."""
    kb = stages[-2]
    data = DataSet(frames.source, kb.labels)
    found, state, recall = evaluate(kb, data), Exact(), np.zeros(2)
    for sample in data:
        prediction = kb.predict(sample.image)
        learned = prediction.labels >= kb.network.num_classes
        state.update(np.where(learned, -np.inf, prediction.score), sample.target)
        recall += [
            ((prediction.open_set == UNKNOWN) & (sample.target == UNKNOWN)).sum(),
            (sample.target == UNKNOWN).sum(),
        ]
    assert found.scores["joint"] == state.compute() and found.unknown_recall == recall[0] / recall[1]
    assert found.learned == ("rock",) and found.base_classes == ("road", "sky", "tree")
    summary = found.summary()
    assert summary["miou_novel"] == found.iou.per_class()["rock"]
    assert summary["miou_old"] == pytest.approx(np.mean([found.iou.per_class()[n] for n in found.base_classes]))


def test_json_has_every_metric_under_its_name(kb):
    found = evaluate(kb, tiny.dataset(3, 4, unknown=True), ("msp",))
    value = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert value["summary"]["unknown_recall"] == found.unknown_recall
    assert value["summary"]["known_fpr"] == found.known_fpr and value["summary"]["miou_novel"] is None
    assert value["scores"]["msp"]["auroc"] == found.scores["msp"].auroc and value["images"] == 3
    assert value["iou"] == found.iou.per_class() and value["absent"] == []


def test_an_evaluation_can_be_compared_hashed_and_printed(kb):
    data = tiny.dataset(2, 4, unknown=True)
    found = evaluate(kb, data)
    assert found == found and found != evaluate(kb, data) and len({found, found}) == 1
    assert len(repr(found)) < 200 and "tiny" in repr(found)


def test_what_cannot_be_evaluated_ends_in_one_sentence(kb):
    data = tiny.dataset(2, 4)
    with pytest.raises(OwsegError, match="other labels than the knowledge base"):
        evaluate(kb, data)
    bare = replace(data.source, read=lambda i: (data.source.read(i)[0], None))
    with pytest.raises(OwsegError, match="f0 has no mask"):
        evaluate(kb, DataSet(bare, kb.labels))


def test_an_evaluator_without_an_image_has_no_metric(kb):
    found = evaluation_of(Evaluator(kb, tiny.dataset(2, 4, unknown=True)))
    assert np.isnan(found.unknown_recall) and np.isnan(found.iou.mean()) and np.isnan(found.scores["energy"].ap)


def test_the_column_of_what_was_learned_is_there_only_if_something_was(kb):
    plain = evaluate(kb, tiny.dataset(2))
    title, header, rows = plain.tables()[0]
    assert header == ("class", "IoU") and [len(row) for row in rows] == [2, 2, 2]
    _, header, rows = replace(plain, learned=("tree",)).tables()[0]
    assert header == ("class", "", "IoU") and [row[1] for row in rows] == ["", "", "learned"]
    assert "IoU" in title

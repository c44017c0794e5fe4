"""What is said of a network, a threshold, data and shots where something is wrong, and that nothing is said if not."""

from dataclasses import replace
from math import nan

import numpy as np
import pytest

from owseg.data.dataset import DataSet, Source, divide, shared_images
from owseg.evaluation.diagnostics import (
    of_adaptation,
    of_calibration,
    of_evaluation,
    of_fit,
    of_histogram,
    of_measured,
    of_shots,
    of_sizes,
    of_threshold,
    of_training,
    sizes_of,
)
from owseg.evaluation.evaluate import Evaluation, evaluate
from owseg.knowledge.calibration import data_card
from owseg.knowledge.event import Event
from owseg.metrics.iou import IoU
from owseg.metrics.pixel import PixelMetrics
from owseg.openset import RegionThreshold, Threshold
from tests.support import tiny


def threshold(**changes):
    return replace(Threshold(1.0, "quantile", 0.05, 0.05, 1.0, 40, 1000), **changes)


def evaluation(counts=((5, 1), (0, 5)), auroc=0.9, known_fpr=0.05):
    scores = {"joint": PixelMetrics(auroc, 0.5, 0.5, 10, 10)}
    iou = IoU(("road", "sky"), np.array(counts))
    return Evaluation("city", 3, iou, scores, 0.5, known_fpr, (), {}, {})


def test_of_a_good_result_nothing_is_said():
    assert of_evaluation(evaluation(), threshold()) == of_threshold(threshold()) == of_threshold(None) == []
    assert of_evaluation(evaluation(auroc=nan, known_fpr=nan), threshold()) == []
    assert of_evaluation(evaluation(known_fpr=0.9), None) == []


@pytest.mark.parametrize("counts, named", [
    ([[5, 0], [5, 0]], "sky of city is never predicted; train longer, or on more images of it."),
    ([[0, 5], [0, 5]], "road of city is never predicted"),
    ([[5, 0], [0, 0]], None),  # not shown either
])  # fmt: skip
def test_classes_that_are_never_predicted(counts, named):
    lines = of_evaluation(evaluation(counts), threshold())
    assert len(lines) == bool(named) and (not named or lines[0].startswith(named))


def test_several_classes_are_named_in_one_sentence():
    counts = np.zeros((3, 3), int)
    counts[:, 2] = 1
    result = replace(evaluation(), iou=IoU(("road", "sky", "tree"), counts))
    assert of_evaluation(result, None) == [
        "road, sky of city are never predicted; train longer, or on more images of them."
    ]


@pytest.mark.parametrize("auroc, said", [(0.499, True), (0.5, False), (0.9, False)])
def test_a_score_that_is_worse_than_chance(auroc, said):
    lines = of_evaluation(evaluation(auroc=auroc), threshold())
    assert len(lines) == said and (not said or "joint is lower on unknown than on known" in lines[0])


@pytest.mark.parametrize("rate, said", [(0.0, True), (0.024, True), (0.026, False), (0.099, False), (0.11, True)])
def test_a_share_far_from_what_was_asked(rate, said):
    lines = of_evaluation(evaluation(known_fpr=rate), threshold())
    assert len(lines) == said and (not said or (f"{rate:.1%} of the known pixels" in lines[0] and "5.0%" in lines[0]))


@pytest.mark.parametrize("fpr, images, enough", [(0.05, 20, 0), (0.05, 19, 20), (0.1, 9, 10), (0.3, 3, 4), (0.3, 4, 0)])
def test_too_few_images_for_a_rate(fpr, images, enough):
    lines = of_threshold(threshold(target_fpr=fpr, achieved_fpr=fpr, images=images))
    assert len(lines) == bool(enough) and (not enough or f"calibrate on {enough} or more" in lines[0])


def test_too_few_images_for_false_alarms():
    regions = RegionThreshold(1.0, "quantile", 0.01, 0.01, 40)
    assert "0.01 false alarms per image on 40 images" in of_threshold(threshold(regions=regions))[0]
    assert of_threshold(threshold(regions=replace(regions, target=0.3))) == []


def test_a_rate_that_no_threshold_has():
    assert "0.0% of the known pixels lie above" in of_threshold(threshold(achieved_fpr=0.0))[0]


def test_a_threshold_from_a_histogram():
    found = threshold(binned=True, pixels=67_108_865)
    assert of_threshold(found) == of_histogram(found) and of_histogram(None) == of_histogram(threshold()) == []
    assert of_histogram(found) == [
        "the threshold is from a histogram of 67,108,865 scores, more than are held: as few lie above it as were asked "
        "for, and it is above the exact one by less than 1/8,192 of its size."
    ]


def test_what_was_trained_on_is_known_by_its_content(kb):
    data = tiny.dataset()
    trained = Event("train", "trained", data_card(replace(data, unknown_as=255)))
    same = replace(kb, history=(trained, *kb.history))
    renamed = replace(data, source=replace(data.source, name="another name"))
    assert any("was trained on the images of another name" in line for line in of_calibration(same, renamed, None))
    assert of_calibration(kb, renamed, None) == []
    assert of_calibration(same, data.pick(range(7)), None) == []
    # As many images, and others.
    assert of_calibration(same, tiny.dataset(16).pick(range(8, 16)), None) == []
    assert of_calibration(kb, data, threshold(images=3)) == of_threshold(threshold(images=3)) != []


def test_metrics_on_images_that_were_trained_on(kb):
    """All of them, or all but the share that took the place of val."""
    data = tiny.dataset()
    rest, share = divide(data, 0.25, 3)
    for trained, details, said in (
        (data, {}, "the images of tiny"),
        (rest, {"val_share": 0.25, "config": {"seed": 3}}, "6 of the 8 images of tiny"),
        (rest, {"val_share": 0.25, "config": {"seed": 4}}, None),
        (rest, {"val_share": "a quarter", "config": []}, None),
        (rest, {"val_share": 0.25, "config": {"seed": -1}}, None),
    ):
        event = Event("train", "trained", {**data_card(replace(trained, unknown_as=255)), **details})
        lines = of_measured(replace(kb, history=(event,)), data)
        assert lines == [] if said is None else f"was trained on {said}: these metrics are too good" in lines[0]
        assert of_measured(replace(kb, history=(event,)), share) == []


def copied(data, numbers, name):
    """The images ``numbers`` of ``data`` under other names."""
    source = Source(name, data.source.classes, tuple(f"c{i}" for i in numbers), lambda i: data.source.read(numbers[i]))
    return DataSet(source, data.labels)


def test_images_that_are_in_both_are_counted_by_their_pixels(kb):
    train = tiny.dataset(4)
    val = copied(tiny.dataset(8), (2, 3, 6), "val")
    assert shared_images(train, val) == 2 and shared_images(train, copied(tiny.dataset(8), (6, 7), "val")) == 0
    assert "2 of the 3 images of val are also in tiny" in of_training(kb, train, val)[0]
    assert not any("are also in" in line for line in of_training(kb, train, train))  # another note says it


def test_a_training_is_evaluated_on_val(kb):
    val = tiny.dataset(3, 4, unknown=True)
    wanted = [*of_evaluation(evaluate(kb, val), kb.threshold), *of_threshold(kb.threshold)]
    assert of_training(kb, copied(tiny.dataset(9), (7, 8), "train"), val) == wanted


def test_scales_that_come_from_training_images():
    assert of_fit(("joint", "knn"), True) == of_fit(("knn",), False) == []
    assert "joint was scaled on training images" in of_fit(("joint", "knn"), False)[0]


def test_too_few_images_to_adapt_to():
    assert of_adaptation(8) == [] and "7 images may differ by chance" in of_adaptation(7)[0]


def test_images_of_another_size():
    assert of_sizes(None, [(9000, 9000)]) == of_sizes(360, [(180, 900), (1000, 720)]) == []
    (line,) = of_sizes(360, [(179, 900), (1000, 721), (400, 360)])
    assert line.startswith("2 of 3 images have a shorter side of 179 to 721 pixels") and "at 360" in line
    assert "side of 179 pixels" in of_sizes(360, [(179, 200)])[0]
    assert sizes_of(tiny.dataset(3)) == [(48, 64)] * 3 and len(sizes_of(tiny.dataset(120))) == 100


def test_what_each_shot_says_of_the_others():
    assert "cannot be checked" in of_shots("cow", {})[0] and len(of_shots("cow", {})) == 1
    (line,) = of_shots("cow", {"a": 0.61, "b": 0.2})
    assert line == "learned without it, each shot of cow is found with an IoU of 0.61 (a), 0.20 (b)."
    told, odd = of_shots("cow", {"a": 0.61, "b": 0.19, "c": nan})
    assert "nan (c)" in told and "disagree: b, c are hardly found" in odd
    assert "b is hardly found" in of_shots("cow", {"a": 0.61, "b": 0.1})[1]


def test_of_many_shots_those_that_are_found_least_are_listed():
    found = {str(k): nan if k == 7 else k / 20 for k in range(1, 12)}
    (line,) = of_shots("cow", found)
    assert "half of the 11 shots of cow are found with an IoU of 0.25 or more" in line
    assert "least: 0.00 (7), 0.05 (1), 0.10 (2), 0.15 (3), 0.20 (4)." in line
    assert "0.50 (j)." in of_shots("cow", dict.fromkeys("abcdefghij", 0.5))[0]

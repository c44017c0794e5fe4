import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from owseg.errors import OwsegError
from owseg.models.classifiers import PrototypeClassifier
from owseg.openset import Reference, Threshold, closed_map, open_set_map, quantiles
from tests.reference import openset as oracle
from tests.reference import scorers


def test_a_score_that_is_nan_is_named():
    with pytest.raises(OwsegError, match="holds NaN"):
        open_set_map(np.zeros((1, 1), np.uint8), np.array([[np.nan]]), 0)


def test_threshold_survives_json():
    threshold = Threshold(1.25, "quantile", 0.07, 0.0625, 0.5, 3, 99, binned=True)
    text = json.dumps(threshold.to_json(), allow_nan=False)
    assert Threshold.from_json(json.loads(text)) == threshold
    for change in ({"value": np.nan}, {"value": 10**400}, {"unit": 0.0}, {"extra": 1}, {"value": "high"}):
        with pytest.raises(OwsegError, match="calibrate again"):
            Threshold.from_json({**threshold.to_json(), **change})
    with pytest.raises(OwsegError, match="calibrate again"):
        Threshold.from_json({"value": 1.0})


def test_a_threshold_is_stored_with_its_reference_and_read_without_one():
    maps = [np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(2, 3) + 4]
    reference = Reference.of([quantiles(m) for m in maps])
    assert reference == Reference(4.5, pytest.approx(4 / np.sqrt(2)), 2)
    plain = Threshold(1.0, "quantile", 0.05, 0.05, 2.0, 3, 4)
    assert set(plain.to_json()) == {"value", "method", "target_fpr", "achieved_fpr", "unit", "images", "pixels"}
    whole = replace(plain, reference=reference, estimated=True)
    assert Threshold.from_json(json.loads(json.dumps(whole.to_json(), allow_nan=False))) == whole
    assert str(plain) == "1" and str(whole) == "1 (estimated; no rate is promised)"
    for wrong in (3, {"mean": 1.0}, {**whole.to_json()["reference"], "deviation": np.inf}):
        with pytest.raises(OwsegError, match="calibrate again"):
            Threshold.from_json({**whole.to_json(), "reference": wrong})


def test_a_reference_of_scores_that_are_not_finite_is_refused():
    with pytest.raises(OwsegError, match="NaN or infinite"):
        Reference.of([quantiles(np.full((2, 3), np.nan))])


def test_quantiles_of_a_large_image_are_nearly_those_of_all_its_pixels():
    score = np.random.default_rng(0).normal(size=(700, 900)).astype(np.float32)
    assert np.abs(quantiles(score) - np.quantile(score, np.linspace(0, 1, 201)))[5:-5].max() < 0.03
    small = score[:40, :30]
    assert quantiles(small) == pytest.approx(np.quantile(small.astype(float), np.linspace(0, 1, 201)))


def test_closed_map_is_equation_5():
    embedding = torch.randn(2, 6, 5, 4, generator=torch.Generator().manual_seed(0)) * 3
    expected = np.stack([scorers.closed(e.numpy()) for e in embedding])
    assert np.array_equal(closed_map(PrototypeClassifier(6)(embedding)), expected)
    assert np.array_equal(closed_map(embedding), expected)


def test_closed_map_gives_ties_to_the_first_class():
    assert (closed_map(torch.zeros(1, 9, 40, 40)) == 0).all()
    assert (closed_map(torch.tensor([0.0, 2, 1, 2]).view(1, 4, 1, 1).expand(1, 4, 33, 7)) == 1).all()


def test_open_set_map_is_equation_1():
    rng = np.random.default_rng(5)
    labels, score = rng.integers(0, 9, (6, 7)).astype(np.uint8), rng.normal(size=(6, 7)).astype(np.float32)
    threshold = float(score[2, 3])  # a pixel that lies on the threshold stays known
    found = open_set_map(labels, score, threshold)
    assert found.dtype == np.uint8 and found[2, 3] == labels[2, 3]
    assert np.array_equal(found, oracle.open_set_map(labels, score, threshold))

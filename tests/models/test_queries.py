"""The evidence of queries, and each score of masks made of it, against loops in float64."""

import numpy as np
import pytest
import torch

from owseg.models.classifiers import MaskClassifier
from owseg.models.queries import query_evidence
from owseg.scorers import SCORERS
from owseg.types import Output
from tests.reference import masks as oracle
from tests.support.outputs import network

SCORES = {
    "rba": lambda c, m, n: oracle.rba(c, m),
    "eam": lambda c, m, n: oracle.eam(c, m),
    "mask_msp": lambda c, m, n: oracle.mask_msp(c, m),
    "uno": oracle.uno,
}


def queries(seed=0, batch=2, count=5, classes=4):
    """Class logits with "no object", mask logits, logits of the negative class."""
    g = torch.Generator().manual_seed(seed)
    return (
        3 * torch.randn(batch, count, classes + 1, generator=g),
        4 * torch.randn(batch, count, 3, 4, generator=g),
        2 * torch.randn(batch, count, generator=g),
    )


def score(name, classes, masks, negative=None):
    evidence = query_evidence(classes, masks, negative)
    classifier = MaskClassifier(classes.shape[-1] - 1, negative is not None)
    own = classifier.negative(evidence)
    output = Output((), evidence, classifier(evidence), negative=None if own is None else own[:, 0])
    return SCORERS[name].make(network(False, masks=True))(output)


def test_every_scorer_of_masks_has_an_oracle():
    needs = {name: str(entry.facts.get("needs")) for name, entry in SCORERS.entries.items()}
    assert set(SCORES) == {name for name, need in needs.items() if need.startswith("masks")}


@pytest.mark.parametrize("name", SCORES)
def test_a_score_is_its_equation(name):
    found = score(name, *queries())
    assert found.shape == (2, 3, 4) and found.dtype == torch.float32
    for b in range(2):
        expected = SCORES[name](*(part[b].numpy() for part in queries()))
        np.testing.assert_allclose(found[b], expected, atol=1e-5)
    half = score(name, *(part.bfloat16() for part in queries()))
    assert half.dtype == torch.float32


def test_the_closed_map_is_that_of_loops():
    classes, masks, negative = queries()
    evidence = query_evidence(classes, masks, negative)
    logits = MaskClassifier(4, True)(evidence)
    for b in range(2):
        expected = oracle.class_scores(classes[b].numpy(), masks[b].numpy())
        np.testing.assert_allclose(logits[b], expected, atol=1e-5)
        assert np.array_equal(logits[b].argmax(0), expected.argmax(0))


def test_a_negative_class_changes_nothing_else_by_a_bit():
    classes, masks, negative = queries()
    without, sure = query_evidence(classes, masks), query_evidence(classes, masks, negative + 30)
    assert without.shape[1] == 5 and sure.shape[1] == 6
    assert torch.equal(sure[:, :5], without)
    torch.testing.assert_close(sure[:, 5], masks.sigmoid().sum(1))  # every query is of the negative class


@pytest.mark.parametrize("name", SCORES)
def test_each_image_is_scored_alone_whatever_the_order_of_queries_and_classes(name):
    classes, masks, negative = queries()
    whole = score(name, classes, masks, negative)
    torch.testing.assert_close(score(name, classes[1:], masks[1:], negative[1:]), whole[1:])
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(score(name, classes[:, order], masks[:, order], negative[:, order]), whole)
    torch.testing.assert_close(score(name, classes[..., [2, 0, 3, 1, 4]], masks, negative), whole)


@pytest.mark.parametrize("name", sorted(set(SCORES) - {"uno"}))
def test_a_pixel_in_the_mask_of_one_sure_query_is_known_and_one_in_none_is_not(name):
    classes = torch.full((1, 2, 5), -20.0)
    classes[0, 0, 1], classes[0, 1, 4] = 20.0, 20.0  # one query is sure of class 1, the other is no object
    masks = torch.tensor([[20.0, -20, -20], [-20, -20, 20.0]]).view(1, 2, 1, 3)
    known, uncovered, no_object = score(name, classes, masks)[0, 0].tolist()
    assert known == pytest.approx(-np.tanh(1) if name == "rba" else 0, abs=1e-5)
    assert uncovered == pytest.approx(no_object, abs=1e-5) == pytest.approx(0 if name == "rba" else 1, abs=1e-5)


def test_two_masks_of_one_class_saturate_rba_and_add_up_in_eam():
    classes = torch.full((1, 2, 3), -20.0)
    classes[0, :, 0] = 20.0
    masks = torch.full((1, 2, 1, 1), 20.0)
    assert score("rba", classes, masks).item() == pytest.approx(-np.tanh(2), abs=1e-5)
    assert score("eam", classes, masks).item() == pytest.approx(-1, abs=1e-5)

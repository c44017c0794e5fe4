import numpy as np
import pytest
import torch

from owseg.image_scorers.mask_classifiers import MASK_SCORERS, class_scores
from tests.reference import masks as oracle

ORACLE = {"rba": oracle.rba, "eam": oracle.eam, "mask_msp": oracle.mask_msp}


def queries(seed=0, batch=2, count=5, classes=4):
    g = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(batch, count, classes + 1, generator=g), 4 * torch.randn(batch, count, 3, 4, generator=g)


def test_every_mask_scorer_has_an_oracle():
    assert set(ORACLE) == set(MASK_SCORERS)


@pytest.mark.parametrize("name", MASK_SCORERS)
def test_a_mask_score_is_its_equation(name):
    classes, masks = queries()
    score = MASK_SCORERS[name](classes, masks)
    assert score.shape == (2, 3, 4) and score.dtype == torch.float32
    for b in range(2):
        np.testing.assert_allclose(score[b], ORACLE[name](classes[b].numpy(), masks[b].numpy()), atol=1e-5)
    half = MASK_SCORERS[name](classes.bfloat16(), masks.bfloat16())
    assert half.dtype == torch.float32


def test_class_scores_are_their_equation():
    classes, masks = queries()
    found = class_scores(classes, masks)
    for b in range(2):
        np.testing.assert_allclose(found[b], oracle.class_scores(classes[b].numpy(), masks[b].numpy()), atol=1e-5)


@pytest.mark.parametrize("name", MASK_SCORERS)
def test_each_image_is_scored_alone_whatever_the_order_of_queries_and_classes(name):
    classes, masks = queries()
    whole = MASK_SCORERS[name](classes, masks)
    torch.testing.assert_close(MASK_SCORERS[name](classes[1:], masks[1:]), whole[1:])
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(MASK_SCORERS[name](classes[:, order], masks[:, order]), whole)
    swapped = classes[..., [2, 0, 3, 1, 4]]
    torch.testing.assert_close(MASK_SCORERS[name](swapped, masks), whole)


@pytest.mark.parametrize("name", MASK_SCORERS)
def test_a_pixel_in_the_mask_of_one_sure_query_is_known_and_one_in_none_is_not(name):
    classes = torch.full((1, 2, 5), -20.0)
    classes[0, 0, 1], classes[0, 1, 4] = 20.0, 20.0  # one query is sure of class 1, the other is no object
    masks = torch.tensor([[20.0, -20, -20], [-20, -20, 20.0]]).view(1, 2, 1, 3)
    known, uncovered, no_object = MASK_SCORERS[name](classes, masks)[0, 0].tolist()
    expected = -np.tanh(1) if name == "rba" else 0
    assert known == pytest.approx(expected, abs=1e-5)
    assert uncovered == pytest.approx(no_object, abs=1e-5) == pytest.approx(0 if name == "rba" else 1, abs=1e-5)


def test_two_masks_of_one_class_saturate_rba_and_add_up_in_eam():
    classes = torch.full((1, 2, 3), -20.0)
    classes[0, :, 0] = 20.0
    masks = torch.full((1, 2, 1, 1), 20.0)
    assert MASK_SCORERS["rba"](classes, masks).item() == pytest.approx(-np.tanh(2), abs=1e-5)
    assert MASK_SCORERS["eam"](classes, masks).item() == pytest.approx(-1, abs=1e-5)

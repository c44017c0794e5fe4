import numpy as np
import pytest
import torch
import torch.nn.functional as F

from owseg.losses import outlier as losses
from tests.reference import outlier_losses as oracle


@pytest.fixture
def maps():
    torch.manual_seed(0)
    residual, frozen = 3 * torch.randn(2, 4, 5, 6), 3 * torch.randn(2, 4, 5, 6)
    where = torch.rand(2, 5, 6) > 0.6
    return residual, frozen, where


def directions(seed, *counts):
    torch.manual_seed(seed)
    return [F.normalize(torch.randn(n, 7), dim=1) for n in counts]


def test_terms_agree_with_the_formulas(maps):
    residual, frozen, where = maps
    assert losses.inlier(residual, frozen, where).item() == pytest.approx(
        oracle.inlier(residual.numpy(), frozen.numpy(), where.numpy()), rel=1e-5
    )
    assert losses.positive_energy(residual, where).item() == pytest.approx(
        oracle.positive_energy(residual.numpy(), where.numpy()), rel=1e-5
    )


@pytest.mark.parametrize("weight", [0.0, 0.3, 2.0])
def test_the_entropy_has_its_weight(maps, weight):
    residual, frozen, where = maps
    expected = oracle.inlier(residual.numpy(), frozen.numpy(), where.numpy(), weight)
    assert losses.inlier(residual, frozen, where, weight).item() == pytest.approx(expected, rel=1e-5)


def test_the_temperature_is_a_tenth_by_default():
    sets = directions(5, 4, 5, 3, 2)
    assert losses.corocl(*sets) == losses.corocl(*sets, 0.1) != losses.corocl(*sets, 1.0)


def test_the_labels_are_those_of_the_frozen_network(maps):
    residual, frozen, where = maps
    other = frozen.flip(1)  # the same entropy, other labels
    assert not np.isclose(losses.inlier(residual, frozen, where, 0), losses.inlier(residual, other, where, 0))
    assert (losses.inlier(residual, frozen, where) - losses.inlier(residual, frozen, where, 0)).item() == pytest.approx(
        (losses.inlier(residual, other, where) - losses.inlier(residual, other, where, 0)).item(), rel=1e-4
    )


@pytest.mark.parametrize("counts", [(5, 6, 4, 3), (5, 6, 0, 3), (1, 1, 1, 1), (2, 9, 0, 0)])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_corocl_agrees_with_the_formula(counts, temperature):
    sets = directions(1, *counts)
    assert losses.corocl(*sets, temperature).item() == pytest.approx(
        oracle.corocl(*(s.numpy() for s in sets), temperature), rel=1e-5
    )


def test_no_temperature_overflows():
    sets = [s.requires_grad_() for s in directions(2, 4, 4, 4, 4)]
    loss = losses.corocl(*sets, 1e-4)
    loss.backward()
    assert torch.isfinite(loss) and all(torch.isfinite(s.grad).all() for s in sets)


def test_a_kind_without_pixels_costs_nothing_and_still_has_a_gradient(maps):
    residual, frozen, where = maps
    residual.requires_grad_()
    nothing = torch.zeros_like(where)
    sets = [s.requires_grad_() for s in directions(3, 0, 6, 0, 3)]
    total = losses.inlier(residual, frozen, nothing) + losses.positive_energy(residual, nothing) + losses.corocl(*sets)
    total.backward()
    assert total.item() == 0
    assert (residual.grad == 0).all() and (sets[1].grad == 0).all()


def test_each_term_is_least_where_it_should_be(maps):
    _, frozen, where = maps
    sure = 50 * F.one_hot(frozen.argmax(1), 4).movedim(-1, 1).float()
    assert losses.inlier(sure, sure, where) < 1e-6 < losses.inlier(-sure, sure, where)
    assert losses.positive_energy(torch.full_like(frozen, -2.0), where) == 0
    a, b = torch.eye(7)[:1].repeat(3, 1), torch.eye(7)[1:2].repeat(3, 1)
    assert losses.corocl(a, b, a, b) < losses.corocl(a, b, b, a)


def test_the_order_of_pixels_does_not_matter(maps):
    sets = directions(4, 5, 6, 4, 3)
    assert torch.allclose(losses.corocl(*sets), losses.corocl(*(s.flip(0) for s in sets)))
    residual, frozen, where = maps
    assert torch.allclose(losses.inlier(residual, frozen, where), losses.inlier(*(x.flip(-1) for x in maps)))
    assert not np.isclose(losses.positive_energy(residual, where), losses.positive_energy(residual, ~where))

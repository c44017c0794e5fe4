"""DMLNet's scores, of distances to prototypes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from owseg.errors import OwsegError
from owseg.models.classifiers import PrototypeClassifier
from owseg.scorers import SCORERS
from owseg.scorers.eds import distance_sum, eds
from owseg.scorers.max_similarity import max_similarity
from owseg.scorers.mixture import mixture
from owseg.scorers.msp import msp
from tests.reference import scorers as oracle
from tests.support.outputs import metric_output, near_prototypes_and_between, network

METRIC = [name for name, entry in SCORERS.entries.items() if entry.facts.get("needs") == "metric"]


@given(st.integers(2, 20), st.floats(0.5, 8), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_eds_is_greatest_at_the_centroid_of_the_prototypes(classes, scale, seed):
    centroid = torch.full((1, classes, 1, 1), scale / classes)
    away = centroid + torch.randn(1, classes, 4, 4, generator=torch.Generator().manual_seed(seed))
    least = scale**2 * (classes - 1)
    assert eds(metric_output(centroid, scale)).item() == pytest.approx(-least, rel=1e-4)
    assert (eds(metric_output(away, scale)) < -least).all()
    prototype = PrototypeClassifier(classes, scale).prototypes[:1, :, None, None]
    assert eds(metric_output(prototype, scale)).item() == pytest.approx(-2 * least, rel=1e-4)
    absolute = [mixture(metric_output(at, scale), scale=scale).item() for at in (centroid, prototype)]
    # alpha is 0.98 at the centroid and 1e-7 at a prototype, where only MMSP is left.
    assert absolute[0] > 0.97 and absolute[1] == pytest.approx(msp(metric_output(prototype, scale)).item(), abs=1e-6)


@pytest.mark.parametrize("classes,scale", [(2, 3.0), (13, 3.0), (7, 1.5)])
def test_distance_sum_is_equation_7(classes, scale):
    embedding = near_prototypes_and_between(classes)
    expected = np.stack([oracle.distance_sum(e.numpy(), scale) for e in embedding])
    np.testing.assert_allclose(distance_sum(embedding, scale), expected, rtol=1e-5)
    np.testing.assert_allclose(-eds(metric_output(embedding, scale)), expected, rtol=1e-5)
    if scale == 3:
        assert torch.equal(distance_sum(embedding), distance_sum(embedding, 3.0))


@pytest.mark.parametrize("name", METRIC)
def test_metric_scores_do_not_depend_on_the_order_of_the_classes(name):
    embedding = near_prototypes_and_between()
    shuffled = embedding[:, torch.randperm(7, generator=torch.Generator().manual_seed(3))]
    scorer = SCORERS[name].make(network(classes=7))
    torch.testing.assert_close(scorer(metric_output(embedding)), scorer(metric_output(shuffled)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normalisation", ["absolute", "paper", "code"])
def test_mixture_reads_its_parameters(normalisation):
    embedding = near_prototypes_and_between(5, 1, seed=4)
    score = mixture(metric_output(embedding), normalisation, beta=7.0, gamma=0.5)[0]
    expected = oracle.mixture(embedding[0].numpy(), normalisation, 7.0, 0.5)
    np.testing.assert_allclose(score.numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_the_mixture_of_a_network_has_the_scale_of_its_prototypes(scale):
    embedding = near_prototypes_and_between(5, 1)
    score = SCORERS["mixture"].make(network(classes=5, scale=scale))(metric_output(embedding, scale))[0]
    expected = oracle.mixture(embedding[0].numpy(), "absolute", 20, 0.8, scale)
    np.testing.assert_allclose(score.numpy(), expected, rtol=1e-3, atol=1e-5)
    assert not np.allclose(mixture(metric_output(embedding, scale))[0].numpy(), expected, atol=1e-2)


@pytest.mark.parametrize("name", ["eds_paper", "eds_code", "mixture_paper", "mixture_code"])
def test_per_image_scores_of_a_constant_image_are_finite(name):
    output = metric_output(torch.full((1, 4, 3, 3), 0.3))
    assert torch.isfinite(SCORERS[name].make(network())(output)).all()


def test_a_constant_image_scores_0_in_the_code_s_normalisation():
    assert (eds(metric_output(torch.full((1, 4, 3, 3), 0.3)), "code") == 0).all()


def test_the_paper_s_eds_has_a_zero_in_every_image_and_the_code_s_a_one():
    output = metric_output(near_prototypes_and_between())
    assert (eds(output, "paper").amin((1, 2)) == 0).all()
    assert (eds(output, "code").amax((1, 2)) == 1).all()


def test_max_similarity_is_the_closed_class_s_own_coordinate():
    embedding = near_prototypes_and_between()
    own = embedding.gather(1, metric_output(embedding).logits.argmax(1, keepdim=True))[:, 0]
    torch.testing.assert_close(max_similarity(metric_output(embedding)), -own)


def test_an_unknown_normalisation_is_named():
    output = metric_output(torch.zeros(1, 3, 2, 2))
    for scorer in (eds, mixture):
        with pytest.raises(OwsegError, match="'relative'; it is absolute, paper or code"):
            scorer(output, normalisation="relative")

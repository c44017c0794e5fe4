"""The default score: the weighted sum of three standard scores, or of four with a negative class."""

import numpy as np
import pytest
import torch

from owseg.errors import OwsegError
from owseg.scorers import SCORERS
from owseg.scorers.joint import WEIGHTS, WEIGHTS_0_1, Joint
from owseg.scorers.mahalanobis import RelativeMahalanobis
from owseg.types import Output
from tests.reference import scorers as oracle
from tests.support import tiny


def batch(seed, metric=True, images=2):
    g = torch.Generator().manual_seed(seed)
    features = (torch.randn(images, 3, 8, 10, generator=g), torch.randn(images, 2, 4, 5, generator=g))
    embedding = torch.randn(images, 3 if metric else 7, 8, 10, generator=g)
    logits = torch.randn(images, 3, 8, 10, generator=g)
    target = torch.randint(0, 3, (images, 16, 20), generator=g)
    target[:, :4] = 255
    return Output(features, embedding, logits, negative=torch.randn(images, 8, 10, generator=g)), target


def fitted(metric=True, seeds=(0, 1, 2), held_out=None, negative=False, compress=True, rectify=True):
    distance = RelativeMahalanobis(channels=5, num_classes=3, level=1)
    others = None if held_out is None else [batch(s, metric) for s in held_out]
    weights = WEIGHTS if compress else WEIGHTS_0_1
    form = {"compress": compress, "weights": weights, "rectify": compress and rectify}
    return Joint(distance, metric, negative, **form).fit([batch(s, metric) for s in seeds], others)


@pytest.mark.parametrize("held_out", [None, (5, 6)])
@pytest.mark.parametrize("negative", [True, False])
@pytest.mark.parametrize("metric", [True, False])
@pytest.mark.parametrize(("compress", "rectify"), [(True, True), (True, False), (False, False)])
def test_it_is_the_weighted_sum_of_standard_scores(compress, rectify, metric, negative, held_out):
    """In float64, on the grid of stage 1, with the statistics of cells whose centre is labelled with a known class."""
    scorer = fitted(metric, held_out=held_out, negative=negative, compress=compress, rectify=rectify)

    def components(output):
        m = scorer.mahalanobis.distances(output)[0].double()
        r = scorer.mahalanobis(output).double()
        u = -(output.embedding if metric else output.logits).amax(1).double()
        u = torch.nn.functional.interpolate(u[:, None], size=m.shape[1:], mode="bilinear")[:, 0]
        n = output.negative.double()
        n = torch.nn.functional.interpolate(n[:, None], size=m.shape[1:], mode="bilinear")[:, 0]
        return [v.numpy() for v in (m.log(), u, r, n)[: 3 + negative]]

    known = []
    for s in held_out or (0, 1, 2):
        output, target = batch(s, metric)
        maps = components(output)
        for b, i, j in np.ndindex(2, 4, 5):
            if target[b, i * 4 + 2, j * 4 + 2] < 3:
                known.append([m[b, i, j] for m in maps])
    output, _ = batch(9, metric)
    expected = oracle.joint(components(output), known, compress, rectify)
    np.testing.assert_allclose(scorer(output), expected, atol=1e-4)
    z = scorer.standard(output)
    assert z.shape == (2, 3 + negative, 4, 5)
    assert (z[:, 2] < 0).any() and (z[:, 2] > 0).any()
    z[:, 2] = z[:, 2].clamp(min=0) if rectify else z[:, 2]
    z[:, 2] = z[:, 2].asinh() if compress else z[:, 2]
    z[:, 3:] = z[:, 3:].asinh()
    weights = (WEIGHTS if compress else WEIGHTS_0_1)[: 3 + negative]
    torch.testing.assert_close(scorer(output), sum(w * z[:, i] for i, w in enumerate(weights)))


def test_a_standard_score_has_mean_0_and_deviation_1_over_known_pixels():
    scorer, (output, target) = fitted(seeds=(0,)), batch(0)
    known = scorer.standard(output).movedim(1, -1)[target[:, 2::4, 2::4] < 3]
    torch.testing.assert_close(known.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(known.std(0, correction=0), torch.ones(3), atol=1e-4, rtol=0)


def test_the_scales_can_be_fitted_apart_from_the_distance():
    scorer, whole = fitted(), fitted(held_out=(5, 6))
    again = scorer.fit_scales([batch(s) for s in (5, 6)])
    assert again is scorer
    torch.testing.assert_close(scorer.state_dict(), whole.state_dict())


def test_one_of_the_first_release_does_not_compress_and_is_stored_as_it_was():
    """Its entry in knowledge.json names no form; a new one does."""
    network = tiny.network()
    new = SCORERS.make("joint", network)
    old = SCORERS.make("joint", network, compress=False, rectify=False, weights=WEIGHTS_0_1)
    assert new.compress and new.config["compress"] is True and tuple(new.config["weights"]) == WEIGHTS
    assert new.rectify and new.config["rectify"] is True
    assert not old.compress and not old.rectify and not {"compress", "rectify", "weights"} & old.config.keys()
    assert new.weights == WEIGHTS[:3] and old.weights == WEIGHTS_0_1[:3]


def test_the_distance_comes_with_it():
    scorer = fitted()
    parts = scorer.parts()
    assert set(parts) == {"mahalanobis", "mahalanobis_absolute"} and parts["mahalanobis"] is scorer.mahalanobis
    output = batch(0)[0]
    assert torch.equal(parts["mahalanobis_absolute"](output), scorer.mahalanobis.distances(output)[0])


def test_scales_of_nothing_are_refused():
    output, target = batch(0)
    with pytest.raises(OwsegError, match="no pixel is labelled"):
        fitted().fit_scales([(output, torch.full_like(target, 255))])

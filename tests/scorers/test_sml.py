"""Standardised max logits."""

import pytest
import torch

from owseg.scorers.sml import StandardisedMaxLogit
from owseg.types import Output
from tests.support.outputs import K, labelled


def sml():
    return StandardisedMaxLogit(K)


def test_sml_on_its_own_pixels_has_mean_0_and_deviation_1_for_every_predicted_class():
    output, target = labelled(0, images=8)
    scorer = sml().fit([(output, target)])
    score, label = scorer(output)[target < K], output.logits.argmax(1)[target < K]
    for c in range(K):
        assert score[label == c].mean().abs() < 1e-5
        assert score[label == c].std(correction=0).item() == pytest.approx(1, abs=1e-4)


def test_sml_does_not_depend_on_how_high_a_class_usually_is():
    output, target = labelled(0)
    lift = torch.tensor([0.0, 30.0, 0.0, 0.0]).view(-1, 1, 1)
    lifted = output.logits + lift * (output.logits.argmax(1) == 1)[:, None]
    taller = Output(output.features, lifted, lifted)
    assert torch.equal(lifted.argmax(1), output.logits.argmax(1))
    torch.testing.assert_close(
        sml().fit([(taller, target)])(taller), sml().fit([(output, target)])(output),
        atol=1e-3, rtol=1e-3,
    )  # fmt: skip


def test_a_class_that_is_never_predicted_is_measured_by_all():
    output, target = labelled(0)
    logits = output.logits.clone()
    logits[:, 2] -= 100
    scorer = sml().fit([(Output((), logits, logits), target)])
    top = logits.amax(1)[target < K].double()
    assert scorer.mean[2].item() == pytest.approx(top.mean().item(), abs=1e-5)
    assert scorer.std[2].item() == pytest.approx(top.std(correction=0).item(), abs=1e-5)
    assert scorer.mean[0] != scorer.mean[2]

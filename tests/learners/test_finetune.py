"""Fine-tuning on the shots alone, which forgets."""

import numpy as np
import pytest
import torch

from owseg.labels import IGNORE
from owseg.learners import finetune
from owseg.learners.finetune import FineTune
from owseg.learners.learn import learn
from owseg.types import Shot
from tests.support import tiny
from tests.support.shots import SIZE, grey_image, red_shot


def test_fine_tuning_forgets():
    updated = learn(tiny.knowledge_base(), "rock", [red_shot()], method=FineTune(steps=60, lr=3e-3))
    labels = updated.assess(updated.forward(grey_image(9)), SIZE).labels
    assert (labels == 3).mean() > 0.8  # of an image that shows nothing of it


def test_only_annotated_pixels_are_trained_on(monkeypatch):
    calls = []
    monkeypatch.setattr(finetune, "train_head", lambda *arguments, **more: calls.append((arguments, more)))
    kb, shot = tiny.knowledge_base(), red_shot()
    not_it = Shot.counterexample(shot.image, shot.negatives, "not it")
    FineTune(steps=7, lr=1e-2, variance_weight=0.3, balance=0.2, seed=4)(kb, "rock", [not_it, shot], kb.forward)
    (((_, name, views, how), more),) = calls
    assert (name, len(views), more) == ("rock", 2, {"alone": True})  # the shot and its mirror image
    for (output, target), view in zip(views, (shot, shot.mirrored()), strict=True):
        assert np.array_equal(target, np.where(view.positives, 3, IGNORE))
        assert torch.equal(output.logits, kb.forward(view.image).logits)
    assert (how.steps, how.lr, how.variance_weight, how.balance, how.seed) == (7, 1e-2, 0.3, 0.2, 4)


@pytest.mark.parametrize("seeds", [(0, 0), (0, 1)])
def test_the_seed_decides(seeds):
    kb = tiny.knowledge_base()
    one, two = (
        learn(kb, "rock", [red_shot(0), red_shot(1)], method=FineTune(steps=3, seed=s)).increments[0].tensors()
        for s in seeds
    )
    assert all(torch.equal(v, two[n]) for n, v in one.items()) == (seeds[0] == seeds[1])

"""A class of what is none of the known ones, learned from outliers pasted into the training images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from owseg.data.copy_paste import paste
from owseg.data.outliers import Outlier, Outliers
from owseg.errors import OwsegError
from owseg.labels import UNKNOWN
from owseg.losses import segmentation as losses
from owseg.metrics.pixel import Exact
from owseg.models.classifiers import with_negative
from owseg.models.engine import Engine
from owseg.models.ops import resize
from owseg.scorers.negative import negative
from owseg.training import segmentation as module
from owseg.training.build import build_knowledge_base
from owseg.training.config import TrainConfig
from owseg.training.segmentation import SegmentationObjective, train
from owseg.training.views import AugmentedViews
from owseg.types import Output
from tests.support import tiny

CONFIG = TrainConfig(epochs=12, batch=4, crop=(48, 64), scale=(0.9, 1.2), validate_every=6, lr=5e-3, ema=0.8, views=2)


def squares(count=6):
    """Magenta squares, of a colour that no class has."""
    image = np.zeros((3, 16, 16), np.uint8)
    image[[0, 2]] = 255
    one = Outlier(image, np.ones((16, 16), bool), "square")
    return Outliers("squares", tuple("abcdef"[:count]), (frozenset({"square"}),) * count, lambda i: one, False)


def shown(i):
    return paste(tiny.dataset(4)[i], squares().read(0), np.random.default_rng(i), (0.4, 0.6))


def ap_of(network):
    state, forward = Exact(), Engine(network)
    for i in range(4):
        sample = shown(i)
        score = resize(negative(forward(sample.image))[:, None], sample.target.shape)[0, 0].numpy()
        state.update(score, sample.target)
    return state.compute().ap


@pytest.mark.parametrize("mode", ["frozen", "tuned"])
def test_it_learns_to_find_what_was_shown(tmp_path, mode):
    network = tiny.network(3, "resnet", negative=True)
    data, config = tiny.dataset(8), replace(CONFIG, mode=mode, pasted=1, sizes=(0.4, 0.6))
    trained = train(network, data, data, config, tmp_path, outliers=squares())
    assert ap_of(trained) > ap_of(network) + 0.4
    assert Engine(trained)(shown(0).image).logits.shape[1] == 3


def test_outliers_are_pasted_before_the_view_is_drawn():
    config, rng = replace(CONFIG, small=0, pasted=2, sizes=(0.3, 0.5)), np.random.default_rng(3)
    image, target = AugmentedViews(tiny.dataset(1), config, None, squares())(0, 0, np.random.default_rng(3))
    sample = tiny.dataset(1)[0]
    for _ in range(2):
        sample = paste(sample, squares().read(int(rng.integers(6))), rng, (0.3, 0.5))
    expected = AugmentedViews([sample], config)(0, 0, rng)
    assert torch.equal(image, expected[0]) and torch.equal(target, expected[1]) and (target == UNKNOWN).any()


@pytest.mark.parametrize("classifier", ["prototype", "linear"])
def test_in_the_loss_it_is_one_class_more(classifier):
    network, weights = tiny.network(classifier=classifier, negative=True), torch.tensor([0.5, 1.0, 2.0, 3.0])
    images, targets = torch.rand(2, 3, 48, 64), torch.randint(0, 4, (2, 48, 64))
    marked = targets.where(targets < 3, UNKNOWN)
    loss = SegmentationObjective(network, 0.2, weights)(images, marked)
    decoded = network.decoder(network.encode(images))
    expected = losses.objective(with_negative(network.classifier), decoded, targets, 0.2, weights)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_its_weight_in_the_loss_is_that_of_its_pixels(tmp_path, monkeypatch):
    tasks = []

    def record(fabric, task, config, checkpoint):
        tasks.append(task)
        return task.kept.state_dict(), 0.0

    monkeypatch.setattr(module, "loop", record)
    data = tiny.dataset(4)
    train(tiny.network(3, "resnet", negative=True), data, data, CONFIG, tmp_path, outliers=squares())
    masks = []
    for i, sample in enumerate(data):
        rng = np.random.default_rng([0, 0, i])
        for _ in range(CONFIG.pasted):
            sample = paste(sample, squares().read(int(rng.integers(6))), rng, CONFIG.sizes)
        masks.append(np.where(sample.target == UNKNOWN, 3, sample.target).astype(np.uint8))
    expected = losses.class_weights(masks, 4, CONFIG.balance)
    assert torch.equal(tasks[0].objective.class_weights, expected) and expected[3] > 0


def test_a_knowledge_base_shown_outliers_scores_with_them(tmp_path, own_data):
    fast = replace(CONFIG, epochs=1, batch=2, crop=(32, 32))
    spec = f"folder:{own_data}"
    kb = build_knowledge_base(spec, tiny.backbone("resnet"), ["rock"], fast, tmp_path / "run", outliers=squares())
    assert kb.network.negative and "negative" in kb.scorers and kb.fitted["joint"].negative
    details = kb.history[0].details
    assert (details["outliers"], details["objects"], details["categories"]) == ("squares", 6, {"square": 6})
    plain = build_knowledge_base(spec, tiny.backbone("resnet"), ["rock"], fast, tmp_path / "plain")
    assert not plain.network.negative and "negative" not in plain.scorers and not plain.fitted["joint"].negative


def test_outliers_of_a_known_class_are_left_out(tmp_path, own_data):
    trees = replace(squares(), categories=(frozenset({"tree"}),) * 6)
    with pytest.raises(OwsegError, match="tree"):
        build_knowledge_base(f"folder:{own_data}", tiny.backbone("resnet"), [], CONFIG, tmp_path, outliers=trees)


def test_an_output_without_it_has_no_such_score():
    with pytest.raises(OwsegError, match="train one with `owseg train --outliers DIR`"):
        negative(Output((), torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4)))

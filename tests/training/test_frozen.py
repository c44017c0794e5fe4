"""Training a decoder on the features of a backbone that does not learn."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from owseg.training import segmentation as module
from owseg.training.config import TrainConfig
from owseg.training.segmentation import SegmentationObjective, train, validation_miou
from owseg.training.views import AugmentedViews, FrozenFeatures
from tests.support import tiny

FROZEN = TrainConfig(
    epochs=4, batch=4, crop=(48, 64), scale=(0.9, 1.2), validate_every=1, lr=5e-3, ema=0.8, views=2, label_stride=1
)


def small():
    return tiny.network(3, "resnet")


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(v, two[n]) for n, v in one.items())


@pytest.mark.parametrize("training", [True, False])
def test_a_frozen_backbone_stays_as_it_is_to_the_bit(tmp_path, training):
    network = small().train(training)
    trained = train(network, tiny.dataset(), tiny.dataset(2), FROZEN, tmp_path)
    assert same(network.backbone.state_dict(), trained.backbone.state_dict()) and not trained.training
    assert not same(network.decoder.state_dict(), trained.decoder.state_dict())
    assert all(p.requires_grad for p in trained.parameters()) and network.training is training


def test_a_decoder_learns_on_frozen_features(tmp_path):
    data = tiny.dataset(16)
    network = train(small(), data, data, replace(FROZEN, epochs=12, validate_every=4), tmp_path)
    assert validation_miou(network, data) > validation_miou(small(), data) + 0.2


def test_features_that_do_not_fit_into_memory_change_nothing(tmp_path, monkeypatch):
    data = tiny.dataset()
    kept = train(small(), data, data, FROZEN, tmp_path / "kept")
    monkeypatch.setattr(module, "FrozenFeatures", partial(FrozenFeatures, limit=0))
    assert same(kept.state_dict(), train(small(), data, data, FROZEN, tmp_path / "anew").state_dict())


def test_a_step_on_frozen_features_is_the_step_on_the_images():
    """The same loss and the same gradient of the decoder, but for the rounding of the features."""
    network = small().train()
    network.backbone.freeze()
    network.decoder.eval()  # dropout is random
    data, ones = tiny.dataset(2), torch.ones(3)
    features = FrozenFeatures(AugmentedViews(data, FROZEN), network.backbone)
    views = [features.finish(0, i, features.view(0, i, np.random.default_rng())) for i in range(2)]
    images = [AugmentedViews(data, replace(FROZEN, small=0))(0, i, np.random.default_rng([0, 0, i])) for i in range(2)]
    grads = []
    for frozen, samples in ((True, views), (False, images)):
        network.zero_grad()
        batch = [torch.stack(part) for part in zip(*samples, strict=True)]
        loss = SegmentationObjective(network, 0.01, ones, frozen)(*batch)
        loss.backward()
        grads.append(torch.cat([loss.detach()[None], *(p.grad.flatten() for p in network.decoder.parameters())]))
    kept, computed = grads
    assert kept[0].item() == pytest.approx(computed[0].item(), rel=1e-3)
    assert (kept - computed).norm() < 0.02 * computed.norm()

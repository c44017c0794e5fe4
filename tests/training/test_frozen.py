"""Training a decoder on the features of a backbone that does not learn."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from owseg.data.loader import can_fork
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


@pytest.mark.skipif(not can_fork(), reason="processes cannot be forked here")
@pytest.mark.parametrize("mode", ["frozen", "tuned"])
def test_workers_change_nothing(tmp_path, mode):
    """Nor whether features are kept, which a worker is told; a run goes on with another number of them."""
    data, config = tiny.dataset(), replace(FROZEN, mode=mode, workers=0)
    alone = train(small(), data, data, config, tmp_path / "alone")
    together = train(small(), data, data, replace(config, workers=2), tmp_path / "together")
    assert same(alone.state_dict(), together.state_dict())
    again = train(small(), data, data, replace(config, workers=1), tmp_path / "together", resume=True)
    assert same(alone.state_dict(), again.state_dict())


class Stop(Exception):
    pass


@pytest.mark.parametrize("mode", ["frozen", "tuned"])
def test_a_step_comes_before_all_images_are_read(tmp_path, monkeypatch, mode):
    """Classes are counted on some of them; one that these do not show weighs as much as the rarest that they do."""
    data, read, weights = tiny.dataset(8), [], []
    source = data.source

    def counted(i):
        read.append(i)
        image, ids = source.read(i)
        return image, np.where(ids == 2, 1, ids) if i in (0, 7) else ids

    def stop(self, *batch):
        weights.append(self.class_weights)
        raise Stop

    monkeypatch.setattr(module, "COUNTED", 2)
    monkeypatch.setattr(SegmentationObjective, "forward", stop)
    config = replace(FROZEN, batch=2, mode=mode)
    with pytest.raises(Stop):
        train(small(), replace(data, source=replace(source, read=counted)), data, config, tmp_path)
    assert set(read[:2]) == {0, 7} and len(set(read)) <= 4
    assert weights[0][2] == weights[0].max() and weights[0].min() > 0

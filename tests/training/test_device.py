"""Training on a device that is not the CPU: nothing is left behind, and what is returned is on the CPU again."""

import pytest
import torch
from torch import nn

from owseg.training.autoencoder import train_autoencoder
from owseg.training.config import (
    DiscrepancyConfig,
    GeneratorConfig,
    LoopConfig,
    NegativeConfig,
    RBMConfig,
    ResidualConfig,
    TrainConfig,
)
from owseg.training.duir import train_duir
from owseg.training.negative import with_negative
from owseg.training.rbm import train_rbm
from owseg.training.residual import train_residual
from owseg.training.resynthesis import train_generator
from owseg.training.segmentation import train
from tests.support import tiny
from tests.support.device import DEVICE, Away, Device, devices, trainings_on_it
from tests.support.outliers import inlier_images, objects

SHORT = {"epochs": 1, "batch": 2, "crop": (32, 32), "optimizer": "sgd", "workers": 0}

pytestmark = pytest.mark.filterwarnings("ignore:.*meta parameter")  # whose values are not lost here


@pytest.fixture
def away(monkeypatch):
    with trainings_on_it(monkeypatch):
        yield


def test_the_device_is_one():
    """It computes, and takes no tensor of another; else what follows would show nothing."""
    with Device():
        module, x = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), torch.rand(2, 3, 4, 4)
        before, optimizer = module[0].weight.detach().clone(), torch.optim.SGD(module.parameters(), 0.1)
        assert devices(module.to(DEVICE)) == {"meta"}
        assert isinstance(x.to(DEVICE), Away) and x.to(DEVICE).cpu().equal(x)
        module(x.to(DEVICE))[:, :2].square().mean().backward()
        optimizer.step()
        assert isinstance(module[0].weight.grad, Away) and not module[0].weight.detach().cpu().equal(before)
        with pytest.raises(RuntimeError, match="tensors on two devices"):
            module(x)
        with pytest.raises((RuntimeError, TypeError)):
            x.to(DEVICE).numpy()


@pytest.mark.parametrize("mode", ["frozen", "tuned"])
def test_a_network(away, tmp_path, mode):
    """Scores are fitted to it next, on the CPU; also where its training goes on."""
    network, data = tiny.network(3, "resnet", decoder="pyramid"), tiny.dataset(2)
    config = TrainConfig(mode=mode, views=1, **SHORT)
    first, again = (train(network, data, data, config, tmp_path, resume) for resume in (False, True))
    assert devices(first, again) == {"cpu"}
    assert all(value.equal(again.state_dict()[name]) for name, value in first.state_dict().items())
    assert not first.decoder.head.weight.equal(network.decoder.head.weight)


def test_a_negative_class(away, tmp_path):
    network, config = tiny.network(3, "resnet"), NegativeConfig(members=1, width=8, **SHORT)
    for resume in (False, True):
        found, ap = with_negative(network, inlier_images(2), inlier_images(1), objects(2), config, tmp_path, resume)
        assert devices(found) == {"cpu"} and 0 < ap <= 1


def test_a_residual(away, tmp_path):
    config = ResidualConfig(samples=8, width=8, contrast=8, **SHORT)
    kb = tiny.knowledge_base(kind="resnet", classifier="linear")
    kb = train_residual(kb, inlier_images(2), inlier_images(1), objects(2), objects(2), config, tmp_path)
    assert devices(kb.network, kb.residual) == {"cpu"}


def test_autoencoders(away, tmp_path):
    data = tiny.dataset(2)
    whole = train_autoencoder(data, data, LoopConfig(**SHORT), tmp_path / "ae", width=4, depth=2, code=4)
    patches = train_rbm(data, data, "road", RBMConfig(patches=4, **SHORT), tmp_path / "rbm", side=48)
    assert devices(whole, patches) == {"cpu"}


def test_a_generator_and_what_finds_its_mistakes(away, tmp_path):
    kb, data = tiny.knowledge_base(kind="resnet"), tiny.dataset(2)
    small = GeneratorConfig(width=4, depth=1, blocks=1, side=32, **SHORT)
    generator = train_generator(kb.network.backbone, data, data, small, tmp_path / "generator")
    config = DiscrepancyConfig(widths=(4, 4), label_widths=(4, 4), **SHORT)
    found = train_duir(kb, data, data, generator, ("road",), config, tmp_path / "duir")
    assert devices(generator, found, kb.network) == {"cpu"}

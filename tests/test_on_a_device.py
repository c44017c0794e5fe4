"""What is made of a knowledge base that is on a device other than the CPU is on that device, too, and the same."""

import numpy as np
import pytest
import torch

from owseg.image_scorers.duir import duir
from owseg.image_scorers.synthcp import synthcp
from owseg.knowledge.calibration import fit_scorers
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from owseg.scorers import fitted_names
from owseg.training.config import NegativeConfig, ResidualConfig
from owseg.training.negative import train_negative
from owseg.training.residual import train_residual
from tests.support import tiny
from tests.support.device import DEVICE, devices, trainings_on_it
from tests.support.drawn import duir_of, synthcp_of
from tests.support.outliers import inlier_images, objects
from tests.support.shots import corner_shot

SHORT = {"epochs": 1, "batch": 2, "crop": (32, 32), "optimizer": "sgd", "workers": 0, "width": 8}

pytestmark = pytest.mark.filterwarnings("ignore:.*meta parameter")  # whose values are not lost here


@pytest.fixture(autouse=True)
def away(monkeypatch):
    with trainings_on_it(monkeypatch):
        yield


def moved(kb):
    """``kb`` on the device, run in the one thread that knows it."""
    return kb.to(DEVICE, batch=1, workers=1)


@pytest.fixture
def kb():
    return tiny.knowledge_base(kind="resnet", classifier="linear")


def test_scorers_are_fitted_there(kb):
    data, names = tiny.dataset(4), fitted_names()
    here, there = (fit_scorers(one, data, names, tiny.dataset(2)).fitted for one in (kb, moved(kb)))
    assert devices(*there.values()) == {"meta"} and devices(*here.values()) == {"cpu"}
    for name in names:
        for own, other in zip(here[name].buffers(), there[name].buffers(), strict=True):
            torch.testing.assert_close(other.cpu(), own)


def test_a_class_is_learned_there(kb):
    fitted = fit_scorers(kb, tiny.dataset(4), ("mahalanobis",))
    ((own,), (other,)) = (
        learn(one, "rock", [corner_shot()], method=NPM(space="pyramid")).increments for one in (fitted, moved(fitted))
    )
    assert {value.device.type for value in other.tensors().values()} == {"meta"}
    for name, value in own.tensors().items():
        torch.testing.assert_close(other.tensors()[name].cpu(), value)


def test_a_residual_is_added_there(kb, tmp_path):
    config = ResidualConfig(samples=8, contrast=8, **SHORT)
    found = train_residual(moved(kb), inlier_images(2), inlier_images(1), objects(2), objects(2), config, tmp_path)
    assert devices(found.network, found.residual) == {"meta"}


@pytest.mark.parametrize("members", [1, 2])
def test_a_negative_class_is_beside_the_network_there(kb, tmp_path, members):
    """With a joint score, of which it becomes a component."""
    base, config = moved(fit_scorers(kb, tiny.dataset(4))), NegativeConfig(members=members, **SHORT)
    found = train_negative(base, inlier_images(2), inlier_images(1), objects(2), config, tmp_path)
    assert devices(found.network, found.fitted["joint"]) == {"meta"} and found.network.has_negative


@pytest.mark.parametrize("make, model_of", [(duir, duir_of), (synthcp, synthcp_of)])
def test_a_drawing_is_compared_there(kb, make, model_of):
    model = model_of(kb)
    here, there = (make(one, model)(tiny.image()) for one in (kb, moved(kb)))
    np.testing.assert_allclose(there, here, atol=1e-5)
    assert devices(model) == {"cpu"}  # the caller's stays where it is

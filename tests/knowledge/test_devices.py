"""A knowledge base on a device: everything moves, nothing is left behind, and nothing mixes devices.

Without a GPU one is pretended: on "meta" tensors have shapes alone, and fake tensors of torch name the device that a
real one would be on, and refuse to mix two.
"""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode

from owseg.errors import OwsegError
from owseg.increments.head import Head
from owseg.knowledge.calibration import calibrate, fit_scorers
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from owseg.learners.plm import PLM
from owseg.learners.probe import Probe
from owseg.models.devices import choose_device, device_title
from owseg.models.engine import Engine
from owseg.types import Shot
from tests.support import tiny
from tests.support.passes import learned_residual

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def shot(seed):
    positives = np.zeros((48, 64), bool)
    positives[10:30, 20:44] = True
    image = tiny.image(seed)
    image[:, positives] = np.array([[200], [30], [30]], np.uint8)
    return Shot(image, positives, str(seed))


@pytest.fixture(scope="module")
def kb():
    """One with all that there is: every fitted score, a negative class, a residual, increments of three kinds."""
    base = tiny.knowledge_base(kind="resnet", negative=True)
    data = tiny.dataset(4)
    base = fit_scorers(base, data, ("joint", "knn", "sml", "mahalanobis"))
    base = calibrate(replace(base, residual=learned_residual(base.network)), data, scorer="joint", false_alarms=None)
    for name, learner in (("cow", Probe()), ("hen", NPM()), ("dog", Probe()), ("cat", PLM(steps=2))):
        base = learn(base, name, [shot(0), shot(1)], method=learner)
    base.assess(base.forward(tiny.image()), (48, 64), tuple(base.scorers))  # what is read of a state once
    return base


def tensors_of(kb):
    """Every tensor that it holds."""
    modules = [kb.network, kb.residual, *kb.fitted.values()]
    for increment in kb.increments:
        if isinstance(increment, Head):
            modules += [increment.decoder, increment.classifier]
        else:
            yield from increment.tensors().values()
    for module in modules:
        yield from (*module.parameters(), *module.buffers())


# --- choosing ---


def test_auto_is_the_fastest_that_is_there(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == torch.device("cpu") == choose_device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device() == torch.device("mps") == choose_device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    assert choose_device() == torch.device("cuda") and choose_device("cuda:1") == torch.device("cuda:1")
    assert device_title(torch.device("cuda:1")) == "cuda:1 (Some GPU)" and device_title(torch.device("cpu")) == "cpu"
    with pytest.raises(OwsegError, match=r"^cuda:2 is not there: the GPUs are numbered from 0 to 1; give another"):
        choose_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-1", "cpu:0", "mps:1", "", "CUDA", "meta"])
def test_another_name_is_refused(name):
    with pytest.raises(OwsegError, match=r"^there is no device .*; it is auto, cpu, cuda, cuda:1 or mps\.$"):
        choose_device(name)


def test_a_device_that_is_not_there_is_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name, kind in (("cuda", "cuda"), ("cuda:0", "cuda"), ("mps", "mps")):
        with pytest.raises(OwsegError, match=f"^{name} is not there: torch finds no {kind} device; give another --dev"):
            choose_device(name)


# --- moving ---


def test_everything_moves_and_the_first_stays(kb):
    before = kb.fingerprint()
    moved = kb.to("meta")
    assert {t.device.type for t in tensors_of(moved)} == {"meta"} == {moved.engine().device.type}
    assert {t.device.type for t in tensors_of(kb)} == {"cpu"} and kb.fingerprint() == before
    assert len(list(tensors_of(moved))) == len(list(tensors_of(kb))) > 50
    assert (moved.labels, moved.threshold, moved.history) == (kb.labels, kb.threshold, kb.history)
    assert kb.to("cpu").network is kb.network


def test_how_it_is_run_goes_along_and_is_not_stored(kb, tmp_path):
    fast = kb.to("cpu", batch=4, workers=2, precision="bf16")
    assert (fast.engine().batch_size, fast.engine().threads, fast.engine().precision) == (4, 2, "bf16")
    assert fast.engine(batch=1, tile=True).batch_size == 1 and fast.engine(tile=True).precision == "bf16"
    assert fast.to("cpu", workers=1).engine().batch_size == 4
    assert fast.fingerprint(decides=True) == kb.fingerprint(decides=True) and kb.engine().batch is None
    assert learn(fast, "ant", [shot(3)], method=Probe()).engine().batch_size == 4
    assert calibrate(fast, tiny.dataset(4), false_alarms=None).engine().workers == 2
    fast.save(tmp_path / "kb")
    from owseg.knowledge.load import load

    assert load(tmp_path / "kb").how == {}
    for wrong in ({"batch": 0}, {"workers": 0}, {"precision": "8"}):
        with pytest.raises(OwsegError, match=r"number of images, 1 or more|there is no precision '8'; it is 32, bf16"):
            kb.to("cpu", **wrong)


# --- running ---

FAKE = torch.device("meta")
"""The pretended GPU; torch without CUDA cannot pretend one of CUDA in every operation."""


@pytest.fixture(scope="module")
def fake(kb):
    """The mode in which tensors are fake, and ``kb`` with all of its tensors on a GPU that is not there."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode, FakeCopyMode(mode):
        moved = copy.deepcopy(kb)
    with mode:
        return mode, on_fake_gpu(moved)


def on_fake_gpu(kb):
    """``kb`` with every tensor replaced: torch cannot move the parameters of a module that are fake."""
    for root in (kb.network, kb.residual, *kb.fitted.values(), *(m for i in kb.increments if isinstance(i, Head)
                                                                 for m in (i.decoder, i.classifier))):  # fmt: skip
        for module in root.modules() if root is not None else ():
            for name, value in module._parameters.items():
                if value is not None and value.device.type == "cpu":
                    module._parameters[name] = torch.nn.Parameter(value.detach().to(FAKE), False)
            for name, value in module._buffers.items():
                if value is not None:
                    module._buffers[name] = value.to(FAKE)
    increments = tuple(i if isinstance(i, Head) else i.to(FAKE) for i in kb.increments)
    return replace(kb, increments=increments)


def test_a_fake_gpu_refuses_to_mix(fake):
    mode, moved = fake
    with mode, pytest.raises(RuntimeError, match="devices"):
        moved.network(torch.zeros(1, 3, 48, 64))


IN_NUMPY = ("segments", "road")
"""Scores that are computed on the CPU, whatever the device."""


@pytest.mark.parametrize(
    "how",
    [{}, {"full_resolution": True}, {"multi_scale": True}, {"tile": True, "size": 160}, {"window": 64, "size": 96}],
    ids=["plain", "full", "multi-scale", "tile", "window"],
)
def test_every_score_and_every_class_stay_on_the_device(fake, how):
    mode, kb = fake
    with mode, torch.no_grad():
        images = torch.zeros(2, 3, 48, 64, device=FAKE)
        output = Engine(kb.network, kb.residual, **how).traceable(images, 1.0)
        assert {t.device for t in (*output.features, output.logits, output.negative, output.residual)} == {FAKE}
        for name in kb.scorers:
            score = kb.scorers[name](output)
            assert score.device == FAKE and len(score) == 2, name
        labels = output.logits.argmax(1)
        for increment in kb.increments:
            assert increment.predict_mask(output, (48, 64)).device == FAKE, increment
            assert increment.update_labels(labels.new_zeros(2, 48, 64), output, 5).device == FAKE


@pytest.mark.parametrize("kind", [kind for kind in tiny.CONFIGS if kind != "resnet"])
def test_every_backbone_stays_on_the_device(kind):
    network = tiny.network(kind=kind, classifier="linear").to("meta")
    output = Engine(network)(tiny.image(0, (64, 96)))
    assert {t.device.type for t in (*output.features, output.logits, output.image)} == {"meta"}


@GPU
@pytest.mark.parametrize("batch", [1, 4])
def test_a_gpu_says_what_a_cpu_says(kb, batch):
    images = [tiny.image(i) for i in range(8)]
    gpu = kb.to("cuda", batch=batch)
    for one, other in zip(kb.predict(images), gpu.predict(images), strict=True):
        assert (one.labels == other.labels).mean() > 0.999
        np.testing.assert_allclose(one.score, other.score, atol=1e-2 * max(1.0, one.threshold.unit))
    learned = learn(gpu, "ant", [shot(3), shot(4)], method=Probe())
    assert (learned.predict(tiny.image(5)).labels == gpu.predict(tiny.image(5)).labels).mean() > 0.2
    assert calibrate(gpu, tiny.dataset(4), false_alarms=None).threshold.value == pytest.approx(
        calibrate(kb, tiny.dataset(4), false_alarms=None).threshold.value, rel=1e-2
    )

"""A compiled network gives what it gives as it is, for other sizes, batches and threads.

What torch traces or compiles takes a minute, so that is done with OWSEG_COMPILE=1 alone.
"""

import os
import shutil
from functools import partial
from threading import Event, Lock

import pytest
import torch

from owseg.data.given import Given
from owseg.models.engine import Engine, prepared
from owseg.models.network import BackboneAlone
from owseg.models.over_images import over_images
from tests.support import tiny
from tests.support.passes import learned_residual

COMPILER = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)

slow = pytest.mark.skipif(os.environ.get("OWSEG_COMPILE") != "1", reason="takes a minute: set OWSEG_COMPILE=1")


class Small(torch.nn.Module):
    """What torch compiles in seconds."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.Conv2d(8, 5, 3, 2, 1)

    def forward(self, image):
        return (torch.relu(self.one(image - 0.5)), self.two(torch.relu(self.one(image - 0.5))))


@pytest.fixture(autouse=True)
def fresh():
    yield
    torch._dynamo.reset()


def assert_same(network, residual=None):
    """Two sizes, of which the second is new, in batches of two and by three threads."""
    sizes = ((48, 64), (48, 64), (64, 96), (48, 64), (64, 96))
    images = [tiny.image(i, size) for i, size in enumerate(sizes)]
    plain = Engine(network, residual)
    expected = [plain(image) for image in images]
    alone = Engine(network, residual, compiled=True)
    threads = Engine(network, residual, compiled=True, batch=2, workers=3)
    for found in ([alone(image) for image in images], [*over_images(threads, Given(images), lambda _, output: output)]):
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one.logits.argmax(1), other.logits.argmax(1))
            torch.testing.assert_close(one.embedding, other.embedding, atol=1e-3, rtol=1e-3)
            if residual is not None:
                torch.testing.assert_close(one.residual, other.residual, atol=1e-2, rtol=1e-2)


@slow
@pytest.mark.skipif(COMPILER is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiled_network_gives_the_same():
    assert_same(prepared(BackboneAlone(Small().eval())))


@slow
def test_a_network_that_torch_traces_gives_the_same(monkeypatch):
    """All of ``torch.compile`` but the compiler: the network is traced and run as it was traced."""
    traced, real = [], torch.compile

    def tracing(network):
        traced.append(network)
        return real(network, backend="eager")

    monkeypatch.setattr(torch, "compile", tracing)
    network = prepared(tiny.network())
    assert_same(network, prepared(learned_residual(network)))
    assert traced == [network, network]


def test_one_batch_at_a_time_is_run_compiled(monkeypatch):
    compiled, lock, running, two = [], Lock(), [0], Event()

    def slowly(network, *args, **options):
        with lock:
            running[0] += 1
            if running[0] > 1:
                two.set()
        two.wait(0.05)  # so that another thread may come
        with lock:
            running[0] -= 1
        return network(*args, **options)

    monkeypatch.setattr(torch, "compile", lambda network: compiled.append(network) or partial(slowly, network))
    network, images = prepared(tiny.network()), Given([tiny.image(i) for i in range(8)])
    list(over_images(Engine(network, compiled=True, workers=3), images, lambda _, output: None))
    assert compiled == [network] and not two.is_set()

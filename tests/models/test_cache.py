"""Outputs that are cached: each image passes the network once."""

import copy
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from owseg.models.cache import CachedForward
from owseg.models.engine import Engine
from owseg.types import Output
from tests.support import tiny
from tests.support.passes import learned_residual, same, tensors


class Counted:
    """A forward function that counts its calls; its outputs have a residual, and evidence of their own."""

    def __init__(self, classifier="prototype"):
        network = tiny.network(classifier=classifier, negative=True)
        self.engine, self.calls = Engine(network, learned_residual(network)), 0

    def __call__(self, image):
        self.calls += 1
        return self.engine(image)


def size_of(output):
    """The bytes of an output's tensors, a tensor that stands twice counted once."""
    return sum(t.nbytes for t in {id(t): t for t in (*tensors(output), output.image) if t is not None}.values())


def test_an_image_passes_once_and_its_output_is_the_same_object():
    forward = Counted()
    cached = CachedForward(forward)
    first = cached(tiny.image(0))
    assert cached(tiny.image(0)) is first and cached(tiny.image(0).copy()) is first and forward.calls == 1
    assert same(first, forward.engine(tiny.image(0)))
    assert cached(tiny.image(1)) is not first and forward.calls == 2
    assert cached(tiny.image(0)) is first and cached(np.asfortranarray(tiny.image(0))) is first


def test_images_of_the_same_bytes_and_another_shape_are_two():
    forward = Counted()
    cached = CachedForward(forward)
    image = tiny.image(0)
    assert cached(image).logits.shape != cached(image.reshape(3, 64, 48)).logits.shape


@pytest.mark.parametrize("classifier", ["prototype", "linear"])
def test_the_bound_counts_every_tensor_of_an_output(classifier):
    """Room for two outputs, to the byte: residual and evidence are part of an output, and a shared tensor is one."""
    size = size_of(Counted(classifier)(tiny.image()))
    for room, kept in ((2 * size, 2), (2 * size - 1, 1), (size - 1, 0)):
        forward = Counted(classifier)
        cached = CachedForward(forward, room / 2**30)
        for seed in (0, 1, 2, 0, 1, 2):
            assert same(cached(tiny.image(seed)), forward.engine(tiny.image(seed)))
        assert forward.calls == 6 - kept


@pytest.mark.parametrize("name", [f.name for f in fields(Output) if f.name != "features"])
def test_each_field_of_an_output_counts(name):
    """The output without one of its tensors fits where the whole does not."""
    whole = Counted()(tiny.image())
    value = getattr(whole, name)
    room = (size_of(whole) - value.nbytes) / 2**30
    less = replace(whole, **{name: torch.zeros(0) if name in ("embedding", "logits") else None})
    for output, fits in ((less, True), (whole, False)):
        cached = CachedForward(lambda image, output=output: copy.copy(output), room)
        assert (cached(tiny.image()) is cached(tiny.image())) == fits


def test_of_a_batch_only_what_is_new_passes():
    """An engine behind it gets the images that are not cached in one batch; each has its own output."""
    network = tiny.network()
    engine, batches = Engine(network), []

    class Recorded(Engine):
        def run(self, images):
            batches.append(len(images))
            return super().run(images)

    cached = CachedForward(Recorded(network, batch=3))
    assert (cached.batch_size, cached.threads) == (3, torch.get_num_threads())
    images = [tiny.image(i) for i in range(3)]
    first = cached(images[1])
    found = cached.run(images)
    assert batches == [2] and found[1] is first
    for image, output in zip(images, found, strict=True):
        torch.testing.assert_close(output.logits, engine(image).logits)
    assert all(a is b for a, b in zip(cached.run(images), found, strict=True)) and batches == [2]
    plain = CachedForward(lambda image: engine(image))
    assert (plain.batch_size, plain.threads) == (1, 1) and same(plain.run(images)[2], engine(images[2]))

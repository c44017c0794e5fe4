"""DMLNet's test at several sizes: logits are averaged where they are scored, at the image's own size."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from owseg.models.engine import Engine
from owseg.models.network import to_tensor
from owseg.models.residual_pattern import residual_of
from owseg.models.sides import averaged_over_sides
from owseg.scorers.eds import eds
from owseg.scorers.msp import msp
from owseg.types import Output
from tests.support import tiny


def by_hand(network, image, sizes, residual=None):
    """The mean of each map, interpolated to the image, in float64."""
    outputs = []
    for size in sizes:
        shrinks = size < tuple(image.shape[1:])
        view = F.interpolate(to_tensor(image), size=size, mode="bilinear", antialias=shrinks)
        with torch.no_grad():
            outputs.append(network(view.contiguous(memory_format=torch.channels_last), residual))
    names = ["embedding", "logits", "evidence"] + (["residual"] if residual else [])

    def mean(name):
        maps = [F.interpolate(getattr(o, name).double(), image.shape[1:], mode="bilinear") for o in outputs]
        return sum(maps) / len(maps)

    return {name: mean(name) for name in names}, outputs[-1].features


@pytest.mark.parametrize("classifier", ["prototype", "linear"])
def test_logits_are_averaged_at_the_image_s_own_size(classifier):
    network, image = tiny.network(classifier=classifier), tiny.image()
    torch.manual_seed(0)
    residual = residual_of(network, width=8, contrast=4, start="kaiming").eval()
    output = Engine(network, residual, sides=(36, 96))(image)
    expected, features = by_hand(network, image, [(36, 48), (96, 128)], residual)
    for name, value in expected.items():
        found = getattr(output, name)
        assert found.shape[-2:] == (48, 64)
        torch.testing.assert_close(found.double(), value, rtol=1e-4, atol=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(output.features, features, strict=True))
    assert output.negative is None


def test_scores_are_those_of_interpolated_logits():
    network, image = tiny.network(), tiny.image()
    output, plain = Engine(network, sides=(48,))(image), Engine(network)(image)
    torch.testing.assert_close(output.softmax_logits, F.interpolate(plain.evidence, (48, 64), mode="bilinear"))
    # S is linear in the logits, so it is the same either way; a softmax is not.
    torch.testing.assert_close(eds(output), F.interpolate(eds(plain)[:, None], (48, 64), mode="bilinear")[:, 0])
    assert not torch.allclose(
        msp(output), F.interpolate(msp(plain)[:, None], (48, 64), mode="bilinear")[:, 0], atol=1e-3
    )


def test_it_is_not_the_mean_of_the_embedding():
    """The distances of a mean are less than the mean of the distances."""
    network, image = tiny.network(), tiny.image()
    output = Engine(network, sides=(36, 96))(image)
    assert (eds(output) < -(network.classify(output.embedding).sum(1).neg()) - 1e-3).any()
    assert (eds(output) <= network.classify(output.embedding).sum(1) + 1e-2).all()


def test_the_negative_class_is_averaged_as_well():
    network = tiny.network(negative=True)
    torch.nn.init.normal_(next(iter(network.negative.parameters())))
    output = Engine(network, sides=(48,))(tiny.image())
    plain = Engine(network)(tiny.image()).negative[:, None]
    assert output.negative.shape == (1, 48, 64)
    torch.testing.assert_close(output.negative, F.interpolate(plain, (48, 64), mode="bilinear")[:, 0])


@pytest.mark.parametrize(("size", "side", "expected"), [
    ((720, 1280), 600, (562, 999)), ((720, 1280), 300, (300, 533)), ((720, 960), 600, (600, 800)),
    ((1280, 720), 600, (999, 562)),
])  # fmt: skip
def test_the_longer_side_has_at_most_a_thousand_pixels(size, side, expected):
    sizes = []

    def run(view):
        sizes.append(tuple(view.shape[-2:]))
        return Output((), view[:, :2], view[:, :2])

    averaged_over_sides(run, torch.zeros(1, 3, *size), [side])
    assert sizes == [expected]


def test_a_knowledge_base_passes_the_sides_on():
    kb, image = tiny.knowledge_base(), tiny.image()
    found = kb.assess(kb.forward(image, sides=(36, 96)), (48, 64), ("eds",)).scores["eds"]
    expected = eds(Engine(kb.network, sides=(36, 96))(image))[0].numpy()
    assert np.array_equal(found, expected)

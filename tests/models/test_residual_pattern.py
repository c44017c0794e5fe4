"""RPL's residual pattern: what it adds to a frozen network, and where."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import (
    MobileNetV2Config,
    MobileNetV2ForSemanticSegmentation,
    SegformerConfig,
    SegformerForSemanticSegmentation,
)

from owseg.errors import OwsegError
from owseg.models.aspp import ASPP
from owseg.models.assemble import assemble
from owseg.models.published.transformers import to_network
from owseg.models.residual_pattern import DENSE, FORMS, PLACES, ResidualPattern, residual_of
from tests.support import tiny

SMALL = {"width": 8, "rates": (1, 2), "contrast": 5}


def segformer():
    return to_network(SegformerForSemanticSegmentation(SegformerConfig(**tiny.CONFIGS["segformer"], num_labels=5)))


def mobilenet():
    config = MobileNetV2Config(**{**tiny.CONFIGS["mobilenet_v2"], "output_stride": 8}, num_labels=5)
    return to_network(MobileNetV2ForSemanticSegmentation(config))


# Name: a network with that decoder.
NETWORKS = {
    **{name: lambda name=name: assemble(tiny.backbone(), 5, name, 16) for name in ("aspp", "psp", "pyramid")},
    "mean": lambda: assemble(tiny.backbone(), 5, width=16, members=2),
    "linear": lambda: assemble(tiny.backbone(), 5, width=16, classifier="linear"),
    "segformer": segformer,
    "mobilenet_v2": mobilenet,
}


def made(name):
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.running_mean, std=0.1)
    return network


def images():
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def trained(network, **config):
    pattern = residual_of(network, **SMALL, **config).eval()
    torch.nn.init.normal_(pattern.final.weight), torch.nn.init.normal_(pattern.final.bias)
    return pattern


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NETWORKS)
def test_an_untrained_residual_changes_nothing(name, place):
    network = made(name)
    pattern = residual_of(network, place=place).eval()
    with torch.no_grad():
        output = network(images(), pattern)
        assert (pattern(output.features) == 0).all()
        torch.testing.assert_close(output.residual, output.evidence)
        assert torch.equal(output.logits, network(images()).logits)


@pytest.mark.parametrize("name", NETWORKS)
def test_in_its_place_the_frozen_block_with_its_activation_reads_it(name):
    """What is added is not a linear map of the logits: twice the residual is not twice the difference."""
    network = made(name)
    pattern = trained(network)
    with torch.no_grad():
        once = network(images(), pattern)
        pattern.final.weight *= 2
        pattern.final.bias *= 2
        twice = network(images(), pattern)
    first, second = once.residual - once.evidence, twice.residual - twice.evidence
    assert (second - 2 * first).abs().max() > 1e-2 * first.abs().max() > 0
    assert pattern.final.out_channels == network.decoder.penultimate(once.features).shape[1]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("skip", [0, 1, 2])
def test_on_the_embedding_it_is_a_linear_map_of_the_pattern(skip, form):
    network = tiny.network()
    pattern = trained(network, skip=skip, place="embedding", form=form)
    with torch.no_grad():
        output = network(images(), pattern)
        maps, residual = pattern.pattern(output.features), pattern(output.features)
        assert maps.shape == (2, 8, *output.features[skip].shape[-2:])
        expected = torch.einsum("bchw,dc->bdhw", maps, pattern.final.weight[:, :, 0, 0])
        torch.testing.assert_close(residual, expected + pattern.final.bias.view(-1, 1, 1))
        full = F.interpolate(residual, size=output.embedding.shape[-2:], mode="bilinear")
        torch.testing.assert_close(output.residual, network.classifier.evidence(output.embedding + full))
        directions = pattern.contrast(maps)
    assert directions.shape == (2, 5, *maps.shape[-2:])
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(2, *maps.shape[-2:]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", PLACES)
def test_a_residual_is_its_configuration_and_its_weights(place, form):
    network = tiny.network()
    first = residual_of(network, skip=2, place=place, form=form, **SMALL).eval()
    second = residual_of(network, **{"place": "embedding", **json.loads(json.dumps(first.config))}).eval()
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        features = network(images()).features
        assert torch.equal(first.pattern(features), second.pattern(features))
    assert (second.place, second.form) == (place, form)
    # As owseg 0.1.0 wrote it, so that what it stored has the same fingerprint.
    added = {"place": "penultimate"} if place == "penultimate" else {}
    added |= {"form": "dense"} if form == "dense" else {}
    assert first.config == {"skip": 2, "width": 8, "rates": [1, 2], "contrast": 5, **added}


def test_all_of_the_coarsest_map_and_the_map_at_skip_is_read_and_no_other():
    pattern = ResidualPattern((4, 6, 8), 3, width=8, contrast=4).eval()
    features = [torch.randn(1, c, s, s, requires_grad=True) for c, s in ((4, 16), (6, 8), (8, 4))]
    pattern.pattern(features).sum().backward()
    assert [f.grad is not None and bool(f.grad.any()) for f in features] == [False, True, True]


def test_the_dense_form_is_that_of_the_paper_and_starts_as_the_frozen_pooling():
    """Liu et al., ICCV 2023: 1x1, 3x3 at 12, 24, 36 and a pool, 256 channels each, reduced to 256."""
    network = tiny.network()
    network.decoder.aspp = ASPP(network.backbone.channels[-1], 256)
    pattern = residual_of(network, **DENSE)
    for mine, frozen in zip(
        pattern.aspp.state_dict().values(), network.decoder.aspp.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, frozen) and mine.data_ptr() != frozen.data_ptr()
    rates = [branch[0].dilation[0] for branch in pattern.aspp.branches]
    assert rates == [1, 12, 24, 36] and pattern.aspp.branches[1][0].groups == 1
    assert pattern.bottleneck.weight.shape == (256, 1280, 1, 1) and pattern.project.out_channels == 304
    network.decoder.aspp = ASPP(network.backbone.channels[-1], 16)  # of another size: nothing to copy
    assert residual_of(network, **DENSE).aspp.size != network.decoder.aspp.size


def test_pooling_is_five_maps_side_by_side():
    pooling, x = ASPP(6, 4, (1, 2, 3)).eval(), torch.randn(2, 6, 7, 9)
    with torch.no_grad():
        out = pooling(x)
        for i, (rate, branch) in enumerate(zip((1, 1, 2, 3), pooling.branches, strict=True)):
            weight = branch[0].weight
            expected = F.relu(
                F.conv2d(x, weight, padding=rate * (weight.shape[-1] // 2), dilation=rate) / (1 + 1e-5) ** 0.5
            )
            torch.testing.assert_close(out[:, 4 * i : 4 * i + 4], expected)
        mean = F.relu(F.conv2d(x.mean((2, 3), keepdim=True), pooling.pool[0].weight) / (1 + 1e-5) ** 0.5)
        torch.testing.assert_close(out[:, 16:], mean.expand(-1, -1, 7, 9))
    assert out.shape == (2, 20, 7, 9)


@pytest.mark.parametrize(("option", "value"), [("place", "logits"), ("form", "wide")])
def test_a_place_or_form_that_there_is_not(option, value):
    with pytest.raises(OwsegError, match=f"the {option} of a residual is"):
        residual_of(tiny.network(), **{option: value})


def test_asking_for_the_penultimate_channels_changes_no_batch_statistics():
    network = tiny.network().train()
    before = {n: b.clone() for n, b in network.named_buffers()}
    residual_of(network)
    assert network.decoder.training and all(torch.equal(b, before[n]) for n, b in network.named_buffers())


def test_it_starts_at_zero_or_as_he_et_al_do():
    torch.manual_seed(0)
    zero, kaiming = (ResidualPattern((8, 16, 24, 32), 200, width=128, start=start) for start in ("zero", "kaiming"))
    assert not zero.final.weight.any() and zero.config == kaiming.config  # what is stored is trained, however it began
    assert kaiming.final.weight.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.03)
    assert not kaiming.final.bias.any() and not zero.final.bias.any()
    with pytest.raises(OwsegError, match="start of a residual is zero or kaiming, not 'one'"):
        ResidualPattern((8, 16), 4, start="one")

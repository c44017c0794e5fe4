"""RPL's residual pattern: what it adds to a frozen network."""

import json

import pytest
import torch
import torch.nn.functional as F

from owseg.models.residual_pattern import ResidualPattern, residual_of
from tests.support import tiny


def output_of(network):
    torch.manual_seed(0)
    with torch.no_grad():
        return network(torch.rand(2, 3, 64, 96))


@pytest.mark.parametrize("classifier", ["prototype", "linear"])
def test_an_untrained_residual_changes_nothing(classifier):
    network = tiny.network(classifier=classifier)
    pattern, output = residual_of(network).eval(), output_of(network)
    with torch.no_grad():
        assert (pattern(output.features) == 0).all()
        assert torch.equal(pattern.added(network, output), output.evidence)


@pytest.mark.parametrize("skip", [0, 1, 2])
def test_the_residual_is_a_linear_map_of_the_pattern_on_the_grid_of_its_skip(skip):
    network = tiny.network()
    pattern, output = residual_of(network, skip=skip, width=8, rates=(1, 2), contrast=5).eval(), output_of(network)
    torch.nn.init.normal_(pattern.final.weight), torch.nn.init.normal_(pattern.final.bias)
    with torch.no_grad():
        maps, residual = pattern.pattern(output.features), pattern(output.features)
        assert maps.shape == (2, 8, *output.features[skip].shape[-2:])
        expected = torch.einsum("bchw,dc->bdhw", maps, pattern.final.weight[:, :, 0, 0])
        torch.testing.assert_close(residual, expected + pattern.final.bias.view(-1, 1, 1))
        full = F.interpolate(residual, size=output.embedding.shape[-2:], mode="bilinear")
        torch.testing.assert_close(pattern.added(network, output), network.classifier.evidence(output.embedding + full))
        directions = pattern.contrast(maps)
    assert directions.shape == (2, 5, *maps.shape[-2:])
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(2, *maps.shape[-2:]))


def test_a_residual_is_its_configuration_and_its_weights():
    network = tiny.network()
    first = residual_of(network, skip=2, width=8, rates=(1, 4), contrast=5).eval()
    second = residual_of(network, **json.loads(json.dumps(first.config))).eval()
    second.load_state_dict(first.state_dict())
    features = output_of(network).features
    with torch.no_grad():
        assert torch.equal(first.pattern(features), second.pattern(features))
    assert first.config == {"skip": 2, "width": 8, "rates": [1, 4], "contrast": 5}


def test_all_of_the_coarsest_map_and_the_map_at_skip_is_read_and_no_other():
    pattern = ResidualPattern((4, 6, 8), 3, width=8, contrast=4).eval()
    features = [torch.randn(1, c, s, s, requires_grad=True) for c, s in ((4, 16), (6, 8), (8, 4))]
    pattern.pattern(features).sum().backward()
    assert [f.grad is not None and bool(f.grad.any()) for f in features] == [False, True, True]

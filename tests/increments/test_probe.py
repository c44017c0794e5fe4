"""A linear probe predicts by its logit and those of its competitors."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from owseg.errors import OwsegError
from owseg.increments import INCREMENTS
from owseg.increments.probe import LinearProbe
from owseg.types import Output
from tests.support import tiny

SIZE = (48, 64)
CHANNELS = (3, 5)


def output(seed=0, batch=1):
    g = torch.Generator().manual_seed(seed)
    features = (torch.randn(batch, 3, 12, 16, generator=g), torch.randn(batch, 5, 6, 8, generator=g))
    return Output(features, torch.zeros(batch, 2, 12, 16), torch.zeros(batch, 2, 12, 16))


def probe(name, seed, level=0):
    g = torch.Generator().manual_seed(seed)
    return LinearProbe(name, torch.randn(1, 8, generator=g), 0.3 * torch.randn(1, generator=g), level)


def logits(increment, out):
    """The logits of the class and of its competitors, (1 + R, H, W) float64: interpolate the pyramid, join, project."""
    size = {"mode": "bilinear", "align_corners": False}
    grid = out.features[increment.level].shape[2:]
    x = torch.cat([F.interpolate(f.double(), size=grid, **size) for f in out.features], 1)
    coarse = torch.einsum("kc,bchw->bkhw", increment.weights.double(), x) + increment.biases.double().view(1, -1, 1, 1)
    return F.interpolate(coarse, size=SIZE, **size)[0]


@pytest.mark.parametrize("level", [0, 1])
def test_it_predicts_where_its_logit_is_positive_and_the_highest(level):
    rock, cow = probe("rock", 0, level), probe("cow", 1, level)
    both = rock.with_competitor(cow)
    out = output()
    own, other = logits(both, out)
    assert ((own > 0) & (other > own)).any()  # the competitor matters
    sure = ((own - other).abs() > 1e-4) & (own.abs() > 1e-4)
    assert torch.equal(both.predict_mask(out, SIZE)[0][sure], ((own > 0) & (own > other))[sure])
    assert torch.equal(rock.predict_mask(out, SIZE)[0][sure], (own > 0)[sure])
    assert not (both.predict_mask(out, SIZE) & cow.with_competitor(rock).predict_mask(out, SIZE)).any()


def test_each_image_of_a_batch_is_predicted_alone():
    rock, whole = probe("rock", 0), output(3, batch=2)
    mask = rock.predict_mask(whole, SIZE)
    assert mask.shape == (2, *SIZE) and mask.dtype == torch.bool and not torch.equal(mask[0], mask[1])
    for i in range(2):
        part = slice(i, i + 1)
        alone = Output(tuple(f[part] for f in whole.features), whole.embedding[part], whole.logits[part])
        assert torch.equal(rock.predict_mask(alone, SIZE), mask[part])


def test_labels_change_where_the_class_is_predicted_and_nowhere_else():
    rock, out = probe("rock", 0), output()
    labels = torch.arange(48 * 64).reshape(1, 48, 64) % 3
    mask, updated = rock.predict_mask(out, SIZE), rock.update_labels(labels, out, 7)
    assert mask.any() and (updated[mask] == 7).all() and torch.equal(updated[~mask], labels[~mask])


def test_a_competitor_is_added_to_a_copy():
    rock = probe("rock", 0)
    both = rock.with_competitor(probe("cow", 1).with_competitor(probe("dog", 2)))
    assert (len(rock.biases), len(both.biases)) == (1, 2)  # of the competitor its own weights alone
    assert torch.equal(both.weights[1:], probe("cow", 1).weights) and both.name == "rock"


def test_it_is_restored_from_what_is_stored():
    network = tiny.network()
    weights = torch.randn(2, sum(network.backbone.channels))
    made = LinearProbe("rock", weights, torch.randn(2), 1)
    again = INCREMENTS["probe"].make(made.to_json(), made.tensors(), network)
    assert (again.name, again.level) == ("rock", 1) and torch.equal(again.weights, weights)
    assert torch.equal(again.biases, made.biases)
    for level in (-1, 99, "1", True):
        with pytest.raises(OwsegError, match=r"the probe of 'rock' does not fit the backbone"):
            INCREMENTS["probe"].make({**made.to_json(), "level": level}, made.tensors(), network)
    narrow = replace(made, weights=weights[:, 1:])
    with pytest.raises(OwsegError, match=r"the probe of 'rock' does not fit the backbone"):
        INCREMENTS["probe"].make(narrow.to_json(), narrow.tensors(), network)


def test_comparing_two_does_not_raise():
    assert probe("rock", 0) != probe("rock", 0) and hash(probe("rock", 0))  # by identity: they hold tensors

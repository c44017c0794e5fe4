"""A decoder head predicts its last class, or labels every pixel alone."""

import pytest
import torch
import torch.nn.functional as F

from owseg.errors import OwsegError
from owseg.increments import INCREMENTS
from owseg.increments.head import Head, frozen
from owseg.models.assemble import make_classifier, make_decoder
from tests.support import tiny

SIZE = (48, 64)


@torch.no_grad()
def head(network, alone=False, classifier="linear"):
    """A head of random weights that predicts each of its four classes somewhere in the image of ``output``."""
    torch.manual_seed(3)
    classify = make_classifier(classifier, network.num_classes + 1, embedding=16)
    decoder = frozen(make_decoder("aspp", network.backbone, classify.embedding_channels, width=16))
    last = classify.conv if classifier == "linear" else decoder.head
    last.weight.mul_(20)
    maps = decoder(network.encode(image()))
    maps = classify(maps) if classifier == "linear" else maps
    last.bias.sub_(maps.mean((0, 2, 3)))
    return Head("rock", decoder, frozen(classify), alone)


def image():
    return torch.from_numpy(tiny.image()).float()[None] / 255


@pytest.fixture(scope="module")
def network():
    return tiny.network()


@pytest.fixture(scope="module")
def output(network):
    return network(image())


@pytest.mark.parametrize("classifier", ["linear", "prototype"])
def test_the_class_is_where_its_logit_is_the_highest(network, output, classifier):
    made = head(network, classifier=classifier)
    logits = made.classifier(made.decoder(output.features))
    expected = F.interpolate(logits, size=SIZE, mode="bilinear", align_corners=False).argmax(1)
    assert torch.equal(made.labels(output, SIZE), expected)
    assert torch.equal(made.predict_mask(output, SIZE), expected == 3)


@pytest.mark.parametrize("alone", [False, True])
def test_alone_it_labels_every_pixel(network, output, alone):
    made = head(network, alone)
    before = torch.full((1, *SIZE), 1)
    own, after = made.labels(output, SIZE), made.update_labels(before, output, 3)
    assert len(own.unique()) > 2 and (own == 3).any()
    assert torch.equal(after, own if alone else torch.where(own == 3, 3, before))


@pytest.mark.parametrize("classifier", ["linear", "prototype"])
@pytest.mark.parametrize("alone", [False, True])
def test_it_is_restored_from_what_is_stored(network, output, classifier, alone):
    made = head(network, alone, classifier)
    again = INCREMENTS["head"].make(made.to_json(), made.tensors(), network)
    assert (again.name, again.alone) == ("rock", alone)
    assert torch.equal(again.labels(output, SIZE), made.labels(output, SIZE))
    assert not any(p.requires_grad for m in (again.decoder, again.classifier) for p in m.parameters())
    assert not again.decoder.training


def test_weights_that_do_not_fit_end_in_one_sentence(network):
    made = head(network)
    tensors = dict(list(made.tensors().items())[1:])
    with pytest.raises(OwsegError, match=r"the head of 'rock' does not have its weights \(.*\)\.$"):
        INCREMENTS["head"].make(made.to_json(), tensors, network)


def test_comparing_two_does_not_raise(network):
    assert head(network) != head(network) and hash(head(network))

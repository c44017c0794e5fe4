"""Every published network of the registry, by the names that users give."""

import pytest
import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from owseg.data.datasets.cityscapes import CITYSCAPES
from owseg.errors import OwsegError
from owseg.models.hub import published
from owseg.models.published import NETWORKS
from tests.support import tiny
from tests.support.espnetv2 import stored_weights
from tests.support.light_networks import stored_dabnet, stored_fddwnet
from tests.support.registries import assert_cards_are_what_their_text_says


def segformer(place):
    config = SegformerConfig(
        **tiny.CONFIGS["segformer"], decoder_hidden_size=24, id2label={0: "road", 1: "sky", 2: "car"}
    )
    SegformerForSemanticSegmentation(config).save_pretrained(place)


# Name: what stores its weights, and the names of its classes.
ROWS = {
    "espnetv2-cityscapes": (stored_weights, CITYSCAPES.names),
    "espnetv2-cityscapes+background": (stored_weights, (*CITYSCAPES.names, "background")),
    "dabnet-cityscapes": (stored_dabnet, CITYSCAPES.names),
    "fddwnet-cityscapes": (stored_fddwnet, CITYSCAPES.names),
    "hf": (segformer, ("road", "sky", "car")),
}


def test_cards_are_what_their_text_says():
    assert_cards_are_what_their_text_says(NETWORKS)


def test_every_published_network_has_a_row():
    assert set(ROWS) == set(NETWORKS)


@pytest.mark.parametrize("name", ROWS)
def test_a_name_with_its_place_is_a_network_ready_for_inference_with_its_classes(name, tmp_path):
    store, classes = ROWS[name]
    store(tmp_path)
    network, labels = published(f"{name}:{tmp_path}")
    assert labels.names == classes and network.num_classes == len(classes)
    assert not any(m.training for m in network.modules())
    with torch.no_grad():
        assert network(torch.rand(1, 3, 64, 64)).logits.shape[:2] == (1, len(classes))


@pytest.mark.parametrize("name", sorted(set(ROWS) - {"hf"}))
def test_the_place_can_be_given_as_weights(name, tmp_path):
    ROWS[name][0](tmp_path)
    by_name, by_weights = published(f"{name}:{tmp_path}"), published(name, tmp_path)
    assert by_name[1] == by_weights[1]
    for a, b in zip(by_name[0].state_dict().values(), by_weights[0].state_dict().values(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(OwsegError, match="give their file as"):
        published(name)


@pytest.mark.parametrize("name", ["street", "my/knowledge:base", "", "hfx:y", "espnetv2"])
def test_another_name_is_none(name):
    assert published(name) is None


@pytest.mark.parametrize("name", NETWORKS)
def test_the_form_of_a_name_begins_with_it(name):
    assert NETWORKS.entries[name].facts["form"].startswith(f"{name}:")

"""A stored configuration of transformers makes the model that it was of, and nothing else."""

import json
import socket

import pytest
from transformers import CONFIG_MAPPING, AutoConfig, ResNetConfig, UperNetConfig

from owseg.errors import OwsegError
from owseg.models.backbones import FAMILIES
from owseg.models.backbones.configs import MOST_PARTS, check_bounds, config_of, model_types, stored_config
from owseg.models.published.mask_classifiers import HEADS
from owseg.models.published.transformers import PARTS

RESNET = config_of(ResNetConfig())
TYPES = sorted({kind for kind in model_types() if kind in CONFIG_MAPPING})


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Whatever a file says, nobody is asked."""

    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_every_type_that_owseg_builds_can_be_stored():
    transformers = {n for n, entry in FAMILIES.entries.items() if entry.module.rpartition(".")[2] not in OWN_FILES}
    assert {*PARTS, *HEADS, *(transformers - {"auto"})} <= set(TYPES)
    assert not [name for name in model_types() if "timm" in name]


OWN_FILES = ("published", "efficientnet_lite")
"""The files of families whose configurations are not of transformers."""


@pytest.mark.parametrize("kind", TYPES)
def test_a_configuration_comes_back_as_it_was(kind):
    values = json.loads(json.dumps(config_of(AutoConfig.for_model(kind))))
    assert json.loads(json.dumps(config_of(stored_config(values)))) == values


def test_what_owseg_adds_is_kept_and_what_nobody_knows_is_left_out():
    found = stored_config({**RESNET, "size_multiple": 32, "_num_labels": 3, "vapour": 1, "_attn_implementation": None})
    assert found.size_multiple == 32 and not hasattr(found, "vapour") and not hasattr(found, "_num_labels")


@pytest.mark.parametrize("change", [
    {"attn_implementation": "evil/kernel"}, {"_attn_implementation": "evil/kernel"}, {"dtype": "os.system"},
    {"_experts_implementation": "evil/kernel"}, {"use_timm_backbone": True}, {"use_pretrained_backbone": True},
    {"backbone": "evil/resnet"}, {"auto_map": {"AutoModel": "evil--m.M"}}, {"model_type": "timm_backbone"},
    {"model_type": "../../x"}, {"model_type": None}, {"model_type": ["resnet"]}, {"torch_dtype": "x"},
    {"kernel_config": {"x": "y/z"}}, {"depths": [3, 1000, 3, 3]}, {"hidden_sizes": [10**6]}, {"depths": [10**400]},
    {"embedding_size": float("nan")}, {"out_features": ["stage1"] * (MOST_PARTS + 1)},
])  # fmt: skip
@pytest.mark.parametrize("inside", [False, True])
def test_what_would_fetch_or_grow_is_refused_in_a_sentence(change, inside):
    values = {**RESNET, **change}
    if inside:
        values = {**config_of(UperNetConfig(backbone_config=ResNetConfig())), "backbone_config": values}
    with pytest.raises(OwsegError) as caught:
        stored_config(values)
    text = str(caught.value)
    assert next(iter(change)) in text and text.endswith(".") and len(text) < 300


def test_the_two_attentions_of_pytorch_and_every_name_of_a_class_may_be_there():
    labels = {"0": "building blocks", "1": "backbone", "2": "timm"}
    ids = {"building blocks": 10**6, "backbone": 1, "timm": 2}
    values = {**RESNET, "attn_implementation": "sdpa", "id2label": labels, "label2id": ids}
    assert stored_config(values).id2label == {0: "building blocks", 1: "backbone", 2: "timm"}


def test_a_configuration_inside_needs_a_type():
    values = {**config_of(UperNetConfig()), "backbone_config": {"out_features": ["stage1"]}}
    with pytest.raises(OwsegError, match="model_type 'None'"):
        stored_config(values)


def test_the_refused_key_is_named_with_its_place():
    with pytest.raises(OwsegError, match=r"network\.of\.depths is a number up to 128, not 129\."):
        check_bounds({"of": {"depths": [1, 129]}}, "network")
    check_bounds({"of": {"depths": [1, 128]}, "flag": True, "none": None, "width": 65536}, "network")

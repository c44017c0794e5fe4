"""Every family of backbones of the registry: pyramids, configurations, what is frozen, loading by path."""

import json

import pytest
import torch
from transformers import AutoBackbone, AutoConfig, BertConfig

from owseg.errors import OwsegError
from owseg.models.backbones import FAMILIES
from owseg.models.backbones.base import Backbone, build, family_of, from_pretrained
from owseg.models.backbones.configs import config_of
from owseg.models.backbones.family import IMAGENET
from owseg.models.published.dabnet import DABNetEncoder
from owseg.models.published.eomt import EomtEncoder
from owseg.models.published.espnetv2 import ESPNetV2Encoder
from owseg.models.published.fddwnet import FDDWNetEncoder
from owseg.models.published.resnet import ResNetEncoder
from owseg.models.published.wide_resnet import WideResNetEncoder
from tests.support import mask_models, tiny
from tests.support.registries import assert_cards_are_what_their_text_says


def espnetv2():
    torch.manual_seed(0)
    return Backbone(ESPNetV2Encoder(0.5))


def eomt():
    return Backbone(EomtEncoder(mask_models.eomt()))


FIRST_STAGE = ("embeddings.", "encoder.stages.0.")
FIRST_BLOCKS = ("embeddings.", "encoder.layer.0.", "encoder.layer.1.")

# Family: a backbone of it, its strides, and what its layers are called up to the end of the first stage.
ROWS = {
    "mobilenet_v2": (lambda: tiny.backbone("mobilenet_v2"), (4, 8, 16, 16, 16), ("conv_stem.", "layer.0.", "layer.1.")),
    "segformer": (lambda: tiny.backbone("segformer"), (4, 8, 16, 32), ()),
    "efficientnet_lite": (
        lambda: tiny.backbone("efficientnet_lite"),
        (4, 8, 16, 16, 32, 32),
        ("stem.", "blocks.0.", "blocks.1."),
    ),
    "espnetv2": (espnetv2, (2, 4, 8, 16), ()),
    "dabnet": (lambda: Backbone(DABNetEncoder()), (2, 4, 8), ()),
    "fddwnet": (lambda: Backbone(FDDWNetEncoder()), (2, 4, 8, 8), ()),
    "dilated_resnet": (
        lambda: Backbone(ResNetEncoder((1, 2, 1, 2), 2, 8, deep_stem=True)),
        (4, 8, 8, 8),
        ("stem.", "layer1."),
    ),
    "wide_resnet": (lambda: Backbone(WideResNetEncoder((1, 1, 2, 1, 1, 1), 2)), (2, 4, 8, 8), ("mod1.", "mod2.")),
    "eomt": (eomt, (4, 8, 16, 32), ()),
    "auto": (lambda: tiny.backbone("resnet"), (4, 8, 16, 32), ("embedder.", "encoder.stages.0.")),
    "convnext": (lambda: tiny.backbone("convnext"), (4, 8, 16, 32), FIRST_STAGE),
    "convnextv2": (lambda: tiny.backbone("convnextv2"), (4, 8, 16, 32), FIRST_STAGE),
    "dinov3_convnext": (lambda: tiny.backbone("dinov3_convnext"), (4, 8, 16, 32), ("model.stages.0.",)),
    "swin": (lambda: tiny.backbone("swin"), (4, 8, 16, 32), ("swin.embeddings.", "swin.encoder.layers.0.blocks.")),
    "swinv2": (lambda: tiny.backbone("swinv2"), (4, 8, 16, 32), ("embeddings.", "encoder.layers.0.blocks.")),
    "hiera": (lambda: tiny.backbone("hiera"), (4, 8, 16, 32), FIRST_STAGE),
    # Of six blocks the second is the first whose map is taken.
    "dinov2": (lambda: tiny.backbone("dinov2"), (4, 8, 16, 32), FIRST_BLOCKS),
    "dinov2_with_registers": (lambda: tiny.backbone("dinov2_with_registers"), (4, 8, 16, 32), FIRST_BLOCKS),
    "dinov3_vit": (
        lambda: tiny.backbone("dinov3_vit"),
        (4, 8, 16, 32),
        ("embeddings.", "model.layer.0.", "model.layer.1."),
    ),
}

# Mean and standard deviation, where they are not ImageNet's.
USUAL = {"mobilenet_v2": ((0.5,) * 3, (0.5,) * 3), "efficientnet_lite": ((127 / 255,) * 3, (128 / 255,) * 3)}


def test_cards_are_what_their_text_says():
    assert_cards_are_what_their_text_says(FAMILIES)


def test_every_family_has_a_row():
    assert set(ROWS) == set(FAMILIES)


@pytest.mark.parametrize("name", ROWS)
def test_a_pyramid_has_the_channels_and_strides_that_it_states(name):
    make, strides, _ = ROWS[name]
    backbone = make().eval()
    assert backbone.strides == strides
    with torch.no_grad():
        maps = backbone(torch.rand(2, 3, 96, 128))
    assert [m.shape[1] for m in maps] == list(backbone.channels)
    assert [(m.shape[0], *m.shape[2:]) for m in maps] == [(2, 96 // s, 128 // s) for s in strides]


@pytest.mark.parametrize("name", ROWS)
def test_a_backbone_is_its_configuration_and_its_weights(name):
    first = ROWS[name][0]().eval()
    config = json.loads(json.dumps(first.config))
    assert "_name_or_path" not in json.dumps(config)
    second = build(config).eval()
    second.load_state_dict(first.state_dict())
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(first(image), second(image), strict=True))
    assert (second.kind, second.channels, second.strides) == (first.kind, first.channels, first.strides)


@pytest.mark.parametrize("name", ROWS)
def test_the_input_is_normalised_by_mean_and_deviation(name):
    backbone = ROWS[name][0]().eval()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    other = Backbone(backbone.model, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = backbone.family.features(backbone.model, (image - mean) / std)
        assert all(torch.equal(a, b) for a, b in zip(other(image), expected, strict=True))
    assert torch.tensor(other.config["mean"]).tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert torch.tensor(other.config["std"]).tolist() == pytest.approx([0.4, 0.5, 0.6])
    own = Backbone(backbone.model)
    assert own.mean.flatten().tolist() == pytest.approx(backbone.family.mean)
    assert own.std.flatten().tolist() == pytest.approx(backbone.family.std)
    assert (backbone.family.mean, backbone.family.std) == USUAL.get(name, IMAGENET)


@pytest.mark.parametrize("name", ROWS)
def test_a_frozen_stem_is_neither_trained_nor_normalised_by_the_batch(name):
    make, _, stem = ROWS[name]
    backbone = make().train()
    backbone.freeze_stem()
    before = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    frozen = {n for n, p in backbone.model.named_parameters() if not p.requires_grad}
    assert frozen == {n for n, _ in backbone.model.named_parameters() if stem and n.startswith(stem)}
    backbone(torch.rand(2, 3, 64, 64))
    moved = {n for n, v in backbone.model.state_dict().items() if not torch.equal(v, before[n])}
    assert not any(n.startswith(stem) for n in moved if stem)
    backbone.eval().train()
    assert not stem or not any(m.training for part in backbone.family.stem(backbone.model) for m in part.modules())
    assert backbone.model.training


def test_every_other_type_is_of_the_family_auto():
    assert type(family_of("resnet")) is type(family_of("auto")) is type(family_of("swin"))
    assert type(family_of("segformer")) is not type(family_of("auto"))


def test_the_output_stride_of_mobilenet_v2_is_an_option(tmp_path):
    tiny.backbone("mobilenet_v2").model.save_pretrained(tmp_path / "net")
    for stride in (8, 16, 32):
        assert from_pretrained(str(tmp_path / "net"), stride).strides[-1] == stride
    assert from_pretrained(str(tmp_path / "net")).strides[-1] == 16


@pytest.mark.parametrize("kind", ["segformer", "resnet"])
def test_a_saved_backbone_loads_by_path(kind, tmp_path):
    made = tiny.backbone(kind)
    made.model.save_pretrained(tmp_path / "net")
    loaded = from_pretrained(str(tmp_path / "net")).eval()
    image = torch.rand(1, 3, 64, 64)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in IMAGENET)
    with torch.no_grad():
        expected = made.family.features(made.model.eval(), (image - mean) / std)
        assert all(torch.equal(a, b) for a, b in zip(loaded(image), expected, strict=True))


def test_a_folder_of_transformers_is_one_whatever_else_is_in_it(tmp_path, monkeypatch):
    tiny.backbone("resnet").model.save_pretrained(tmp_path / "efficientnet-lite0")
    (tmp_path / "efficientnet-lite0" / "efficientnet-lite0-x.pth").touch()
    assert from_pretrained(str(tmp_path / "efficientnet-lite0")).kind == "resnet"
    monkeypatch.chdir(tmp_path)
    assert from_pretrained("efficientnet-lite0").kind == "resnet"


def test_of_many_stages_four_evenly_spaced_ones_are_taken(tmp_path):
    options = {**tiny.VIT, "num_hidden_layers": 12, "intermediate_size": 32, "image_size": 224}
    AutoBackbone.from_config(AutoConfig.for_model("beit", **options)).save_pretrained(tmp_path / "beit")
    loaded = from_pretrained(str(tmp_path / "beit"))
    assert loaded.model.config.out_features == ["stage3", "stage6", "stage9", "stage12"]
    assert len(loaded.channels) == 4


def test_a_configuration_has_no_path():
    model = tiny.backbone("resnet").model
    model.config._name_or_path = "/somewhere"
    assert "/somewhere" not in json.dumps(config_of(model.config))


def test_what_cannot_be_loaded_is_named_with_what_to_do(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(OwsegError, match=r"the folder needs config.json and model.safetensors"):
        from_pretrained(str(tmp_path / "empty"))
    with pytest.raises(OwsegError, match=r"give a local path when offline"):
        from_pretrained("no-such-owner/no-such-net")
    BertConfig().save_pretrained(tmp_path / "bert")
    with pytest.raises(OwsegError, match=r"cannot be loaded \(a bert is not a backbone\)"):
        from_pretrained(str(tmp_path / "bert"))
    with pytest.raises(OwsegError, match="espnetv2 is loaded as a whole network, espnetv2-cityscapes:FILE"):
        FAMILIES["espnetv2"].make().from_pretrained("x", None, 16)


def test_an_architecture_is_run_once_and_another_for_itself(monkeypatch):
    runs, real = [], Backbone._shapes
    monkeypatch.setattr(Backbone, "_shapes", lambda self: runs.append(self) or real(self))
    monkeypatch.setattr("owseg.models.backbones.base._SHAPES", {})
    first, second = Backbone(ESPNetV2Encoder(0.5)), Backbone(ESPNetV2Encoder(1.0))
    again = build(first.config)
    assert runs == [first, second] and (again.channels, again.strides) == (first.channels, first.strides)
    assert first.channels != second.channels

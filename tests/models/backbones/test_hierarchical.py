"""Hierarchical networks of transformers: the maps are the stages of the plain model, for every size of image."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

from owseg.errors import OwsegError
from owseg.knowledge.load import load as load_kb
from owseg.models.backbones.base import build, from_pretrained
from owseg.models.backbones.family import IMAGENET
from owseg.models.backbones.hiera import window_order
from tests.reference import pyramids
from tests.support import tiny

SIZES = ((64, 96), (75, 101), (48, 33), (7, 20))
NORMED = ("swin", "convnextv2", "hiera")
"""Kinds whose ``AutoBackbone`` has a layer norm after each stage."""


def swin_stages(model, image):
    options = {"output_hidden_states": True, "output_hidden_states_before_downsampling": True}
    return model(image, always_partition=True, **options).reshaped_hidden_states[1:]


def swinv2_stages(model, image):
    tokens, grid = model.embeddings(image)
    output = model.encoder(tokens, grid, output_hidden_states=True, output_hidden_states_before_downsampling=True)
    return output.reshaped_hidden_states[1:]


def convnext_stages(model, image):
    return model(image, output_hidden_states=True).hidden_states[1:]


def hiera_stages(model, image):
    """A model for images of this size, whose position embeddings are those of the given one, interpolated."""
    options = {**tiny.CONFIGS["hiera"], "image_size": list(image.shape[-2:])}
    made, state = AutoModel.from_config(AutoConfig.for_model("hiera", **options)).eval(), model.state_dict()
    key, grid = "embeddings.position_embeddings", [n // 4 for n in image.shape[-2:]]
    square = state[key].reshape(1, 16, 16, -1).permute(0, 3, 1, 2)
    positions = torch.nn.functional.interpolate(square, size=grid, mode="bicubic", align_corners=False)
    made.load_state_dict({**state, key: positions.flatten(2).transpose(1, 2)})
    maps = made(image, output_hidden_states=True).reshaped_hidden_states[1:]
    return [m.permute(0, 3, 1, 2) for m in maps]


def values(norm):
    return norm.weight.detach().double().numpy(), norm.bias.detach().double().numpy()


STAGES = {
    "swin": swin_stages,
    "swinv2": swinv2_stages,
    "convnext": convnext_stages,
    "convnextv2": convnext_stages,
    "dinov3_convnext": convnext_stages,
    "hiera": hiera_stages,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Each kind's plain model, with random values everywhere, and the folder that it is stored in."""
    made = {}
    for kind in STAGES:
        torch.manual_seed(0)
        model = AutoModel.from_config(AutoConfig.for_model(kind, **tiny.CONFIGS[kind])).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        made[kind] = model, tmp_path_factory.mktemp(kind)
        model.config.out_features, model.config.size_multiple = None, None
        model.save_pretrained(made[kind][1])
    return made


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", STAGES)
def test_the_pyramid_is_of_the_stages_of_the_model(models, kind, size):
    model, folder = models[kind]
    backbone = from_pretrained(str(folder)).eval()
    assert (backbone.kind, backbone.strides) == (kind, (4, 8, 16, 32))
    image = np.random.default_rng(0).random((2, 3, *size), np.float32)
    mean, std = (np.reshape(v, (3, 1, 1)) for v in IMAGENET)
    with torch.no_grad():
        found = [m.numpy() for m in backbone(torch.from_numpy(image))]
        fitted = torch.from_numpy(pyramids.fitted((image - mean) / std, 32)).float()
        stages = [m.double().numpy() for m in STAGES[kind](model, fitted)]
    norms = getattr(backbone.model, "hidden_states_norms", None)
    assert (norms is not None) is (kind in (*NORMED, "convnext"))
    if norms is not None:
        stages = [
            pyramids.layer_norm(m.transpose(0, 2, 3, 1), *values(n), n.eps).transpose(0, 3, 1, 2)
            for m, n in zip(stages, norms.values(), strict=True)
        ]
    for got, want in zip(found, pyramids.at_strides(stages, size), strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, atol=1e-3 * np.abs(want).max())


@pytest.mark.parametrize("kind", STAGES)
def test_a_configuration_makes_the_same_pyramid_again(models, kind):
    first = from_pretrained(str(models[kind][1])).eval()
    config = json.loads(json.dumps(first.config))
    second = build(config).eval()
    assert (second.strides, second.channels) == (first.strides, first.channels)
    second.load_state_dict(first.state_dict())
    image = torch.rand(1, 3, 50, 40)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(first(image), second(image), strict=True))


def test_without_a_multiple_the_maps_are_those_of_transformers():
    """So are knowledge bases of 0.1.0 and the bodies of UperNet."""
    backbone = tiny.backbone("convnext").eval()
    assert "size_multiple" not in backbone.config["config"]
    image = torch.rand(1, 3, 50, 67)
    with torch.no_grad():
        maps = backbone(image)
        expected = backbone.model((image - 0.5) / 0.5).feature_maps
    assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=True))
    assert maps[-1].shape[-2:] == (1, 2)


def test_the_multiple_is_the_largest_stride(tmp_path):
    options = {**tiny.CONFIGS["swin"], "patch_size": 2, "image_size": 32, "size_multiple": None}
    AutoModel.from_config(AutoConfig.for_model("swin", **options)).save_pretrained(tmp_path / "swin")
    backbone = from_pretrained(str(tmp_path / "swin")).eval()
    assert (backbone.strides, backbone.config["config"]["size_multiple"]) == ((2, 4, 8, 16), 16)
    with torch.no_grad():
        assert [m.shape[-2:] for m in backbone(torch.rand(1, 3, 25, 48))] == [(13, 24), (7, 12), (4, 6), (2, 3)]


def test_the_order_of_hiera_is_that_of_its_windows():
    """On 4x4 cells, halved twice: the four cells of each quarter are four apart, so a maximum over 4 pools them."""
    order = window_order((4, 4), (2, 2), 2).tolist()
    assert order == [0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 12, 14, 5, 7, 13, 15]
    assert window_order((2, 3), (2, 2), 0).tolist() == list(range(6))


def test_weights_of_16_bits_are_used_in_32(models, tmp_path):
    model, folder = models["convnextv2"]
    AutoModel.from_pretrained(folder, dtype=torch.float16).save_pretrained(tmp_path / "half")
    loaded = from_pretrained(str(tmp_path / "half"))
    again = build(json.loads(json.dumps(loaded.config)))
    assert {p.dtype for net in (loaded, again) for p in net.parameters()} == {torch.float32}
    key = "encoder.stages.0.layers.0.pwconv1.weight"
    assert torch.equal(loaded.model.state_dict()[key], model.state_dict()[key].half().float())


def test_missing_weights_are_not_made_up(models, tmp_path):
    _, folder = models["hiera"]
    (tmp_path / "net").mkdir()
    state = load_file(folder / "model.safetensors")
    del state["encoder.stages.1.layers.0.mlp.fc1.weight"]
    save_file(state, tmp_path / "net" / "model.safetensors", {"format": "pt"})
    (tmp_path / "net" / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(OwsegError, match=r"1 of its tensors are missing, such as encoder.stages.1.layers.0.mlp.fc1"):
        from_pretrained(str(tmp_path / "net"))


@pytest.mark.parametrize("kind", ["swin", "hiera"])
def test_a_knowledge_base_is_stored_and_loaded(kind, tmp_path):
    kb = tiny.calibrated(kind=kind)
    kb.save(tmp_path / "kb")
    loaded, image = load_kb(str(tmp_path / "kb")), tiny.image(5, (56, 88))
    first, second = kb.predict(image), loaded.predict(image)
    assert np.array_equal(first.labels, second.labels) and np.array_equal(first.score, second.score)

"""Plain vision transformers: the maps are those of four blocks, resized, for every size of image."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoBackbone, AutoConfig, AutoModel

from owseg.errors import OwsegError
from owseg.knowledge.load import load as load_kb
from owseg.models.backbones.base import build, from_pretrained
from owseg.models.backbones.family import IMAGENET
from tests.reference import pyramids
from tests.support import tiny

KINDS = ("dinov2", "dinov2_with_registers", "dinov3_vit")
SIZES = ((64, 96), (75, 101), (45, 33), (112, 56), (9, 20))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Each kind's plain model, with random values everywhere, and the folder that it is stored in."""
    made = {}
    for kind in KINDS:
        torch.manual_seed(0)
        model = AutoModel.from_config(AutoConfig.for_model(kind, **tiny.CONFIGS[kind])).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        made[kind] = model, tmp_path_factory.mktemp(kind)
        model.save_pretrained(made[kind][1])
    return made


def expected(model, image, left_out):
    """The pyramid of images in [0, 1] (B, 3, H, W) by the hidden states of the plain model."""
    mean, std = (np.reshape(v, (3, 1, 1)) for v in IMAGENET)
    patch, norm = model.config.patch_size, getattr(model, "norm", None) or model.layernorm
    image = pyramids.fitted((image - mean) / std, patch)
    with torch.no_grad():
        states = model(torch.from_numpy(image).float(), output_hidden_states=True).hidden_states
    grid = (image.shape[-2] // patch, image.shape[-1] // patch)
    maps = []
    for block in (2, 3, 4, 6):  # of six; half of 1.5 and 4.5 goes to the even one
        weights = (v.detach().double().numpy() for v in (norm.weight, norm.bias))
        tokens = pyramids.layer_norm(states[block].double().numpy(), *weights, norm.eps)
        maps.append(pyramids.patches(tokens, grid, left_out))
    return maps


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_pyramid_is_of_four_blocks_of_the_model(models, kind, size):
    model, folder = models[kind]
    backbone = from_pretrained(str(folder)).eval()
    assert (backbone.kind, backbone.strides, backbone.channels) == (kind, (4, 8, 16, 32), (16,) * 4)
    image = np.random.default_rng(0).random((2, 3, *size), np.float32)
    with torch.no_grad():
        found = [m.numpy() for m in backbone(torch.from_numpy(image))]
    registers = getattr(model.config, "num_register_tokens", 0)
    assert registers == (0 if kind == "dinov2" else 3)
    right = pyramids.at_strides(expected(model, image, 1 + registers), size)
    for got, want in zip(found, right, strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, atol=2e-4)
    # With registers, or the class, in place of patches the maps are others: the comparison would notice.
    wrong = pyramids.at_strides(expected(model, image, registers), size)
    assert max(np.abs(a - b).max() for a, b in zip(found, wrong, strict=True)) > 0.1


def test_the_grid_of_patches_covers_exactly_the_image(models):
    """An image is not shifted: what differs in one corner differs there in every map, up to the edge."""
    model = from_pretrained(str(models["dinov3_vit"][1])).eval()
    for block in model.model.model.layer:  # without attention a patch knows of itself only
        torch.nn.init.zeros_(block.attention.o_proj.weight)
        torch.nn.init.zeros_(block.attention.o_proj.bias)
    image = torch.rand(1, 3, 70, 106)
    other = image.clone()
    other[..., -4:, -4:] = 1 - other[..., -4:, -4:]
    with torch.no_grad():
        pairs = zip(model(image), model(other), strict=True)
        changed = [(a != b).any(1)[0] for a, b in pairs]
    for stride, where in zip((4, 8, 16, 32), changed, strict=True):
        rows, columns = (torch.nonzero(where.any(1 - axis)).flatten() for axis in (0, 1))
        assert where[-1, -1] and len(rows) and len(columns)
        # A patch of 16, and the one beside it by interpolation of the map.
        assert len(rows) <= 32 // stride + 1 and len(columns) <= 32 // stride + 1


def test_a_configuration_makes_the_same_pyramid_again(models):
    first = from_pretrained(str(models["dinov2_with_registers"][1])).eval()
    config = json.loads(json.dumps(first.config))
    second = build(config).eval()
    assert (second.strides, second.channels) == ((4, 8, 16, 32), (16,) * 4)
    second.load_state_dict(first.state_dict())
    image = torch.rand(1, 3, 50, 40)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(first(image), second(image), strict=True))


def test_what_a_configuration_turns_off_is_on_in_a_pyramid(models):
    folder = models["dinov2"][1]
    other = AutoModel.from_pretrained(folder)
    other.config.update({"apply_layernorm": False, "reshape_hidden_states": False, "out_features": ["stage6"]})
    other.save_pretrained(folder / "other")
    first, second = (from_pretrained(str(f)).eval() for f in (folder, folder / "other"))
    image = torch.rand(1, 3, 56, 56)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(first(image), second(image), strict=True))


def test_maps_of_a_knowledge_base_of_0_1_0_stay_on_the_grid_of_patches():
    """Such a one names its stages and no strides; its decoder was made for maps of one size."""
    options = {**tiny.CONFIGS["dinov2"], "out_features": ["stage2", "stage3", "stage4", "stage6"]}
    config = {"config": {"model_type": "dinov2", **options}, "mean": [0.5] * 3, "std": [0.5] * 3}
    backbone = build(config).eval()
    assert backbone.strides == (14,) * 4
    plain = AutoBackbone.from_config(AutoConfig.for_model("dinov2", **options)).eval()
    plain.load_state_dict(backbone.model.state_dict())
    image = torch.rand(1, 3, 60, 80)
    with torch.no_grad():
        pairs = zip(backbone(image), plain((image - 0.5) / 0.5).feature_maps, strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert build(json.loads(json.dumps(backbone.config))).strides == (14,) * 4


def test_a_model_of_three_blocks_has_no_pyramid(tmp_path):
    options = {**tiny.CONFIGS["dinov2"], "num_hidden_layers": 3}
    AutoModel.from_config(AutoConfig.for_model("dinov2", **options)).save_pretrained(tmp_path / "vit")
    with pytest.raises(OwsegError, match="a pyramid needs 4 blocks or more, and this model has 3"):
        from_pretrained(str(tmp_path / "vit"))


def test_a_frozen_stem_has_no_jittered_positions(models):
    """DINOv3 rescales its coordinates at random while it is trained."""
    backbone = from_pretrained(str(models["dinov3_vit"][1])).train()
    image = torch.rand(1, 3, 64, 64)

    def maps():
        with torch.no_grad():
            return backbone(image)

    assert not torch.equal(maps()[0], maps()[0])
    backbone.freeze_stem()
    assert torch.equal(maps()[0], maps()[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_knowledge_base_is_stored_and_loaded(kind, tmp_path):
    kb = tiny.calibrated(kind=kind)
    assert [tuple(c.shape) for c in kb.network.decoder.lateral.parameters() if c.ndim == 4] == [(48, 16, 1, 1)] * 3
    kb.save(tmp_path / "kb")
    loaded, image = load_kb(str(tmp_path / "kb")), tiny.image(5, (56, 88))
    first, second = kb.predict(image), loaded.predict(image)
    assert np.array_equal(first.labels, second.labels) and np.array_equal(first.score, second.score)
    assert loaded.network.backbone.strides == (4, 8, 16, 32)

"""The encoders of the papers' networks from files of ImageNet weights, against their equations in float64."""

import os
import re
from functools import partial

import pytest
import torch
from safetensors.torch import save_file

from owseg.errors import OwsegError
from owseg.knowledge.load import load
from owseg.models.backbones.base import from_pretrained
from owseg.models.published import resnet, wide_resnet
from owseg.models.published.resnet import ResNetEncoder
from owseg.models.published.wide_resnet import WideResNetEncoder
from tests.reference import paper_networks as reference
from tests.support.published_files import imagenet_file

MEAN, STD = (torch.tensor(v).double().view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
BLOCKS, WIDE_BLOCKS = (1, 2, 1, 2), (1, 1, 2, 1, 1, 1)

# Name: the layout of its file, its blocks, its equations, its strides.
SMALL = {
    "dilated-resnet-deep": ("deep", BLOCKS, reference.deep_resnet, (4, 8, 8, 8)),
    "dilated-resnet-plain": ("plain", BLOCKS, reference.plain_resnet, (4, 8, 16, 16)),
    "wide-resnet-small": ("wide", WIDE_BLOCKS, reference.wide_resnet, (2, 4, 8, 8)),
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Variants of few channels beside the published ones."""
    monkeypatch.setitem(resnet.VARIANTS, "dilated-resnet-deep", partial(ResNetEncoder, BLOCKS, 2, 8, deep_stem=True))
    monkeypatch.setitem(resnet.VARIANTS, "dilated-resnet-plain", partial(ResNetEncoder, BLOCKS, 2, 16))
    monkeypatch.setitem(wide_resnet.VARIANTS, "wide-resnet-small", partial(WideResNetEncoder, WIDE_BLOCKS, 2))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("name", SMALL)
def test_an_encoder_computes_its_equations_with_the_weights_of_its_file(name, suffix, tmp_path):
    kind, blocks, equations, strides = SMALL[name]
    path = tmp_path / f"weights.{suffix}"
    state = imagenet_file(path, kind, blocks)
    backbone = from_pretrained(f"{name}:{path}")
    assert backbone.strides == strides
    image = torch.rand(2, 3, 72, 96, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    with torch.no_grad():
        maps = backbone.eval().double()(image)
    for found, expected in zip(maps, equations(state, (image - MEAN) / STD), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_the_names_are_those_of_the_published_encoders():
    with torch.device("meta"):
        options = {name: make().options for name, make in (resnet.VARIANTS | wide_resnet.VARIANTS).items()}
    assert set(options) - set(SMALL) == {"dilated-resnet50", "dilated-resnet101", "wide-resnet38"}
    assert options["dilated-resnet50"] == {"blocks": [3, 4, 6, 3], "width": 64, "output_stride": 8, "deep_stem": True}
    assert options["dilated-resnet101"] == {
        "blocks": [3, 4, 23, 3], "width": 64, "output_stride": 16, "deep_stem": False,
    }  # fmt: skip
    assert options["wide-resnet38"] == {"blocks": [3, 3, 6, 3, 1, 1], "width": 64}


WEIGHT = torch.zeros(2, 2, 1, 1)


@pytest.mark.parametrize(("name", "tensor", "value", "why"), [
    ("dilated-resnet-deep", "conv3.weight", None, "conv3.weight is missing"),
    ("dilated-resnet-deep", "bn2.running_var", None, "bn2.running_var is missing"),
    ("dilated-resnet-plain", "layer4.1.bn3.bias", None, "layer4.1.bn3.bias is missing"),
    ("dilated-resnet-plain", "layer3.1.conv1.weight", WEIGHT, "layer3.1.conv1.weight is left over"),
    ("dilated-resnet-plain", "classifier.weight", WEIGHT, "classifier.weight is left over"),
    ("dilated-resnet-plain", "conv1.weight", WEIGHT, "conv1.weight is 2x2x1x1, not 2x3x7x7"),
    ("wide-resnet-small", "mod7.block1.convs.bn3.0.weight", None, "mod7.block1.convs.bn3.0.weight is missing"),
    ("wide-resnet-small", "mod8.conv1.weight", WEIGHT, "mod8.conv1.weight is left over"),
    ("wide-resnet-small", "mod1.conv1.weight", torch.full((2, 3, 3, 3), torch.nan),
     "mod1.conv1.weight holds NaN or infinite values"),
])  # fmt: skip
def test_a_tensor_that_does_not_fit_is_named(name, tensor, value, why, tmp_path):
    kind, blocks, *_ = SMALL[name]
    path = tmp_path / "weights.pth"
    state = {n: t for n, t in imagenet_file(path, kind, blocks).items() if n != tensor}
    torch.save(state if value is None else {**state, tensor: value}, path)
    with pytest.raises(OwsegError, match=re.escape(f"{path} does not hold the weights of {name} ({why}).")):
        from_pretrained(f"{name}:{path}")


def test_a_file_of_another_variant_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    imagenet_file(path, "deep", BLOCKS)
    with pytest.raises(OwsegError, match=r"dilated-resnet-plain \(conv1.weight is 2x3x3x3, not 2x3x7x7\)"):
        from_pretrained(f"dilated-resnet-plain:{path}")
    imagenet_file(path, "plain", BLOCKS)
    with pytest.raises(OwsegError, match=r"wide-resnet-small \(mod1.conv1.weight is missing\)"):
        from_pretrained(f"wide-resnet-small:{path}")


class Code:
    """Unpickled, it would make a folder."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def test_files_that_ask_for_code_or_are_none(tmp_path):
    torch.save({"state_dict": {"conv1.weight": WEIGHT}, "more": Code(tmp_path / "made")}, tmp_path / "bad.pth")
    (tmp_path / "bad.safetensors").write_bytes((tmp_path / "bad.pth").read_bytes())
    save_file({"a": WEIGHT}, tmp_path / "other.safetensors")
    for name, why in (
        ("bad.pth", r"bad.pth asks for code \(.*mkdir\) and was not opened"),
        ("bad.safetensors", r"bad.safetensors is no file of safetensors \(.*\)\.$"),
        ("other.safetensors", r"conv1.weight is missing"),
        ("none.pth", r"none.pth cannot be read \(no such file"),
        ("none.safetensors", r"none.safetensors cannot be read \(no such file"),
    ):
        with pytest.raises(OwsegError, match=why):
            from_pretrained(f"dilated-resnet101:{tmp_path / name}")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(("name", "why"), [
    ("dilated-resnet101", "the weights of dilated-resnet101 do not come with owseg; give their file as "
     "dilated-resnet101:FILE."),
    ("dilated-resnet18:x", r"no backbone 'dilated-resnet18:x'; give dilated-resnet50:FILE or dilated-resnet101:FILE"),
    ("wide-resnet50:x", r"no backbone 'wide-resnet50:x'; give wide-resnet38:FILE"),
])  # fmt: skip
def test_a_name_without_a_file_and_another_name(name, why):
    with pytest.raises(OwsegError, match=why):
        from_pretrained(name)


def test_a_network_is_trained_from_the_weights_of_a_file(run_cli, own_data, tmp_path):
    """With the decoder of the paper; the frozen encoder stays that of the file, and the tuned one moves."""
    path = tmp_path / "weights.pth"
    state = imagenet_file(path, "deep", BLOCKS)
    options = ("--data", own_data, "--backbone", f"dilated-resnet-deep:{path}", "--decoder", "pspnet", "--width", 8)
    for mode in ("frozen", "tuned"):
        place = tmp_path / mode
        few = ("--epochs", 1, "--batch", 2, "--crop", "32x32", "--members", 1, "--mode", mode)
        code, _, err = run_cli("train", place, *options, *few)
        assert code == 0, err
        kb = load(place)
        assert (kb.network.backbone.kind, kb.network.decoder.kind) == ("dilated_resnet", "pspnet")
        weights = kb.network.backbone.model.state_dict()
        same = {name: torch.equal(value, weights[name]) for name, value in state.items() if name in weights}
        assert same["layer1.0.conv1.weight"]  # the first stage is not trained in either mode
        assert same["layer4.1.conv1.weight"] is (mode == "frozen")
        assert str(tmp_path) not in (place / "0001" / "knowledge.json").read_text()

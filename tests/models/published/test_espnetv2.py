import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from owseg.data.datasets.cityscapes import CITYSCAPES
from owseg.errors import OwsegError
from owseg.knowledge.load import load
from owseg.labels import IGNORE, UNKNOWN
from owseg.metrics.pixel import Exact
from owseg.models.assemble import build_network
from owseg.models.published.espnetv2 import EESP, ESPNetV2Encoder, espnetv2
from tests.support.espnetv2 import stored_weights


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_published_weights_compute_what_their_parts_do(tmp_path, scale):
    encoder, decoder, last = stored_weights(tmp_path, scale)
    image = torch.rand(1, 3, 90, 130)
    network = espnetv2(tmp_path)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        maps = encoder((image - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1))
        expected = last(decoder(maps))[:, :19]
        assert torch.allclose(network(image).logits, expected, atol=1e-5)
        again = build_network(network.config).eval()
        again.load_state_dict(network.state_dict())
        assert torch.equal(again(image).logits, network(image).logits)
    assert [m.shape[-1] for m in maps] == [65, 33, 17, 9] and expected.shape[-2:] == (45, 65)


def test_a_unit_adds_its_branches_up_before_it_joins_them():
    """Mehta et al. (2019), Fig. 1: hierarchical feature fusion of dilations 1 to 4, of receptive fields to 9."""
    torch.manual_seed(0)
    unit, x = EESP(16, 16, 9).eval(), torch.randn(1, 16, 12, 14)
    for norm in (m for m in unit.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.normal_(norm.running_mean)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)
    with torch.no_grad():
        low = unit.proj_1x1(x)
        maps = [F.conv2d(low, b.conv.weight, padding=d, dilation=d, groups=4) for d, b in enumerate(unit.spp_dw, 1)]
        joined = torch.stack(maps).cumsum(0).movedim(0, 1).flatten(1, 2)
        expected = unit.module_act(unit.conv_1x1_exp(unit.br_after_cat(joined)) + x)
        assert torch.allclose(unit(x), expected, atol=1e-6)


def test_a_published_network_is_a_knowledge_base(tmp_path):
    stored_weights(tmp_path)
    for kb in (load("espnetv2-cityscapes", weights=tmp_path), load(f"espnetv2-cityscapes:{tmp_path}")):
        assert kb.labels == CITYSCAPES and kb.network.num_classes == 19
    kb.save(tmp_path / "kb")
    image = np.random.default_rng(0).integers(0, 256, (3, 64, 96)).astype(np.uint8)
    assert torch.equal(load(tmp_path / "kb").forward(image).logits, kb.forward(image).logits)


def test_the_output_for_background_can_be_kept_as_a_class(tmp_path):
    _, _, last = stored_weights(tmp_path)
    kb, plain = load(f"espnetv2-cityscapes+background:{tmp_path}"), load(f"espnetv2-cityscapes:{tmp_path}")
    assert kb.labels.names == (*CITYSCAPES.names, "background") and "background" not in plain.scorers
    image = np.random.default_rng(0).integers(0, 256, (3, 64, 96)).astype(np.uint8)
    output = kb.forward(image)
    assert torch.equal(output.logits[:, :19], plain.forward(image).logits)
    with torch.no_grad():
        expected = last(output.embedding).softmax(1)[:, 19]
    assert torch.allclose(kb.require_scorer("background")(output), expected, atol=1e-6)
    with pytest.raises(OwsegError, match=r"espnetv2-cityscapes\+background:FILE"):
        load("espnetv2-cityscapes+background")


def test_weights_that_do_not_fit_end_in_one_sentence(tmp_path):
    with pytest.raises(OwsegError, match="do not come with owseg; give their file as espnetv2-cityscapes:FILE"):
        load("espnetv2-cityscapes")
    with pytest.raises(OwsegError, match="does not hold"):
        load("espnetv2-cityscapes", weights=tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(OwsegError, match="does not hold"):
        load("espnetv2-cityscapes", weights=tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(OwsegError, match="does not hold"):
        load("espnetv2-cityscapes", weights=tmp_path / "model.safetensors")
    with pytest.raises(OwsegError, match="positive"):
        ESPNetV2Encoder(0)


def test_the_real_weights_find_what_they_are_known_to_find(shared_data):
    """MSP on RoadAnomaly21's validation images at 1024x512: AUROC .727, AP .268, FPR95 .636."""
    place = shared_data.parent / "weights" / "espnetv2_s2.0_cityscapes"
    if not place.is_dir():
        pytest.skip("the ESPNetv2 weights are not there")
    kb, state, root = load("espnetv2-cityscapes", weights=place), Exact(), shared_data / "anomaly" / "RoadAnomaly21"
    for path in sorted((root / "images").iterdir()):
        mask = np.asarray(Image.open(next((root / "labels_masks").glob(f"{path.stem}*"))).convert("L"))
        image = np.asarray(Image.open(path).convert("RGB").resize((1024, 512), Image.Resampling.BILINEAR))
        output = kb.network.full_resolution(kb.forward(np.ascontiguousarray(image.transpose(2, 0, 1))), mask.shape)
        target = np.select([mask == 0, mask == 1], [0, UNKNOWN], IGNORE).astype(np.uint8)
        state.update(kb.assess(output, mask.shape, ("msp",)).scores["msp"], target)
    metrics = state.compute()
    assert (metrics.auroc, metrics.ap, metrics.fpr95) == pytest.approx((0.727, 0.268, 0.636), abs=2e-3)

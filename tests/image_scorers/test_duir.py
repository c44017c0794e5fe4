from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from owseg.errors import OwsegError
from owseg.image_scorers.duir import duir, load, save
from owseg.labels import LabelSpace
from owseg.models.generator import label_planes
from owseg.models.ops import resize_image
from tests.support import tiny
from tests.support.drawn import duir_of


@pytest.mark.parametrize("drawn", [True, False])
@pytest.mark.parametrize("size", [(48, 64), (90, 120), (33, 47)])
def test_the_score_is_the_probability_of_a_discrepancy(drawn, size):
    """Step by step: the image at its working size, the closed map there, the drawing of the map on its own grid."""
    kb = tiny.knowledge_base()
    model = duir_of(kb, drawn, size=60)
    image = np.random.default_rng(0).integers(0, 256, (3, *size)).astype(np.uint8)
    found = duir(kb, model)(image)
    assert found.shape == size and found.dtype == np.float32 and 0 < found.min() < found.max() < 1
    work = (64, 96)  # a shorter side of 60, to the nearest multiples of 32
    backbone, logits = kb.network.backbone, kb.forward(image).logits
    x = resize_image(torch.from_numpy(image)[None].float() / 255, work)
    ids = F.interpolate(logits, size=work, mode="bilinear").argmax(1)
    stages = [backbone(x)[i] for i in (0, 1)]
    other = None
    if drawn:
        small = F.interpolate(logits, size=(16, 24), mode="bilinear").argmax(1)  # 64x96 at a shorter side of 16
        drawing = F.interpolate(model.generator(label_planes(small, 3)), size=work, mode="bilinear")
        other = [backbone(drawing)[i] for i in (0, 1)]
    with torch.no_grad():
        full = F.interpolate(model.network(stages, other, ids), size=size, mode="bilinear").softmax(1)[0, 1]
    np.testing.assert_allclose(found, full.numpy(), atol=1e-5)


@pytest.mark.parametrize("drawn", [True, False])
def test_a_file_holds_it_whole(drawn, tmp_path):
    kb = tiny.knowledge_base()
    model = duir_of(kb, drawn)
    again = load(save(model, tmp_path / "duir.safetensors"))
    assert again.config == model.config and not again.training
    assert np.array_equal(duir(kb, again)(tiny.image()), duir(kb, model)(tiny.image()))


def test_the_knowledge_base_stays_as_it_is():
    kb = tiny.knowledge_base()
    before = kb.fingerprint()
    duir(kb, duir_of(kb))(tiny.image())
    assert kb.fingerprint() == before


def test_a_model_of_another_network_is_refused():
    kb = tiny.knowledge_base()
    model = duir_of(kb)
    with pytest.raises(OwsegError, match="for the classes road, sky, tree, and the network has sky, road, tree"):
        duir(replace(kb, labels=LabelSpace.of(("sky", "road", "tree"))), model)
    with torch.no_grad():
        next(kb.network.backbone.parameters()).add_(1)
    with pytest.raises(OwsegError, match="this duir was trained for a network of other weights"):
        duir(kb, model)


def test_bad_files_and_images_are_named(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    for name in ("x.safetensors", "z.safetensors"):
        with pytest.raises(OwsegError, match=rf"{name} does not hold a discrepancy network"):
            load(tmp_path / name)
    kb = tiny.knowledge_base()
    for bad in (np.zeros((3, 32, 32)), np.zeros((32, 32), np.uint8)):
        with pytest.raises(OwsegError, match="uint8"):
            duir(kb, duir_of(kb))(bad)

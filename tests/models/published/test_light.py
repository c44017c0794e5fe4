"""DABNet and FDDWNet against their equations in float64, as knowledge bases, and with their real weights."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from owseg.data.datasets import open_dataset
from owseg.data.datasets.cityscapes import CITYSCAPES
from owseg.errors import OwsegError
from owseg.knowledge.load import load
from owseg.models.published.dabnet import dabnet
from owseg.models.published.fddwnet import fddwnet
from tests.reference import light_networks as reference
from tests.support.light_networks import stored_dabnet, stored_fddwnet

# Name: what makes the network, what stores random weights, the equations, stride of the logits, parameters, and what
# the README of the data says of the real weights: mIoU of every sixth test image of CamVid, at its size and twice it.
ROWS = {
    "dabnet": (dabnet, stored_dabnet, reference.dabnet, 4, 750_269, (0.560, 0.656)),
    "fddwnet": (fddwnet, stored_fddwnet, reference.fddwnet, 1, 773_682, (0.614, 0.709)),
}
# Cityscapes' classes by CamVid's names.
CAMVID = dict(zip(CITYSCAPES.names, (
    "road", "pavement", "building", "building", "fence", "pole", "sign", "sign", "tree", "tree", "sky", "pedestrian",
    "bicyclist", "car", "car", "car", "car", "bicyclist", "bicyclist",
), strict=True))  # fmt: skip
MEAN, STD = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


@pytest.mark.parametrize("size", [(64, 96), (72, 88)])
@pytest.mark.parametrize("name", ROWS)
def test_published_weights_compute_the_equations(name, size, tmp_path):
    make, store, equations, stride, _, _ = ROWS[name]
    state, image = store(tmp_path, 7), torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(2))
    network = make(tmp_path).double()
    with torch.no_grad():
        logits = network.decode(network.encode(image.double()))  # one channel a class
        expected = equations(state, (image - MEAN).double() / STD.double())
    assert logits.shape == (2, 7, -(-size[0] // stride), -(-size[1] // stride))
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("name", ROWS)
def test_it_has_the_published_number_of_parameters(name, tmp_path):
    make, store, _, _, parameters, _ = ROWS[name]
    store(tmp_path)
    network = make(tmp_path)
    own = (network.backbone, network.decoder)  # the classifier passes logits on, and is not of the published network
    assert sum(p.numel() for part in own for p in part.parameters()) == parameters


@pytest.mark.parametrize("name", ROWS)
def test_an_image_of_any_size_is_labelled(name, tmp_path):
    make, store, *_ = ROWS[name]
    store(tmp_path)
    network = make(tmp_path)
    for size in ((61, 83), (64, 90)):
        with torch.no_grad():
            assert torch.isfinite(network(torch.rand(1, 3, *size)).logits).all()


@pytest.mark.parametrize("name", ROWS)
def test_it_is_a_knowledge_base_that_is_stored(name, tmp_path):
    ROWS[name][1](tmp_path)
    kb = load(f"{name}-cityscapes:{tmp_path}")
    assert kb.labels == CITYSCAPES
    image = np.random.default_rng(0).integers(0, 256, (3, 64, 96)).astype(np.uint8)
    kb.save(tmp_path / "kb")
    again = load(tmp_path / "kb")
    assert torch.equal(again.forward(image).logits, kb.forward(image).logits)
    assert again.assess(again.forward(image), (64, 96)).labels.shape == (64, 96)


@pytest.mark.parametrize("name", ROWS)
def test_weights_of_another_network_end_in_one_sentence(name, tmp_path):
    make, store, *_ = ROWS[name]
    with pytest.raises(OwsegError, match=f"do not come with owseg; give their file as {name}-cityscapes:FILE"):
        load(f"{name}-cityscapes")
    with pytest.raises(OwsegError, match="does not hold the weights of a"):
        make(tmp_path / "none.safetensors")
    state = store(tmp_path)
    first = next(n for n in state if n.endswith("conv.0.weight") or n == "layer1.0.weight")
    for changed, reason in (
        ({k: v for k, v in state.items() if k != first}, "Missing"),
        (state | {"more": torch.zeros(1)}, "Unexpected"),
        (state | {first: torch.zeros(2, 2)}, "size mismatch"),
        ({}, "is missing"),
    ):
        save_file(changed, tmp_path / "other.safetensors")
        with pytest.raises(OwsegError, match=f"does not hold the weights of .*{reason}"):
            make(tmp_path / "other.safetensors")


ENLARGED = pytest.mark.skipif(os.environ.get("OWSEG_SLOW") != "1", reason="takes a minute: set OWSEG_SLOW=1")


@pytest.mark.parametrize("factor", [0, pytest.param(1, marks=ENLARGED)])
@pytest.mark.parametrize("name", ROWS)
def test_the_real_weights_know_camvid_as_well_as_is_known(name, factor, shared_data):
    """Not trained on it: Cityscapes' classes by name."""
    place = Path(shared_data).parent / "weights" / f"{name}_cityscapes"
    if not place.is_dir():
        pytest.skip(f"the weights of {name} are not there")
    size = (None, 720)[factor]
    kb, matrix = load(f"{name}-cityscapes:{place}"), np.zeros((11, 11))
    data = open_dataset(f"camvid:{shared_data}/camvid", "test")
    to = np.array([data.labels.names.index(CAMVID[name]) for name in CITYSCAPES.names])
    for sample in data.pick(range(0, len(data), 6)):
        labels = to[kb.assess(kb.forward(sample.image, size=size), sample.target.shape).labels]
        known = sample.target < 11
        matrix += np.bincount(11 * sample.target[known].astype(int) + labels[known], minlength=121).reshape(11, 11)
    found = (np.diag(matrix) / (matrix.sum(0) + matrix.sum(1) - np.diag(matrix))).mean()
    assert found == pytest.approx(ROWS[name][-1][factor], abs=0.002)

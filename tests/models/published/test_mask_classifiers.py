"""Mask classifiers of transformers as networks: the split, any size of image, windows, loading, bad input."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import DetrConfig

from owseg.errors import OwsegError
from owseg.models.assemble import build_network
from owseg.models.engine import Engine
from owseg.models.hub import published
from owseg.models.network import to_tensor
from owseg.models.ops import resize, resize_image
from owseg.models.published.mask_classifiers import TASK, to_network
from owseg.models.queries import query_evidence
from tests.reference import masks as oracle
from tests.support import tiny
from tests.support.mask_models import MODELS, NAMES, eomt, mask2former, oneformer

MEAN, STD = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def whole(model, image, mean=MEAN, std=STD):
    """What transformers makes of images (B, 3, H, W) in [0, 1]: class logits and mask logits of the queries."""
    asked = {}
    if model.config.model_type == "oneformer":
        # As its processor asks: tokens, and zeros up to the length.
        task = torch.tensor([*TASK, *[0] * (77 - len(TASK))]).float()
        asked = {"task_inputs": task.expand(len(image), -1)}
    with torch.no_grad():
        output = model(pixel_values=(image - mean) / std, **asked)
    return output.class_queries_logits, output.masks_queries_logits


def run(network, image):
    with torch.no_grad():
        return network(image)


@pytest.fixture(params=[*MODELS, "eomt unmasked"])
def make(request):
    return MODELS[request.param] if request.param in MODELS else lambda: eomt(masked=0.0)


def test_a_split_model_has_the_queries_of_the_whole(make):
    image = torch.rand(2, 3, 64, 64)
    classes, masks = whole(make(), image)
    network = to_network(make()).eval()
    output = run(network, image)
    torch.testing.assert_close(output.embedding, query_evidence(classes, masks), atol=1e-5, rtol=1e-5)
    for b in range(2):
        expected = oracle.class_scores(classes[b].numpy(), masks[b].numpy())
        np.testing.assert_allclose(output.logits[b], expected, atol=1e-5)
        assert (output.logits[b].argmax(0).numpy() == expected.argmax(0)).mean() > 0.99  # but for ties
    assert output.logits.std(dim=(2, 3)).max() > 1e-3 and output.negative is None
    assert not network.is_metric and network.has_masks and not network.has_negative


def test_each_image_of_a_batch_has_the_output_that_it_has_alone(make):
    network, images = to_network(make()).eval(), torch.rand(3, 3, 64, 64)
    together, alone = run(network, images), run(network, images[1:2])
    torch.testing.assert_close(together.embedding[1:2], alone.embedding, atol=1e-5, rtol=1e-4)
    for a, b in zip(together.features, alone.features, strict=True):
        torch.testing.assert_close(a[1:2], b, atol=1e-5, rtol=1e-4)


def test_the_queries_of_the_masked_eomt_are_not_those_of_the_unmasked():
    image = torch.rand(1, 3, 64, 64)
    masked, unmasked, half = (run(to_network(eomt(masked=m)).eval(), image).embedding for m in (1.0, 0.0, 0.9))
    assert not torch.allclose(masked, unmasked, atol=1e-4)
    assert torch.equal(masked, half)  # nothing is drawn


def test_the_split_is_its_configuration_and_its_weights(make):
    first = to_network(make()).eval()
    config = json.loads(json.dumps(first.config))
    second = build_network(config).eval()
    second.load_state_dict(first.state_dict())
    image = torch.rand(1, 3, 64, 96)
    assert torch.equal(run(first, image).embedding, run(second, image).embedding)
    assert second.config == first.config and second.squares == first.squares


@pytest.mark.parametrize("size", [(48, 72), (33, 97), (64, 64)])
def test_images_of_any_size_give_labels_and_scores_of_theirs(make, size):
    network = to_network(make()).eval()
    output = Engine(network)(tiny.image(1, (64, 104))[:, : size[0], : size[1]])
    assert output.logits.isfinite().all() and all(f.isfinite().all() for f in output.features)
    full = Engine(network, full_resolution=True, multi_scale=True)(tiny.image(1, (size[0], 96)))
    assert full.logits.shape[-2:] == (size[0] // 8 * 8, 96)


def test_an_eomt_reads_squares_of_its_size_and_averages_them_where_they_overlap():
    """An image 64 x 96 is read as columns 0 to 63 and 32 to 95; a larger one is brought to that height."""
    network, image = to_network(eomt()).eval(), tiny.image(1, (64, 96))
    x = to_tensor(image)
    left, right = (run(network, x[..., a : a + 64]).embedding[0] for a in (0, 32))
    found = Engine(network)(image).embedding[0]
    assert found.shape == (5, 16, 24)
    torch.testing.assert_close(found[..., :8], left[..., :8], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[..., 16:], right[..., 8:], atol=1e-5, rtol=1e-4)
    between = (found[..., 8:16] - left[..., 8:]) * (found[..., 8:16] - right[..., :8])
    assert (between <= 1e-6).all() and not torch.allclose(left[..., 8:], right[..., :8], atol=1e-3)
    large = np.kron(image, np.ones((2, 2), np.uint8))
    smaller = run(network, resize_image(to_tensor(large), (64, 96))[..., :64]).embedding[0]
    torch.testing.assert_close(Engine(network)(large).embedding[0][..., :8], smaller[..., :8], atol=1e-5, rtol=1e-4)
    asked = Engine(network, size=96)(image)  # 96 x 144 pixels in tiles of 64
    assert asked.embedding.shape[-2:] == (24, 40)
    assert Engine(network, tile=True)(tiny.image(0, (40, 64))).embedding.shape[-2:] == (16, 16)


def test_a_working_size_other_than_the_image_s_moves_the_maps_of_a_mask2former():
    network, image = to_network(mask2former()).eval(), tiny.image(0, (64, 96))
    assert Engine(network)(image).embedding.shape[-2:] == (16, 24)
    assert Engine(network, size=128)(image).embedding.shape[-2:] == (32, 48)
    torch.testing.assert_close(Engine(network)(image).embedding, run(network, to_tensor(image)).embedding)


def test_views_are_averaged_over_their_evidence():
    """Queries differ from view to view, so it is their sums that are averaged."""
    network, image = to_network(mask2former()).eval(), torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        found = network.multi_scale(image, (1.0,)).embedding
    mirrored = run(network, image.flip(-1)).embedding.flip(-1)
    torch.testing.assert_close(found, (run(network, image).embedding + mirrored) / 2)


# --- loading ---


@pytest.mark.parametrize("name", MODELS)
def test_a_stored_model_loads_by_its_name_with_its_classes(name, tmp_path):
    model = MODELS[name]()
    model.save_pretrained(tmp_path)
    network, labels = published(f"hf:{tmp_path}")
    assert labels.names == tuple(NAMES.values()) and network.num_classes == 4
    assert not any(m.training for m in network.modules())
    image = torch.rand(1, 3, 64, 64)
    expected = query_evidence(*whole(model, image))
    torch.testing.assert_close(run(network, image).embedding, expected, atol=1e-5, rtol=1e-5)
    assert str(tmp_path) not in json.dumps(network.config)


def test_mean_and_deviation_beside_the_weights_are_used(tmp_path):
    mask2former().save_pretrained(tmp_path)
    values = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "image_processor_type": "x"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    image = torch.rand(1, 3, 64, 64)
    mean, std = (torch.tensor(values[k]).view(1, 3, 1, 1) for k in ("image_mean", "image_std"))
    expected = query_evidence(*whole(mask2former(), image, mean, std))
    found = run(published(f"hf:{tmp_path}")[0], image).embedding
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def without(place, key):
    state = load_file(place / "model.safetensors")
    save_file({k: v for k, v in state.items() if not k.startswith(key)}, place / "model.safetensors", {"format": "pt"})


def renamed(place, id2label):
    config = json.loads((place / "config.json").read_text())
    config["id2label"] = id2label
    if id2label is None:
        del config["id2label"], config["label2id"]
    (place / "config.json").write_text(json.dumps(config))


BAD = {
    "weights are missing": (
        lambda p: (mask2former().save_pretrained(p), without(p, "class_predictor")),
        "2 of its tensors are missing, such as class_predictor.bias",
    ),
    "no weights": (
        lambda p: (mask2former().save_pretrained(p), (p / "model.safetensors").unlink()),
        "cannot be loaded .*; give a hub name or a path",
    ),
    "not tensors": (
        lambda p: (mask2former().save_pretrained(p), (p / "model.safetensors").write_bytes(b"nothing")),
        "cannot be loaded .*; give a hub name or a path",
    ),
    "another number of classes": (
        lambda p: (mask2former().save_pretrained(p), renamed(p, {"0": "road", "1": "sky"})),
        "cannot be loaded .*; give a hub name or a path",
    ),
    "no names": (
        lambda p: mask2former(id2label={i: f"LABEL_{i}" for i in range(4)}).save_pretrained(p),
        "names no classes; give it an id2label of ids from 0",
    ),
    "names with a gap": (
        lambda p: mask2former(id2label={0: "road", 2: "sky"}).save_pretrained(p),
        "names no classes; give it an id2label of ids from 0",
    ),
    "projections that are not stored": (
        lambda p: oneformer(enforce_input_proj=True).save_pretrained(p),
        "by weights that transformers does not store",
    ),
    "panoptic alone": (
        lambda p: DetrConfig(use_timm_backbone=False).save_pretrained(p),
        "a detr cannot be split into backbone and decoder; give a model of segformer, .*, mask2former, eomt, oneformer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_mask_classifier_with_classes_ends_in_a_sentence(case, tmp_path):
    store, words = BAD[case]
    store(tmp_path)
    with pytest.raises(OwsegError, match=words) as told:
        published(f"hf:{tmp_path}")
    assert "\n" not in str(told.value) and len(str(told.value)) < 500


def test_a_name_of_the_hub_offline_ends_in_a_sentence(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OwsegError, match=r"cannot be loaded .*; give a hub name or a path") as told:
        published("hf:nobody/mask2former-that-is-not-there")
    assert "\n" not in str(told.value)


def test_the_queries_of_an_eomt_need_its_tokens():
    network = to_network(eomt()).eval()
    with pytest.raises(OwsegError, match="need the tokens of its own backbone"):
        network.decode(tuple(network.encode(torch.rand(1, 3, 64, 64))))


def test_resized_evidence_is_the_evidence_at_full_resolution():
    network, image = to_network(mask2former()).eval(), tiny.image(0, (64, 96))
    plain, full = Engine(network)(image), Engine(network, full_resolution=True)(image)
    torch.testing.assert_close(full.logits, resize(plain.logits, (64, 96)))

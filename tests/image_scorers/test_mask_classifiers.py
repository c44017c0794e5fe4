import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import (
    SegformerConfig,
    SegformerForSemanticSegmentation,
)

from owseg.errors import OwsegError
from owseg.image_scorers.mask_classifiers import MASK_SCORERS, MaskClassifier, class_scores, mask_classifier
from tests.support import tiny
from tests.support.mask_models import eomt, mask2former

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def normal(image):
    x = torch.from_numpy(image).float()[None] / 255
    return (x - MEAN.view(-1, 1, 1)) / STD.view(-1, 1, 1)


def full(maps, size):
    return F.interpolate(maps, size=size, mode="bilinear")


@pytest.mark.parametrize("score", MASK_SCORERS)
@pytest.mark.parametrize("model", [mask2former, eomt])
def test_an_image_of_the_model_s_own_size_has_the_model_s_output(model, score, tmp_path):
    model().save_pretrained(tmp_path / "m")
    found = mask_classifier(str(tmp_path / "m"))
    assert found.labels.names == ("road", "sky", "tree", "car")
    image = tiny.image(3, (64, 64))
    with torch.no_grad():
        output = model()(pixel_values=normal(image))
    parts = output.class_queries_logits, output.masks_queries_logits
    expected = full(MASK_SCORERS[score](*parts)[:, None], (64, 64))[0, 0].numpy()
    labels, values = found.predict(image, score)
    assert labels.dtype == np.uint8 and values.dtype == np.float32
    np.testing.assert_allclose(values, expected, atol=1e-5)
    assert np.array_equal(labels, full(class_scores(*parts), (64, 64))[0].argmax(0).numpy())
    assert np.array_equal(found.scorer(score)(image), values) and values.std() > 0


@pytest.mark.parametrize("size", [(48, 72), (33, 97), (64, 64)])
@pytest.mark.parametrize("model", [mask2former, eomt])
def test_images_of_any_size_give_maps_of_theirs(model, size):
    found = MaskClassifier(model(), tiny.knowledge_base().labels)
    image = np.random.default_rng(0).integers(0, 256, (3, *size)).astype(np.uint8)
    labels, score = found.predict(image)
    assert labels.shape == score.shape == size and np.isfinite(score).all()


def test_windows_are_averaged_where_they_overlap():
    """An image 64 x 104 is read as columns 0 to 63 and 40 to 103."""
    model, image = eomt(), tiny.image(1, (64, 104))
    with torch.no_grad():
        left, right = (
            full(MASK_SCORERS["eam"](s.class_queries_logits, s.masks_queries_logits)[:, None], (64, 64))[0, 0].numpy()
            for s in (model(pixel_values=normal(image)[..., a : a + 64]) for a in (0, 40))
        )
    _, score = MaskClassifier(model, tiny.knowledge_base().labels).predict(image, "eam")
    np.testing.assert_allclose(score[:, :40], left[:, :40], atol=1e-5)
    np.testing.assert_allclose(score[:, 64:], right[:, 24:], atol=1e-5)
    np.testing.assert_allclose(score[:, 40:64], (left[:, 40:] + right[:, :24]) / 2, atol=1e-5)
    _, upright = MaskClassifier(model, tiny.knowledge_base().labels).predict(
        np.ascontiguousarray(image.transpose(0, 2, 1)), "eam"
    )
    assert upright.shape == (104, 64)


def test_mask2former_can_read_another_size():
    found, image = mask2former(), tiny.image(0, (64, 96))
    labels = tiny.knowledge_base().labels
    plain, large = (MaskClassifier(found, labels, side).predict(image)[1] for side in (None, 128))
    assert plain.shape == large.shape == (64, 96) and not np.allclose(plain, large, atol=1e-3)
    assert np.array_equal(plain, MaskClassifier(found, labels, 64).predict(image)[1])


def test_what_is_no_mask_classifier_is_refused(tmp_path):
    SegformerForSemanticSegmentation(SegformerConfig(**tiny.CONFIGS["segformer"])).save_pretrained(tmp_path / "s")
    with pytest.raises(OwsegError, match="it is a segformer, not a mask2former or eomt"):
        mask_classifier(str(tmp_path / "s"))
    with pytest.raises(OwsegError, match="cannot be loaded"):
        mask_classifier(str(tmp_path / "nothing"))
    found = MaskClassifier(mask2former(), tiny.knowledge_base().labels)
    with pytest.raises(OwsegError, match="no score 'msp'; it is one of rba, eam, mask_msp"):
        found.predict(tiny.image(), "msp")
    with pytest.raises(OwsegError, match="uint8"):
        found.predict(tiny.image().astype(float))

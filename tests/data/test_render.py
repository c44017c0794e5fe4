"""Label maps, scores and overlays as image files, decoded again."""

import io

import numpy as np
import pytest
from PIL import Image

from owseg.data.render import encode_jpeg, encode_labels, encode_npy, encode_score, overlay
from owseg.labels import UNKNOWN, LabelSpace
from owseg.openset import Threshold

SPACE = LabelSpace.of(["road", "sky"], [(10, 20, 30), (200, 100, 0)])
LABELS = np.array([[0, 1, UNKNOWN], [1, 1, 255]], np.uint8)


def test_a_label_map_has_ids_as_pixels_and_the_colours_of_its_classes():
    image = Image.open(io.BytesIO(encode_labels(LABELS, SPACE)))
    assert image.format == "PNG" and image.mode == "P" and np.array_equal(np.asarray(image), LABELS)
    assert np.array_equal(np.asarray(image.convert("RGB")), SPACE.palette()[LABELS])


def test_a_score_can_be_computed_back():
    threshold = Threshold(1.5, "quantile", 0.05, 0.05, 0.25, 1, 6)
    score = np.array([[1.5, 1.75, 1.25], [-100, 100, 1.5001]], np.float32)
    image = Image.open(io.BytesIO(encode_score(score, threshold)))
    values = np.asarray(image)
    assert values.dtype == np.uint16 or image.mode.startswith("I")
    assert values.tolist() == [[32768, 32768 + 8192, 32768 - 8192], [0, 65535, 32771]]
    assert (float(image.text["threshold"]), float(image.text["unit"])) == (1.5, 0.25)
    back = (values[0].astype(float) - 32768) / 8192 * 0.25 + 1.5
    assert np.allclose(back, score[0], atol=0.25 / 8192)


def test_scores_and_pixels_come_back():
    score = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(np.load(io.BytesIO(encode_npy(score))), score)
    pixels = np.full((8, 8, 3), (200, 30, 90), np.uint8)
    image = Image.open(io.BytesIO(encode_jpeg(pixels)))
    assert image.format == "JPEG" and np.abs(np.asarray(image).astype(int) - pixels).max() <= 3


@pytest.mark.parametrize("known", [0, 1])
def test_the_unknown_is_tinted_more_strongly_and_has_an_outline(known):
    open_set = np.full((9, 9), known, np.uint8)
    open_set[2:7, 3:8] = UNKNOWN
    image = np.full((3, 9, 9), 100, np.uint8)
    drawn = overlay(image, open_set, SPACE)
    tint = np.array(SPACE.colors[known])
    assert np.array_equal(drawn[0, 0], np.round(55 + 0.45 * tint)) and (drawn[open_set == known] == drawn[0, 0]).all()
    inside = np.zeros((9, 9), bool)
    inside[3:6, 4:7] = True
    assert (drawn[inside] == np.round(35 + 0.65 * np.array((255, 0, 200)))).all()
    assert (drawn[(open_set == UNKNOWN) & ~inside] == 255).all() and (image == 100).all()

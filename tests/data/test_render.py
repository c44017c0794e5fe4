"""Label maps, scores and overlays as image files, decoded again."""

import io

import numpy as np
import pytest
from PIL import Image

from owseg.data.render import (
    Mark,
    draw_marks,
    encode_jpeg,
    encode_labels,
    encode_legend,
    encode_npy,
    encode_score,
    hatching,
    legend_strip,
    overlay,
    with_strip,
)
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
def test_the_unknown_is_tinted_more_strongly_hatched_and_has_an_outline(known):
    open_set = np.full((30, 40), known, np.uint8)
    open_set[2:27, 3:38] = UNKNOWN
    image = np.full((3, 30, 40), 100, np.uint8)
    drawn = overlay(image, open_set, SPACE)
    tint = np.array(SPACE.colors[known])
    assert np.array_equal(drawn[0, 0], np.round(55 + 0.45 * tint)) and (drawn[open_set == known] == drawn[0, 0]).all()
    inside = np.zeros((30, 40), bool)
    inside[3:26, 4:37] = True
    lines = inside & (np.add.outer(np.arange(30), np.arange(40)) % 8 == 0)
    assert (drawn[inside & ~lines] == np.round(35 + 0.65 * np.array((255, 0, 200)))).all()
    assert (drawn[lines] == np.round(35 + 0.65 * 255)).all() and lines.sum() > 50
    assert (drawn[(open_set == UNKNOWN) & ~inside] == 255).all() and (image == 100).all()


@pytest.mark.parametrize(("size", "width"), [((30, 40), 1), ((1000, 2000), 4), ((3000, 1000), 4), ((1, 1), 1)])
def test_lines_are_an_eighth_and_wider_in_larger_images(size, width):
    rows, columns = np.indices(size)
    assert np.array_equal(hatching(size), (rows + columns) % (8 * width) < width)


@pytest.mark.parametrize("number", [1, 11, 24, 25, 60])
def test_the_legend_has_the_colour_and_the_name_of_every_class(number):
    space = LabelSpace.of(f"class {i}" for i in range(number))
    image = np.asarray(Image.open(io.BytesIO(encode_legend(space))).convert("RGB"))
    colours = {tuple(c) for c in image.reshape(-1, 3).tolist()}
    assert {*space.colors, (255, 0, 200)} <= colours
    for i, colour in enumerate(space.colors):
        top, left = np.argwhere((image == colour).all(-1))[0]
        name = image[top : top + 22, left + 24 : left + 90]
        assert (name < 100).any(), f"nothing is written beside the colour of class {i}"


def test_the_legend_names_the_unknown_and_every_class_that_fits():
    space = LabelSpace.of([f"class {i}" for i in range(6)])
    strip = legend_strip(space, (96, 400))
    for color in (space.palette()[UNKNOWN], *space.palette()[:6]):
        assert (strip == color).all(2).any()
    many = LabelSpace.of([f"class {i}" for i in range(200)])
    assert legend_strip(many, (96, 128)).shape[0] <= 96 / 3 + 4 and strip.shape[1] == 400
    below = with_strip(np.zeros((96, 400, 3), np.uint8), strip, "12.5 s")
    assert below.shape == (96 + len(strip), 400, 3) and (below[:96] == 0).all()
    assert (below[96:] != strip).any() and (legend_strip(space, (96, 400)) == strip).all()  # the text is not kept


@pytest.mark.parametrize("box", [(2, 1, 12, 10), (48, 30, 16, 18)])
def test_the_text_of_a_mark_is_in_the_image(box):
    x, y, width, height = box
    mask = np.zeros((48, 64), bool)
    mask[y : y + height, x : x + width] = True
    drawn = draw_marks(np.zeros((48, 64, 3), np.uint8), [Mark(mask, box, "12: 3.4", (250, 240, 10), True)])
    colored = (drawn == (250, 240, 10)).all(2)
    assert colored[mask].any() and not colored[y + 6, x + width // 2]  # an outline
    text = colored & ~mask
    assert text.any() or colored[mask].sum() > 2 * (width + height)
    assert (draw_marks(drawn, []) == drawn).all()

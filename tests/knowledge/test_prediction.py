"""Predictions: of anything that is an image, decided by the threshold, looked at and stored."""

import io
import json
import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from owseg._files import json_ready
from owseg.errors import OwsegError
from owseg.knowledge.prediction import Assessment, Prediction
from owseg.labels import UNKNOWN, LabelSpace
from owseg.openset import Threshold
from tests.support import tiny

IMAGE = tiny.image(1)
SCREEN = IMAGE.transpose(1, 2, 0)
"""The same as (H, W, 3)."""


def png():
    file = io.BytesIO()
    Image.fromarray(SCREEN).save(file, "PNG")
    return file.getvalue()


GIVEN = {
    "(3, H, W)": lambda path: IMAGE,
    "(H, W, 3)": lambda path: SCREEN,
    "not contiguous": lambda path: np.asfortranarray(IMAGE),
    "str": str,
    "Path": lambda path: path,
    "bytes": lambda path: path.read_bytes(),
    "PIL": lambda path: Image.open(path),
    "tensor (3, H, W)": lambda path: torch.from_numpy(IMAGE),
    "tensor (H, W, 3)": lambda path: torch.from_numpy(SCREEN),
}


@pytest.fixture
def path(tmp_path):
    (tmp_path / "street.png").write_bytes(png())
    return tmp_path / "street.png"


def same(one, two):
    return all(np.array_equal(getattr(one, n), getattr(two, n)) for n in ("labels", "score", "open_set", "image"))


@pytest.mark.parametrize("kind", GIVEN)
def test_anything_that_is_an_image_is_predicted_alike(kb, path, kind):
    prediction = kb.predict(GIVEN[kind](path))
    assert same(prediction, kb.predict(IMAGE))
    assert prediction.id == ("street.png" if kind in ("str", "Path") else "")


@pytest.mark.parametrize("kind", GIVEN)
def test_regions_take_the_same(unsure_kb, path, kind):
    kb = replace(unsure_kb, threshold=replace(unsure_kb.threshold, regions=None))  # all that is unknown
    one, two = kb.regions(GIVEN[kind](path)), kb.regions(IMAGE)
    assert len(one) == len(two) > 0 and [r.mask for r in one] == [r.mask for r in two]


def test_a_list_is_predicted_one_by_one(kb, path):
    many = kb.predict([IMAGE, path, tiny.image(2)])
    assert len(many) == 3 and same(many[0], many[1]) and same(many[2], kb.predict(tiny.image(2)))
    assert kb.predict(()) == []
    batch = np.stack([IMAGE, tiny.image(2)])
    for given in (batch, torch.from_numpy(batch)):
        assert [same(*pair) for pair in zip(kb.predict(given), many[1:], strict=True)] == [True, True]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (IMAGE / 255, r"uint8, RGB, not \(3, 48, 64\) float64\."),
        (torch.from_numpy(IMAGE).float(), r"not \(3, 48, 64\) float32\."),
        (np.zeros((3, 20, 3), np.uint8), r"\(3, 20, 3\) could be \(3, H, W\) or \(H, W, 3\)"),
        (np.zeros((4, 20, 30), np.uint8), r"\(4, 20, 30\) is neither \(3, H, W\) nor \(H, W, 3\)"),
        (IMAGE[None, None], r"not \(1, 1, 3, 48, 64\) uint8\."),
        (torch.from_numpy(IMAGE)[None, None], r"not \(1, 1, 3, 48, 64\) uint8\."),
        (None, "not NoneType"),
        ({"image": IMAGE}, "not dict"),
        ("nowhere.png", "nowhere.png does not exist"),
        (b"no image", "the data cannot be read as an image"),
    ],
    ids=["floats", "float tensor", "(3,H,3)", "four channels", "5-D", "5-D tensor", "None", "dict", "no file", "bytes"],
)
def test_what_is_no_image_ends_in_one_sentence(kb, image, message):
    for call in (kb.predict, kb.regions):
        with pytest.raises(OwsegError, match=message) as caught:
            call(image)
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_the_image_that_is_given_stays_as_it_is(kb):
    image = IMAGE.copy()
    image.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as torch would warn of an array that cannot be written to
        kb.predict(image)
    tensor = torch.from_numpy(IMAGE.copy())
    kb.predict(tensor)
    assert np.array_equal(tensor.numpy(), IMAGE)


def test_the_given_forward_is_used(kb):
    output, calls = kb.forward(tiny.image(7)), []

    def forward(image):
        calls.append(image)
        return output

    assert np.array_equal(kb.predict(IMAGE, forward).score, kb.predict(tiny.image(7)).score)
    kb.predict([IMAGE, IMAGE], forward)
    kb.regions(IMAGE, forward=forward)
    assert len(calls) == 4 and all(np.array_equal(image, IMAGE) for image in calls)


def test_the_open_set_map_is_the_closed_map_with_unknown_above_the_threshold(kb):
    prediction = kb.predict(tiny.image())
    above = prediction.score > np.float32(kb.threshold.value)
    assert above.any() and not above.all()
    assert (prediction.open_set[above] == UNKNOWN).all()
    assert np.array_equal(prediction.open_set[~above], prediction.labels[~above])
    assert prediction.labels.max() < 3 and prediction.classes is kb.labels and prediction.threshold is kb.threshold
    assert {prediction.labels.shape, prediction.score.shape, prediction.open_set.shape} == {(48, 64)}
    assert (prediction.labels.dtype, prediction.score.dtype, prediction.open_set.dtype) == ("uint8", "float32", "uint8")


def test_nothing_is_predicted_without_a_threshold():
    bare = tiny.knowledge_base()
    for call in (bare.predict, bare.regions):
        with pytest.raises(OwsegError, match="no threshold yet; run `owseg calibrate KB --data KIND:DIR` first, "):
            call(tiny.image())


def test_a_score_that_is_not_finite_is_refused(kb):
    output = kb.forward(IMAGE)
    broken = replace(output, features=tuple(f * float("nan") for f in output.features))
    for call in (kb.predict, kb.regions):
        with pytest.raises(OwsegError, match="the score is not finite"):
            call(IMAGE, forward=lambda image: broken)


@pytest.fixture
def made():
    """Half road, half sky of 8x10, a quarter of the image unknown; rock is not there."""
    labels = np.repeat(np.arange(10) // 5, 8).reshape(10, 8).T.astype(np.uint8)
    score = np.linspace(-1, 1, 80, dtype=np.float32).reshape(8, 10)
    open_set = labels.copy()
    open_set[:4, :5] = UNKNOWN
    image = np.random.default_rng(0).integers(0, 256, (3, 8, 10), np.uint8)
    space = LabelSpace.of(("road", "sky", "rock"))
    threshold = Threshold(0.25, "quantile", 0.05, 0.05, 0.5, 3, 240)
    return Prediction(labels, score, open_set, image, space, threshold, "trip/a.b.png")


def test_shares_add_up(made):
    assert made.unknown == 0.25
    assert made.shares() == {"road": 0.25, "sky": 0.5, "unknown": 0.25}


def test_it_is_plain_json(made):
    value = {
        "image": "trip/a.b.png", "size": [8, 10], "threshold": 0.25, "unknown": 0.25,
        "classes": {"road": 0.25, "sky": 0.5, "unknown": 0.25},
    }  # fmt: skip
    assert json.loads(json.dumps(json_ready(made.to_json()), allow_nan=False)) == made.to_json() == value


@pytest.mark.parametrize(("npy", "score"), [(False, "score.png"), (True, "score.npy")])
def test_it_is_saved_under_the_stem_of_its_image(made, tmp_path, npy, score):
    paths = made.save(tmp_path / "out", npy=npy)
    assert paths == [tmp_path / "out" / f"a.b.{suffix}" for suffix in ("labels.png", score, "open.jpg")]
    assert np.array_equal(np.asarray(Image.open(paths[0])), made.labels)
    if npy:
        assert np.array_equal(np.load(paths[1]), made.score)
    assert {p.name: p.read_bytes() for p in paths} == {f"a.b.{s}": data for s, data in made.files(npy)}
    assert [p.name for p in made.save(tmp_path, "x")] == ["x.labels.png", "x.score.png", "x.open.jpg"]
    assert Path(replace(made, id="").save(str(tmp_path))[0]).name == "prediction.labels.png"


def test_the_overlay_tints_the_image(made):
    overlay = made.overlay()
    assert overlay.shape == (8, 10, 3) and overlay.dtype == np.uint8
    assert not np.array_equal(overlay, made.image.transpose(1, 2, 0))


def test_a_plot_shows_image_map_and_score(made):
    figure = made.plot()
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:3] == ["image", "25.0% unknown", "anomaly score"]
    assert np.array_equal(figure.axes[0].images[0].get_array(), made.image.transpose(1, 2, 0))
    assert np.array_equal(figure.axes[2].images[0].get_array(), made.score)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["road", "sky", "unknown"]
    assert made._repr_png_()[:4] == b"\x89PNG"


def test_it_can_be_printed_compared_and_pickled(made):
    assert repr(made) == "Prediction(trip/a.b.png, 10x8: sky 50.0%, road 25.0%, unknown 25.0%)"
    assert made != replace(made) and len({made, made}) == 1
    assert same(pickle.loads(pickle.dumps(made)), made)


def test_what_is_learned_has_the_lowest_score_where_it_is_decided():
    learned = np.array([[True, False]])
    assessed = Assessment(np.array([[3, 0]], np.uint8), learned, {"msp": np.array([[0.7, 0.2]], np.float32)})
    decided = assessed.decided("msp")
    assert decided.tolist() == [[-np.inf, np.float32(0.2)]] and decided.dtype == np.float32
    assert assessed.scores["msp"][0, 0] == np.float32(0.7) and assessed != replace(assessed)

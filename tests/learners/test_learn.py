"""``learn``: what it refuses, what it leaves alone, and what it does about the threshold."""

import warnings
from dataclasses import replace
from weakref import WeakSet

import numpy as np
import pytest
import torch
from PIL import Image

from owseg.data.dataset import DataSet
from owseg.data.lazy import Lazy
from owseg.errors import OwsegError
from owseg.increments.probe import LinearProbe
from owseg.increments.prototype import NovelPrototype
from owseg.knowledge.calibration import find_threshold
from owseg.knowledge.load import load
from owseg.learners.finetune import FineTune
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from owseg.learners.plm import PLM
from owseg.learners.probe import Probe
from owseg.types import Shot
from tests.support import tiny
from tests.support.shots import SIZE, blue_shot, corner_shot, red_shot


def test_the_old_value_stays(kb):
    before = {name: v.clone() for name, v in kb.network.state_dict().items()}
    names, history, mark = kb.labels.names, kb.history, kb.fingerprint()
    updated = learn(kb, "rock", [corner_shot()], method=NPM(1.0))
    assert (kb.labels.names, kb.increments, kb.history, kb.fingerprint()) == (names, (), history, mark)
    assert updated.labels.names == (*names, "rock") and len(updated.increments) == 1
    assert updated.network is kb.network and all(torch.equal(v, before[n]) for n, v in kb.network.state_dict().items())


@pytest.mark.parametrize(
    ("name", "shots", "message"),
    [
        ("sky", [corner_shot()], "'sky' is known already; correct it, or give the new class another name"),
        ("unknown", [corner_shot()], "no class can have the name 'unknown', which is reserved"),
        (" Void", [corner_shot()], "no class can have the name ' Void', which is reserved"),
        ("rock ", [corner_shot()], "the class name 'rock ' begins or ends with a blank; write 'rock'"),
        ("rock", [], "from one shot or more, not 0"),
        ("rock", [Shot(tiny.image(), np.ones((4, 4), bool), "s")], "the mask of s is 4x4 and its image 64x48"),
        ("rock", [Shot(tiny.image(), np.ones((48, 64), bool), "s", np.ones((4, 4), bool))], "must be of one size"),
        ("rock", [Shot(tiny.image(), np.ones((48, 64), np.uint8), "s")], "a mask of s is uint8; give bool"),
        ("rock", [Shot(tiny.image() / 255, np.ones((48, 64), bool), "s")], "float64; give .3, H, W. uint8"),
        ("rock", [Shot(tiny.image()[:2], np.ones((48, 64), bool), "s")], "give .3, H, W. uint8"),
        ("rock", [Shot(tiny.image(), np.zeros((48, 64), bool), "s")], "no shot marks a pixel of rock; mark"),
        (
            "rock",
            [replace(corner_shot(), positives=np.zeros((48, 64), bool), void=np.ones((48, 64), bool))],
            "all void",
        ),
    ],
)
def test_what_cannot_be_learned_from_ends_in_one_sentence(name, shots, message):
    with pytest.raises(OwsegError, match=message) as caught:
        learn(tiny.knowledge_base(), name, shots)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_class_is_learned_once():
    updated = learn(tiny.knowledge_base(), "rock", [red_shot()], method=NPM(1.0))
    with pytest.raises(OwsegError, match="'rock' is known already"):
        learn(updated, "rock", [red_shot(1)], method=NPM(1.0))


def test_the_method_is_by_default_the_probe_where_it_can_be(kb):
    assert isinstance(learn(kb, "rock", [red_shot()]).increments[0], LinearProbe)
    assert isinstance(learn(tiny.knowledge_base(), "rock", [red_shot()]).increments[0], NovelPrototype)


def test_color_and_forward_are_used(kb):
    images = []

    def forward(image):
        images.append(image)
        return kb.forward(image)

    updated = learn(kb, "rock", [corner_shot()], tiny.dataset(2), NPM(1.0), (1, 2, 3), forward)
    assert updated.labels.colors[-1] == (1, 2, 3)
    shown = [corner_shot().image, *(s.image for s in tiny.dataset(2))]
    assert len(images) == 3 and all(np.array_equal(a, b) for a, b in zip(images, shown, strict=True))


def test_history_says_how_it_was_learned(kb):
    shot = corner_shot()
    event = learn(kb, "rock", [shot], method=NPM(1.0)).history[-1]
    assert (event.action, event.message) == ("learn", "learned rock from 1 shot by npm")
    assert event.details["options"] == {"radius": 1.0, "weighting": "pixels", "space": "auto"}
    assert event.details["shots"] == [{"id": "shot", "pixels": 600, "sha256": shot.fingerprint()}]


@pytest.mark.parametrize("method", ["quantile", "conformal"])
def test_known_data_calibrate_anew_as_before(kb, method):
    """At the rate and by the method that the old threshold was found with, on the known classes' pixels."""
    known = tiny.dataset(12, 4)
    old = find_threshold(kb, tiny.dataset(12), 0.2, method, false_alarms=0.4)
    updated = learn(replace(kb, threshold=old), "rock", [corner_shot()], known, NPM(1e9))
    expected = find_threshold(updated, DataSet(known.source, updated.labels), 0.2, method, false_alarms=0.4)
    assert updated.threshold == expected != old
    assert updated.history[-1].message.endswith("threshold re-calibrated")
    assert updated.history[-1].details["recalibrated"]["value"] == expected.value


def test_without_known_data_the_threshold_stays(kb):
    assert learn(kb, "rock", [corner_shot()], method=NPM(1e9)).threshold == kb.threshold
    bare = replace(kb, threshold=None)
    assert learn(bare, "rock", [corner_shot()], tiny.dataset(), NPM(1e9)).threshold is None


@pytest.mark.parametrize(
    ("method", "warned"),
    [(PLM("latest", steps=1), True), (FineTune(steps=1), True), (PLM("all", steps=1), False), (NPM(1.0), False)],
    ids=["latest", "finetune", "all", "npm"],
)
def test_a_head_that_labels_every_pixel_warns_of_the_old_threshold(kb, method, warned):
    """Unlike other increments it may turn a known pixel into an unknown one."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learn(kb, "rock", [red_shot()], method=method)
    found = [str(w.message) for w in caught if "labels every pixel" in str(w.message)]
    assert found == warned * [f"the head that {method.method} made labels every pixel, and the threshold was found "
                              "without it; give known data, or calibrate anew."]  # fmt: skip


def test_there_is_no_warning_without_an_old_threshold_or_with_a_new_one(kb):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn(replace(kb, threshold=None), "rock", [red_shot()], method=FineTune(steps=1))
        learn(kb, "rock", [red_shot()], tiny.dataset(4), FineTune(steps=1))


def test_the_command_shows_the_warning(stored_kb, tmp_path, run_cli):
    for kind in ("images", "masks"):
        (tmp_path / "shots" / kind).mkdir(parents=True)
    shot = red_shot()
    Image.fromarray(shot.image.transpose(1, 2, 0)).save(tmp_path / "shots" / "images" / "a.png")
    Image.fromarray(shot.positives.astype(np.uint8)).save(tmp_path / "shots" / "masks" / "a.png")
    command = ["learn", stored_kb, "rock", "--shots", tmp_path / "shots", "--method", "plm", "--set", "steps=1"]
    code, _, err = run_cli(*command, "--set", "heads=latest")
    (line,) = [line for line in err.splitlines() if "labels every pixel" in line]
    assert code == 0 and line.startswith("warning: the head that plm made") and load(stored_kb).increments[0].alone
    code, _, err = run_cli(*(a if a != "rock" else "cow" for a in command))
    assert code == 0 and "labels every pixel" not in err


METHODS = {"probe": Probe(scales=(1.0,)), "npm": NPM(), "pyramid": NPM(space="pyramid")}


@pytest.mark.parametrize("method", METHODS)
def test_a_counterexample_says_what_is_not_the_class(kb, method):
    """A square of a similar red, in another image, of which nothing else is said."""
    shots, other = [red_shot(3), red_shot(5)], red_shot(4, (255, 40, 40))
    not_it = Shot.counterexample(other.image, other.positives, "not it")
    found = []
    for given in (shots, [*shots, not_it]):
        learned = learn(kb, "square", given, method=METHODS[method])
        found.append((learned.assess(kb.forward(other.image), SIZE).labels == 3)[other.positives].mean())
    assert found[0] > 0.2 and found[1] < found[0] / 5
    if method == "probe":  # a smaller radius loses the class as well
        assert (learned.assess(kb.forward(shots[0].image), SIZE).labels == 3)[shots[0].positives].mean() > 0.2


def test_counterexamples_are_told_apart_in_the_history(kb):
    not_it = Shot.counterexample(blue_shot().image, blue_shot().positives, "blue")
    event = learn(kb, "rock", [not_it, red_shot()], method=NPM(1.0)).history[-1]
    assert event.message == "learned rock from 1 shot and 1 counterexample by npm"
    assert [s["id"] for s in event.details["shots"]] == ["s0"] and event.details["user"]
    assert event.details["counterexamples"] == [{"id": "blue", "pixels": 0, "sha256": not_it.fingerprint()}]
    with pytest.raises(OwsegError, match="no shot marks a pixel of rock; mark the class in one at least"):
        learn(kb, "rock", [not_it], method=NPM(1.0))


@pytest.mark.parametrize("method", [NPM(4.0), NPM(), NPM(space="pyramid"), PLM(steps=5), FineTune(steps=5)], ids=str)
def test_of_many_shots_few_are_in_memory(kb, method):
    alive, most = WeakSet(), []

    def forward(image):
        output = kb.forward(image)
        alive.add(output.embedding)
        most.append(len(alive))
        return output

    shots = Lazy(range(60), lambda i: replace(corner_shot(i % 4), id=str(i)))
    learned = learn(kb, "rock", shots, method=method, forward=forward)
    assert learned.history[-1].message.startswith("learned rock from 60 shots by") and max(most) <= 20


@pytest.mark.parametrize("size", [SIZE, (48, 64)])
def test_shots_of_any_size_are_learned_from(kb, size):
    mask = np.zeros(size, bool)
    mask[: size[0] // 2, : size[1] // 2] = True
    assert learn(kb, "rock", [Shot(tiny.image(2, size), mask, "s")]).labels.names[-1] == "rock"

"""Classes learned one after another, and the manifest that brings their shots back."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from owseg.data.dataset import DataSet
from owseg.data.shots import sample_shots
from owseg.errors import OwsegError
from owseg.knowledge.calibration import calibrate, fit_scorers
from owseg.knowledge.load import load, load_stages
from owseg.knowledge.versions import version_history
from owseg.labels import LabelSpace
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from owseg.learners.probe import Probe
from owseg.learners.sequence import (
    ClassShots,
    learn_sequence,
    read_manifest,
    sample_classes,
    save_stages,
    write_manifest,
)
from owseg.models.cache import CachedForward
from tests.support import tiny
from tests.support.shots import corner_shot

NAMES = ("rock", "cow")


@pytest.fixture(scope="module")
def kb():
    known = DataSet(tiny.dataset(8, 5).source, LabelSpace.of(("road", "sky", "tree")))
    return calibrate(fit_scorers(tiny.knowledge_base(), known), known, scorer="joint")


@pytest.fixture(scope="module")
def images():
    return tiny.dataset(10, 5)


@pytest.fixture(scope="module")
def stages(kb, images):
    return [kb, *learn_sequence(kb, sample_classes(images, NAMES, 3), DataSet(images.source, kb.labels))]


def prints(classes):
    return [(x.name, [s.fingerprint() for s in x.shots]) for x in classes]


def test_a_sequence_is_learning_one_class_after_another(kb, images, stages):
    by_hand = kb
    for new in sample_classes(images, NAMES, 3):
        by_hand = learn(by_hand, new.name, new.shots, DataSet(images.source, kb.labels))
    assert [s.labels.names[3:] for s in stages] == [(), ("rock",), ("rock", "cow")]
    assert stages[-1].labels == by_hand.labels and stages[-1].threshold == by_hand.threshold
    output = kb.forward(tiny.image(3))
    labels = [k.assess(output, (48, 64)).labels for k in (stages[-1], by_hand)]
    assert np.array_equal(*labels)
    assert len(stages[1].increments) == 1  # the value in between is what it was


def test_each_class_is_learned_on_top_of_all_before_it(kb):
    classes = [ClassShots(name, (corner_shot(i),)) for i, name in enumerate(("one", "two", "three"))]
    made = learn_sequence(kb, classes, method=NPM(1.0))
    assert [k.learned_classes for k in made] == [("one",), ("one", "two"), ("one", "two", "three")]
    assert [len(i.competitors) for i in made[-1].increments] == [2, 2, 2]


@pytest.mark.parametrize("options", [{}, {"count": 2}, {"seed": 3}, {"top": 1.0, "count": 1, "seed": 2}])
def test_shots_are_drawn_for_each_class(images, options):
    expected = [
        (name, [s.fingerprint() for s in sample_shots(images, name, **{"count": 5, **options})]) for name in NAMES
    ]
    assert prints(sample_classes(images, NAMES, **options)) == expected


def test_each_image_passes_the_network_once(kb, images):
    passed = []

    def forward(image, scale=1.0):
        passed.append(1)
        return kb.forward(image, scale)

    classes, val = sample_classes(images, NAMES, 3), DataSet(images.source, kb.labels)
    cached = learn_sequence(kb, classes, val, forward=CachedForward(forward))
    shots = {s.fingerprint() for x in classes for s in x.shots}
    views = 2 * len(Probe().scales)  # each also mirrored; one of them is the image itself
    assert len(passed) <= len(images) + (views - 1) * len(shots)
    anew = learn_sequence(kb, classes, val, forward=kb.forward)
    assert anew[-1].threshold == cached[-1].threshold


@pytest.mark.parametrize("method", [NPM(5.0), Probe(strength=3.0)], ids=["npm", "probe"])
def test_the_method_learns_every_class(kb, images, method):
    made = learn_sequence(kb, sample_classes(images, NAMES, 2), method=method)[-1]
    assert [e.details["method"] for e in made.history if e.action == "learn"] == [method.method] * 2
    assert made.history[-1].details["options"] == asdict(method)
    assert made.threshold == kb.threshold  # no known data, no new threshold


@pytest.mark.parametrize("begun", [False, True])
def test_stages_are_stored_in_order_after_what_they_came_from(kb, stages, tmp_path, begun):
    place = tmp_path / "kb"
    if begun:
        kb.save(place)
    assert save_stages(kb, stages[1:], place) == ([2, 3] if begun else [1, 2, 3])
    assert [v.parent for v in version_history(place)] == [None, 1, 2]
    back = load_stages(place)
    assert [s.labels.names for s in back] == [s.labels.names for s in stages]
    assert [s.threshold for s in back] == [s.threshold for s in stages]
    assert load(place, 1).labels.names == kb.labels.names


def test_a_manifest_brings_the_same_shots_back(images, tmp_path):
    classes, path = sample_classes(images, NAMES, 3, seed=4), tmp_path / "m.json"
    write_manifest(path, classes, images, seed=4)
    assert prints(read_manifest(path, images)) == prints(classes)
    value = json.loads(path.read_text())
    assert value["rule"] == {"seed": 4} and value["data"] == "tiny"
    assert [s["id"] for s in value["classes"][0]["shots"]] == [s.id for s in classes[0].shots]


def changed(value, **shot):
    first = value["classes"][0]["shots"]
    first[0] = {**first[0], **shot}
    return json.dumps(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: changed(v, sha256="0" * 16), "f. is not the image, or not the mask of rock, that .*m.json was made"),
        (lambda v: changed(v, id="elsewhere"), "names the image elsewhere, which tiny does not have"),
        (lambda v: changed(v, id=["f0"]), "is not a manifest"),
        (lambda v: "{}", "is not a manifest"),
        (lambda v: "nonsense", "is not a manifest"),
        (lambda v: '{"format": 99}', r"m\.json is of format 99; this owseg reads format 1\.$"),
    ],
)
def test_a_manifest_of_other_shots_is_refused(images, tmp_path, change, message):
    path = tmp_path / "m.json"
    write_manifest(path, sample_classes(images, NAMES, 3), images)
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(OwsegError, match=message):
        read_manifest(path, images)

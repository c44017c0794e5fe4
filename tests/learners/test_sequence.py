import json
from dataclasses import replace

import numpy as np
import pytest

from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.evaluation.evaluate import evaluate
from owseg.evaluation.sequence import evaluate_stream
from owseg.knowledge.calibration import calibrate, fit_scorers
from owseg.knowledge.load import load_stages
from owseg.labels import LabelSpace
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from owseg.learners.probe import Probe
from owseg.learners.sequence import draw, from_manifest, learn_stream, manifest
from owseg.models.engine import cached
from tests.support import tiny

NAMES = ("rock", "cow")


@pytest.fixture(scope="module")
def kb():
    known = tiny.dataset(8, 5)
    known = DataSet(known.source, LabelSpace.of(("road", "sky", "tree")))
    return calibrate(fit_scorers(tiny.knowledge_base(), known), known, scorer="joint")


@pytest.fixture(scope="module")
def frames():
    return tiny.dataset(10, 5)


@pytest.fixture(scope="module")
def stages(kb, frames):
    return [kb, *learn_stream(kb, draw(frames, NAMES, 3), DataSet(frames.source, kb.labels))]


def test_a_stream_is_learning_one_class_after_another(kb, frames, stages):
    by_hand = kb
    for lesson in draw(frames, NAMES, 3):
        by_hand = learn(by_hand, lesson.name, lesson.shots, DataSet(frames.source, kb.labels))
    assert stages[-1].labels.names == by_hand.labels.names == ("road", "sky", "tree", "rock", "cow")
    assert stages[-1].threshold == by_hand.threshold
    output = kb.forward(tiny.image(3))
    assert np.array_equal(stages[-1].closed(output, (48, 64))[0], by_hand.assess(output, (48, 64)).labels)
    assert len(stages[1].increments) == 1  # the value in between is what it was


def test_shots_are_drawn_among_the_frames_that_show_most():
    sizes = [0, 400, 30, 900, 50, 800, 10, 700, 600, 500]

    def read(i):
        ids = np.zeros((48, 64), np.uint8)
        ids.flat[: sizes[i]] = 1
        return tiny.image(i), ids

    data = tiny.dataset(10, 2)
    data = replace(data, source=replace(data.source, read=read))
    best = {f"f{i}" for i in (3, 5, 7, 8)}
    for seed in range(5):
        (lesson,) = draw(data, ["sky"], 2, seed, top=0.4)  # 9 frames show it, 4 are 40 % of them
        assert {s.id for s in lesson.shots} <= best
        assert [s.id for s in lesson.shots] == sorted(s.id for s in lesson.shots)
    assert len({tuple(s.id for s in draw(data, ["sky"], 2, seed, top=0.4)[0].shots) for seed in range(9)}) > 2
    with pytest.raises(OwsegError, match="only 3 images"):
        draw(replace(data, source=replace(data.source, ids=data.source.ids[:4])), ["sky"], 5)
    with pytest.raises(OwsegError, match="1 to 5"):
        draw(data, ["sky"], 6)
    with pytest.raises(OwsegError, match="seed"):
        draw(data, ["sky"], 5, -1)
    with pytest.raises(OwsegError, match="above 0 and at most 1"):
        draw(data, ["sky"], 1, top=0.0)


def test_a_manifest_brings_the_same_shots_back(frames, tmp_path):
    lessons = draw(frames, NAMES, 3, seed=4)
    path = tmp_path / "m.json"
    path.write_text(json.dumps(manifest(lessons, frames, seed=4)))
    again = from_manifest(path, frames)
    assert [(x.name, [s.fingerprint() for s in x.shots]) for x in again] == [
        (x.name, [s.fingerprint() for s in x.shots]) for x in lessons
    ]
    value = json.loads(path.read_text())
    value["classes"][0]["shots"][0]["sha256"] = "0" * 16
    path.write_text(json.dumps(value))
    with pytest.raises(OwsegError, match="not the image"):
        from_manifest(path, frames)
    value["classes"][0]["shots"][0]["id"] = "elsewhere"
    path.write_text(json.dumps(value))
    with pytest.raises(OwsegError, match="does not have"):
        from_manifest(path, frames)
    path.write_text("{}")
    with pytest.raises(OwsegError, match="no manifest"):
        from_manifest(path, frames)
    path.write_text('{"format": 99}')
    with pytest.raises(OwsegError, match="is of format 99") as caught:
        from_manifest(path, frames)
    assert "no manifest" not in str(caught.value)


def test_a_memory_changes_nothing_and_looks_once(kb, frames):
    seen = []

    def forward(image):
        seen.append(1)
        return kb.forward(image)

    lessons = draw(frames, NAMES, 3)
    val = DataSet(frames.source, kb.labels)
    cached_outputs = learn_stream(kb, lessons, val, forward=cached(forward))
    shots = {s.fingerprint() for x in lessons for s in x.shots}
    views = 2 * len(Probe().scales)  # each also in the mirror; one of them is the frame itself
    assert len(seen) <= len(frames) + (views - 1) * len(shots)
    plain = learn_stream(kb, lessons, val, forward=kb.forward)
    assert plain[-1].threshold == cached_outputs[-1].threshold
    for gigabytes, looks in ((2.0, 3), (0.0, 4)):
        seen.clear()
        few = cached(forward, gigabytes)
        for i in (0, 1, 2, 0):
            assert np.array_equal(few(tiny.image(i)).logits, kb.forward(tiny.image(i)).logits)
        assert len(seen) == looks


def test_every_stage_is_measured_as_it_would_be_alone(frames, stages):
    stream = evaluate_stream(stages, frames)
    for stage, kb in zip(stream.stages, stages, strict=True):
        alone = evaluate(kb, DataSet(frames.source, kb.labels))
        assert json.dumps(stage.to_json()) == json.dumps(alone.to_json())
    assert stream.steps == ("before", "+ rock", "+ cow")
    iou = stream.iou()
    assert np.isnan(iou["cow"][:2]).all() and np.isfinite(iou["cow"][2])
    told = json.loads(json.dumps(stream.to_json(), allow_nan=False))
    assert told["iou"]["cow"] == [None, None, iou["cow"][2]]
    assert told["forgetting"]["cow"] is None and told["still_unknown"][1]["found_after"] is None


def test_every_picture_is_read_once_however_many_stages_there_are(frames, stages):
    seen = []

    def read(i):
        seen.append(i)
        return frames.source.read(i)

    counted = replace(frames, source=replace(frames.source, read=read))
    assert evaluate_stream(stages, counted).to_json() == evaluate_stream(stages, frames).to_json()
    assert len(stages) == 3 and seen == list(range(len(frames)))


def test_what_is_forgotten_is_the_best_there_was_less_what_there_is(stages, frames):
    tables = {
        "road": (0.5, 0.75, 0.25),
        "sky": (0.5, 0.5, 1.0),
        "rock": (np.nan, 0.5, 0.5),
        "cow": (np.nan, np.nan, 1.0),
    }
    stream = evaluate_stream(stages, frames)
    object.__setattr__(stream, "iou", lambda: tables)
    lost = stream.forgetting()
    assert (lost["road"], lost["sky"], lost["rock"]) == (0.5, -0.5, 0.0) and np.isnan(lost["cow"])


def test_what_is_still_unknown_is_counted_pixel_by_pixel(frames, stages):
    stream = evaluate_stream(stages, frames)
    first, _ = stream.still_unknown()
    found = {True: [0, 0], False: [0, 0]}
    own = [0, 0]
    for i in range(len(frames)):
        image, raw = frames.source.read(i)
        for kb, after in ((stages[0], False), (stages[1], True)):
            called = kb.predict(image).open_set == 254
            found[after][0] += called[raw == 4].sum()
            found[after][1] += (raw == 4).sum()
            if after:
                own[0] += called[raw == 3].sum()
                own[1] += (raw == 3).sum()
    assert first["found_before"] == found[False][0] / found[False][1]
    assert first["found_after"] == found[True][0] / found[True][1]
    assert first["learned_called_unknown"] == own[0] / own[1]
    assert np.isnan(stream.still_unknown()[1]["found_after"])  # nothing is unknown any more


def test_stages_come_back_from_the_store(kb, frames, stages, tmp_path):
    for stage in stages:
        stage.save(tmp_path / "kb")
    back = load_stages(tmp_path / "kb")
    assert [s.labels.names for s in back] == [s.labels.names for s in stages]
    assert [s.threshold for s in back] == [s.threshold for s in stages]


def test_any_learner_makes_a_stream(kb, frames):
    for method in (NPM(5.0), Probe()):
        assert len(learn_stream(kb, draw(frames, NAMES, 2), method=method)[-1].increments) == 2


def test_there_must_be_a_stream_to_measure(kb, frames):
    with pytest.raises(OwsegError, match="not learned a class"):
        evaluate_stream([kb], frames)

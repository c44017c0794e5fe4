import math
from dataclasses import replace
from pathlib import Path

import pytest

from owseg.discovery.discover import discover
from owseg.discovery.queue import Queue
from owseg.errors import NotCurrent, OwsegError
from owseg.knowledge.commit import rollback_version
from owseg.knowledge.event import Event
from owseg.knowledge.versions import current_version
from owseg.learners.learn import learn
from owseg.learners.leave_one_out import left_out_iou
from owseg.review.session import Change, LearningSession
from owseg.review.state import ReviewState, provisional_name
from tests.support import tiny
from tests.support.folders import contents
from tests.support.queues import noted


@pytest.fixture
def place(unsure_kb, tmp_path):
    unsure_kb.save(tmp_path / "kb")
    paths = sorted(tiny.write_photos(tmp_path / "photos", 4).iterdir())
    discover(unsure_kb, paths, tmp_path / "queue", "kb", min_area=20)
    return tmp_path


def session_in(place: Path, target: str) -> LearningSession:
    return LearningSession(ReviewState(Queue.open(place / "queue")), str(place / "kb"), str(place / target))


@pytest.mark.parametrize("target", ["kb", "new"])
def test_a_class_is_learned_shown_and_undone(place, target):
    before = contents(place / "kb")
    session = session_in(place, target)
    state = session.state
    assert session.change() is None
    state.accept(state.group(1).regions, "cow")
    shots = [state.entry(i).name for i in state.chosen("cow")]
    assert session.learn("cow") == 2 and session.stage == ""
    for each in (session, session_in(place, target)):  # and after a restart
        change = each.change()
        assert (change.name, change.parent, change.version) == ("cow", 1, 2) and sorted(change.shots) == sorted(shots)
        assert each.kb().labels.names == ("road", "sky", "tree", "cow")
    images = session.images_to_compare(change)
    are_shots = [state.entry(i).name in change.shots for i in images]
    assert are_shots == sorted(are_shots) and any(are_shots)  # shots come last
    assert any(session.overlay(1, i) != session.overlay(2, i) for i in images)
    if target == "new":
        assert contents(place / "kb") == before
    assert session.undo() == 1 and current_version(place / target) == 1 and session.change() is None
    with pytest.raises(OwsegError, match="nothing was learned"):
        session.undo()
    assert session.learn("cow") == 3


def test_each_shot_is_found_by_what_the_others_show(place):
    session = session_in(place, "kb")
    state = session.state
    images = [i for i in state.queue.image_ids() if state.entry(i).regions][:3]
    state.accept([f"{i}-1" for i in images], "cow")
    state.queue.choose("cow", images)
    base, shots = session.kb(), list(state.queue.shots("cow", images=images))
    session.learn("cow")
    expected = left_out_iou(base, "cow", shots)
    for each in (session, session_in(place, "kb")):  # and after a restart
        assert each.change().found == pytest.approx(expected, abs=1e-4) and len(expected) == 3
    assert any(0 < iou < 1 for iou in expected.values())


def test_shots_that_others_say_nothing_of_and_one_alone(place, monkeypatch):
    session = session_in(place, "kb")
    session.state.accept(session.state.group(1).regions[:1], "cow")
    session.learn("cow")
    assert session.change().found == {} and "left_out_iou" in session.kb().history[-1].details
    monkeypatch.setattr("owseg.review.session.left_out_iou", lambda *_, **__: {"a.png": math.nan, "b.png": 0.25})
    session.state.accept(session.state.group(2).regions[:1], "cow")
    session.learn("cow")
    found = session_in(place, "kb").change().found
    assert math.isnan(found["a.png"]) and found["b.png"] == 0.25


def test_a_version_that_was_not_checked_says_nothing_of_shots(place):
    session = session_in(place, "kb")
    state = session.state
    state.accept(state.group(1).regions, "cow")
    learn(session.kb(), "cow", state.queue.shots("cow")).save(place / "kb")  # by another program
    assert session.change().name == "cow" and session.change().found is None


def test_undo_goes_back_one_version(place):
    session = session_in(place, "kb")
    state = session.state
    state.accept(state.group(1).regions, "cow")
    state.accept(state.group(2).regions, "hen")
    assert (session.learn("cow"), session.learn("hen")) == (2, 3)
    assert session.undo() == 2 and session.kb().labels.names[-1] == "cow"
    assert session.change().name == "cow" and session.undo() == 1


def test_what_cannot_be_learned_is_refused(place):
    session = session_in(place, "new")
    group = session.state.group(1)
    session.state.accept(group.regions[:1], provisional_name(group))
    with pytest.raises(OwsegError, match="name the class"):
        session.learn(provisional_name(group))
    with pytest.raises(OwsegError, match="no region"):
        session.learn("cow")
    session._lock.acquire()
    with pytest.raises(OwsegError, match="being learned; wait"):
        session.learn("cow")
    assert not (place / "new").exists()


def test_the_chosen_shots_and_no_others_are_learned_from(place, monkeypatch):
    session = session_in(place, "new")
    state, calls = session.state, []
    state.accept([r for g in state.groups() for r in g.regions], "cow")
    only = state.candidates("cow")[-1]
    state.queue.choose("cow", [only.image_id])

    def recording(base, name, shots, **options):
        calls.append((base, name, [s.id for s in shots], options["forward"]))
        return base

    monkeypatch.setattr("owseg.review.session.learn", recording)
    session.learn("cow")
    assert calls == [(session.load(None), "cow", [only.name], session._forward)]


def test_what_was_decided_to_be_something_else_is_a_counterexample(place):
    session = session_in(place, "kb")
    state = session.state
    first, second, third = [i for i in state.queue.image_ids() if state.entry(i).regions][:3]
    state.accept([f"{first}-1"], "cow")
    state.queue.reject(f"{second}-1")
    state.queue.mark_known(f"{third}-1", "sky")
    session.learn("cow")
    event = session.kb().history[-1]
    assert event.message == "learned cow from 1 shot and 2 counterexamples by probe"
    assert {c["id"] for c in event.details["counterexamples"]} == {state.entry(i).name for i in (second, third)}


def test_a_known_class_is_corrected_and_that_is_undone(place):
    session = session_in(place, "kb")
    state = session.state
    first, second, *_ = state.queue.image_ids()
    state.queue.mark_known([f"{first}-1", f"{second}-1"], "sky")
    before = session.kb()
    assert session.learn("sky") == 2
    kb, change = session.kb(), session.change()
    assert kb.labels.names == before.labels.names and [i.name for i in kb.increments] == ["sky"]
    assert kb.history[-1].message == "corrected sky from 2 shots by probe" and kb.history[-1].details["user"]
    assert (change.name, change.corrected, change.color) == ("sky", True, kb.labels.colors[1])
    core = state.entry(first).regions[0].core.mask()
    image = state.queue.image(first)
    was, now = (k.predict(image).open_set[core] for k in (before, kb))
    assert (was == 254).all() and (now == 1).mean() > 0.5
    assert set(session.images_to_compare(change)) >= {first, second}
    assert session.undo() == 1 and not session.kb().increments
    with pytest.raises(OwsegError, match=r"no region of .* is of 'tree'; mark some as known"):
        session.learn("tree")


def test_a_class_that_was_learned_is_corrected(place):
    session = session_in(place, "kb")
    state = session.state
    first, second, *_ = state.queue.image_ids()
    state.accept([f"{first}-1"], "cow")
    session.learn("cow")
    state.accept([f"{second}-1"], "cow")
    session.learn("cow")
    kb = session.kb()
    assert kb.learned_classes == ("cow",) and [i.name for i in kb.increments] == ["cow", "cow"]
    assert [e.action for e in kb.history[-2:]] == ["learn", "correct"]
    assert len(kb.history[-1].details["shots"]) == 2 and session.undo() == 2


def test_a_version_that_was_not_learned_here_shows_nothing(place, unsure_kb):
    session = session_in(place, "kb")
    unsure_kb.save(place / "kb")
    assert current_version(place / "kb") == 2 and session.change() is None


def test_a_knowledge_base_without_a_history_learned_nothing(place, unsure_kb):
    replace(unsure_kb, history=()).save(place / "new")
    assert session_in(place, "new").change() is None


def test_another_knowledge_base_is_refused(place):
    tiny.knowledge_base(("water", "sand", "moss")).save(place / "other")
    with pytest.raises(OwsegError, match="does not"):
        LearningSession(ReviewState(Queue.open(place / "queue")), str(place / "other"), str(place / "new"))


def test_what_another_stored_while_a_class_was_learned_is_not_hidden(place, monkeypatch):
    session = session_in(place, "kb")
    session.state.accept(session.state.group(1).regions, "cow")
    assert session.learn("cow") == 2
    session = session_in(place, "kb")
    session.load(1)  # to compare, and kept, while 2 is the current one
    assert session.undo() == 1

    def learned(base, name, shots, **options):
        rollback_version(place / "kb", 2)  # forward again, meanwhile
        return base.after(Event("learn", "learned cow again"))

    monkeypatch.setattr("owseg.review.session.learn", learned)
    with pytest.raises(NotCurrent, match="is at version 2 now, and this was made from version 1"):
        session.learn("cow")
    assert current_version(place / "kb") == 2 and not session.stage


def test_images_are_compared_without_reading_those_that_are_not_shown(place, monkeypatch):
    session = session_in(place, "kb")
    state = session.state
    change = Change("cow", 2, 1, (state.entry(state.queue.image_ids()[0]).name, "of another folder.png"), (1, 2, 3))
    read = noted(monkeypatch, "read_image")
    images = session.images_to_compare(change)
    assert images[-1] == state.queue.image_ids()[0] and len(images) == 4 and not read

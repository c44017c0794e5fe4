from pathlib import Path

import pytest

from owseg.discovery.discover import discover
from owseg.discovery.queue import Queue
from owseg.errors import OwsegError
from owseg.knowledge.versions import current_version
from owseg.review.session import LearningSession
from owseg.review.state import ReviewState, provisional
from tests.discovery.test_discover import contents, photos_in, unsure
from tests.support import tiny


@pytest.fixture
def place(tmp_path):
    unsure().save(tmp_path / "kb")
    discover(unsure(), photos_in(tmp_path), tmp_path / "queue", "kb", min_area=20)
    return tmp_path


def lessons_in(place: Path, target: str) -> LearningSession:
    return LearningSession(ReviewState(Queue.open(place / "queue")), str(place / "kb"), str(place / target))


@pytest.mark.parametrize("target", ["kb", "new"])
def test_a_class_is_learned_shown_and_forgotten(place, target):
    before = contents(place / "kb")
    lessons = lessons_in(place, target)
    desk = lessons.desk
    assert lessons.change() is None
    desk.accept(desk.group(1).regions, "cow")
    taught = [desk.entry(one).name for one in desk.chosen("cow")]
    assert lessons.learn("cow") == 2 and lessons.stage == ""
    for told in (lessons, lessons_in(place, target)):  # and after a restart
        change = told.change()
        assert (change.name, change.before, change.now) == ("cow", 1, 2) and sorted(change.shots) == sorted(taught)
        assert told.kb().labels.names == ("road", "sky", "tree", "cow")
    images = lessons.images(change)
    shots = [desk.entry(one).name in change.shots for one in images]
    assert shots == sorted(shots) and any(shots)  # what taught comes last
    assert any(lessons.map(1, one) != lessons.map(2, one) for one in images)
    if target == "new":
        assert contents(place / "kb") == before
    assert lessons.undo() == 1 and current_version(place / target) == 1 and lessons.change() is None
    with pytest.raises(OwsegError, match="nothing was learned"):
        lessons.undo()
    assert lessons.learn("cow") == 3


def test_what_cannot_be_learned_is_refused(place):
    lessons = lessons_in(place, "new")
    group = lessons.desk.group(1)
    lessons.desk.accept(group.regions[:1], provisional(group))
    with pytest.raises(OwsegError, match="say what it is"):
        lessons.learn(provisional(group))
    with pytest.raises(OwsegError, match="no region"):
        lessons.learn("cow")
    lessons._lock.acquire()
    with pytest.raises(OwsegError, match="being learned just now"):
        lessons.learn("cow")
    assert not (place / "new").exists()


def test_another_knowledge_base_is_refused(place):
    tiny.knowledge_base(("water", "sand", "moss")).save(place / "other")
    with pytest.raises(OwsegError, match="not"):
        LearningSession(ReviewState(Queue.open(place / "queue")), str(place / "other"), str(place / "new"))

"""Shots and counterexamples from what was decided about regions."""

from dataclasses import replace

import numpy as np
import pytest

from owseg.discovery import queue_shots
from owseg.discovery.queue_shots import shots_to_correct, shots_to_learn
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.regions import RegionProposals
from owseg.labels import UNKNOWN, LabelSpace
from tests.support import tiny
from tests.support.queues import IDS, SIZE, make, region, square

FIRST, SECOND = IDS[0][:16], IDS[3][:16]


@pytest.fixture
def queue(tmp_path):
    return make(tmp_path)


def test_what_was_rejected_or_is_known_is_not_the_class(queue):
    queue.accept(IDS[3], "dog")
    queue.reject(IDS[0])
    queue.mark_known(IDS[1], "sky")
    shot, other = shots_to_learn(queue, "dog", [SECOND])
    (expected,) = queue.shots("dog")
    assert shot.fingerprint() == expected.fingerprint() and shot.id == "p1.png"
    assert other.is_counterexample and other.id == "p0.png"
    assert np.array_equal(other.negatives, square(2, 2) | square(2, 12, 5))  # the whole regions, and nothing else
    assert np.array_equal(other.image, queue.image(FIRST))


def test_what_shows_the_class_or_another_new_one_is_no_counterexample(queue):
    queue.accept([IDS[3], IDS[0]], "dog")
    queue.accept(IDS[1], "group 2")
    shot, other = shots_to_learn(queue, "dog", [SECOND, FIRST])
    assert not shot.is_counterexample and not other.is_counterexample
    queue.reject(IDS[2])  # in an image that is a shot: a negative there
    shot, other = shots_to_learn(queue, "dog", [SECOND, FIRST])
    assert other.negatives[square(14, 20, 4)].all() and not other.is_counterexample
    with pytest.raises(OwsegError, match=r"no region of .* was accepted as 'cat'; accepted: dog, group 2"):
        shots_to_learn(queue, "cat", [])


def add(queue, name, embedding):
    """An image with one region of this embedding."""
    made = replace(region(square(4, 4)), embedding=np.array(embedding, np.float32))
    return queue.add(name, "0" * 64, RegionProposals(square(4, 4), (made,)), [b"jpeg"])


def test_of_many_images_those_are_taken_whose_regions_are_most_like_the_class(queue, monkeypatch):
    monkeypatch.setattr(queue_shots, "MOST_COUNTEREXAMPLES", 2)
    queue.accept(IDS[3], "dog")  # its embedding is (1, 0)
    found = {name: add(queue, name, e) for name, e in (("a", (0, 9)), ("b", (2, 1)), ("c", (-5, 0)), ("d", (3, 0)))}
    queue.reject([f"{image_id}-1" for image_id in found.values()])
    monkeypatch.setattr("owseg.discovery.queue.Queue.image", lambda queue, image_id: tiny.image(0, SIZE))
    _, *others = shots_to_learn(queue, "dog", [SECOND])
    assert [o.id for o in others] == ["d", "b"]


class Predicts(KnowledgeBase):
    """It predicts sky in the upper rows, and what is unknown is elsewhere."""

    def __init__(self):
        object.__setattr__(self, "labels", LabelSpace.of(["road", "sky"]))

    def predict(self, image, forward=None):
        labels = np.zeros(SIZE, np.uint8)
        labels[:12] = 1
        labels[20:] = UNKNOWN
        return type("P", (), {"open_set": labels})


def test_a_known_class_is_shown_by_what_was_marked_and_what_it_is_said_to_be(queue):
    queue.mark_known([IDS[0], IDS[3]], "sky")
    queue.mark_known(IDS[1], "road")
    queue.reject(IDS[2])
    both = shots_to_correct(queue, "sky", Predicts(), None)
    assert [s.id for s in both] == ["p0.png", "p1.png"] and not any(s.is_counterexample for s in both)
    shot = both[0]
    assert np.array_equal(shot.positives, queue.region(IDS[0]).core.mask())
    assert shot.negatives[square(2, 12, 5)].all()  # of another class, though that is predicted
    assert shot.void[:12][~square(2, 12, 5)[:12] & ~shot.positives[:12]].all()  # is it, or nobody knows
    assert shot.void[square(14, 20, 4)].all()  # rejected: it may be sky
    assert shot.void[20, 2:5].all() and shot.negatives[12:14].all()  # unknown and undecided; of another known class


def test_other_known_classes_are_counterexamples_to_a_correction_and_rejected_regions_are_not(queue):
    queue.mark_known(IDS[3], "sky")
    queue.mark_known(IDS[1], "road")
    queue.reject(IDS[2])
    _, other = shots_to_correct(queue, "sky", Predicts(), None)
    assert other.is_counterexample and np.array_equal(other.negatives, square(2, 12, 5))
    with pytest.raises(OwsegError, match=r"no region of .* is of 'tree'; mark some as known in `owseg review` \(K\)"):
        shots_to_correct(queue, "tree", Predicts(), None)


def test_regions_that_were_accepted_as_a_class_correct_it_once_it_is_known(queue):
    queue.accept(IDS[3], "sun", square(9, 9, 3))
    kb = Predicts()
    object.__setattr__(kb, "labels", LabelSpace.of(["road", "sky", "sun"]))
    (shot,) = shots_to_correct(queue, "sun", kb, None)
    assert np.array_equal(shot.positives, square(9, 9, 3)) and shot.id == "p1.png"

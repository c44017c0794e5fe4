import numpy as np
import pytest
from PIL import Image

from owseg.discovery.queue import Queue
from owseg.discovery.storage import About, file_hash
from owseg.errors import OwsegError
from owseg.knowledge.regions import RegionProposals
from tests.support import tiny
from tests.support.queues import SIZE, region, square


def test_shots_can_be_chosen_by_their_pictures(queue, ids):
    queue.accept([ids[1], ids[3]], "dog")
    assert queue.showing("dog") == [ids[3][:16], ids[1][:16]] and queue.showing("cat") == []
    assert [s.id for s in queue.shots("dog", images=[ids[1][:16]])] == ["p0.png"]
    with pytest.raises(OwsegError, match="no region"):
        queue.shots("dog", images=["0" * 16])


def test_a_shot_knows_what_was_said_and_what_was_not(queue, ids):
    queue.accept(ids[0], "dog")
    (shot,) = queue.shots("dog")
    core, margin = square(2, 2), square(2, 2)
    core[:, 7:] = False
    assert np.array_equal(shot.mask, core)
    assert shot.void is not None and not (shot.void & shot.mask).any()
    undecided = square(2, 12, 5) | square(14, 20, 4)
    assert shot.void[undecided].all() and shot.void[20, 2:5].all() and not shot.elsewhere[margin].any()
    assert not shot.void[10:13].any() and shot.elsewhere[10:13].all()  # known, far from all that is not
    assert shot.id == "p0.png" and np.array_equal(shot.image, tiny.image(0, SIZE))
    queue.reject(ids[1])
    queue.accept(ids[2], "cat")
    (shot,) = queue.shots("dog")
    assert shot.elsewhere[undecided].all()  # not a dog: one thing is nothing new, the other is a cat
    queue.accept(ids[3], "dog")
    assert [s.id for s in queue.shots("dog")] == ["p1.png", "p0.png"]  # what shows most comes first
    assert [s.id for s in queue.shots("dog", 1)] == ["p1.png"]


def test_regions_of_a_class_in_one_picture_are_one_shot(queue, ids):
    queue.accept(ids[1:3], "dog")
    (shot,) = queue.shots("dog")
    assert np.array_equal(shot.mask, square(2, 12, 5) | square(14, 20, 4))


def test_around_a_region_as_found_lies_a_margin_and_none_around_a_drawn_one(queue, ids):
    queue.accept(ids[3], "dog")
    (found,) = queue.shots("dog")
    assert not found.void[7, 10]  # 2 % of 24 pixels is less than one
    drawn = square(9, 9, 3)
    queue.accept(ids[3], "dog", drawn)
    (shot,) = queue.shots("dog")
    assert np.array_equal(shot.mask, drawn)
    assert np.array_equal(shot.void, queue.entry(ids[3][:16]).unknown.mask() & ~drawn)


def test_the_margin_is_a_share_of_the_picture(tmp_path):
    image = tiny.image(0, (104, 200))
    Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "p.png")
    queue = Queue.begin(tmp_path / "q", About("kb", "0", ("road",), str(tmp_path), 0.01, 0.5))
    mask = np.zeros((104, 200), bool)
    mask[40:60, 40:60] = True
    one = queue.add("p.png", file_hash(tmp_path / "p.png"), RegionProposals(mask, (region(mask),)), [b""])
    queue.accept(f"{one}-1", "dog")
    (shot,) = queue.shots("dog")
    assert shot.void[50].nonzero()[0].tolist() == [38, 39, 60, 61] and shot.void[38, 45] and not shot.void[38, 38]


def test_a_picture_that_changed_is_no_shot(queue, ids, tmp_path):
    queue.accept(ids[3], "dog")
    path = tmp_path / "photos" / "p1.png"
    Image.fromarray(tiny.image(9, SIZE).transpose(1, 2, 0)).save(path)
    with pytest.raises(OwsegError, match="has changed"):
        queue.shots("dog")
    path.unlink()
    with pytest.raises(OwsegError, match="is gone"):
        queue.shots("dog")

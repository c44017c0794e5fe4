import numpy as np
import pytest
from PIL import Image

from owseg._files import file_sha256
from owseg.discovery.contents import QueueInfo
from owseg.discovery.queue import Queue
from owseg.errors import OwsegError
from owseg.knowledge.regions import RegionProposals
from tests.support import tiny
from tests.support.queues import SIZE, region, square


def test_shots_can_be_chosen_by_their_images(queue, ids):
    queue.accept([ids[1], ids[3]], "dog")
    assert [s.id for s in queue.shots("dog", max_shots=1)] == ["p0.png"]
    assert queue.images_of("dog") == [ids[1][:16], ids[3][:16]] and queue.images_of("cat") == []
    assert [s.id for s in queue.shots("dog", images=[ids[1][:16]])] == ["p0.png"]
    with pytest.raises(OwsegError, match="no region"):
        queue.shots("dog", images=["0" * 16])


def test_what_was_decided_is_positive_or_negative_and_the_rest_is_void(queue, ids):
    queue.accept(ids[0], "dog")
    (shot,) = queue.shots("dog")
    core, margin = square(2, 2), square(2, 2)
    core[:, 7:] = False
    assert np.array_equal(shot.positives, core)
    assert shot.void is not None and not (shot.void & shot.positives).any()
    undecided = square(2, 12, 5) | square(14, 20, 4)
    assert shot.void[undecided].all() and shot.void[20, 2:5].all() and not shot.negatives[margin].any()
    assert not shot.void[10:13].any() and shot.negatives[10:13].all()  # known, far from all that is not
    assert shot.id == "p0.png" and np.array_equal(shot.image, tiny.image(0, SIZE))
    queue.reject(ids[1])
    queue.accept(ids[2], "cat")
    (shot,) = queue.shots("dog")
    assert shot.negatives[undecided].all()  # not a dog: one thing is nothing new, the other is a cat
    queue.accept(ids[3], "dog")
    assert [s.id for s in queue.shots("dog")] == ["p0.png", "p1.png"]
    assert [s.id for s in queue.shots("dog", 1)] == ["p0.png"]


def test_images_are_learned_from_in_the_order_in_which_they_were_accepted(queue, ids):
    queue.accept([ids[3], ids[0], ids[2]], "dog")  # as the regions of a group stand, whatever their areas
    assert queue.images_of("dog") == [ids[3][:16], ids[0][:16]]
    assert [s.id for s in queue.shots("dog")] == ["p1.png", "p0.png"]


def test_regions_of_a_class_in_one_image_are_one_shot(queue, ids):
    queue.accept(ids[1:3], "dog")
    (shot,) = queue.shots("dog")
    assert np.array_equal(shot.positives, square(2, 12, 5) | square(14, 20, 4))


@pytest.mark.parametrize("decide", [lambda q, r: q.reject(r), lambda q, r: q.mark_known(r, "road")])
def test_what_is_nothing_new_is_negative(queue, ids, decide):
    queue.accept(ids[1], "dog")
    assert queue.shots("dog")[0].void[15, 21]  # nobody has decided about it yet
    decide(queue, ids[2])
    (shot,) = queue.shots("dog")
    assert shot.negatives[14:18, 20:24].all()


def test_a_region_as_found_has_a_void_margin_and_a_corrected_one_has_none(queue, ids):
    queue.accept(ids[3], "dog")
    (found,) = queue.shots("dog")
    assert not found.void[7, 10]  # 2 % of 24 pixels is less than one
    corrected = square(9, 9, 3)
    queue.accept(ids[3], "dog", corrected)
    (shot,) = queue.shots("dog")
    assert np.array_equal(shot.positives, corrected)
    assert np.array_equal(shot.void, queue.entry(ids[3][:16]).unknown.mask() & ~corrected)


def test_the_margin_is_a_share_of_the_image(tmp_path):
    image = tiny.image(0, (104, 200))
    Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "p.png")
    queue = Queue.begin(tmp_path / "q", QueueInfo("kb", "0", ("road",), str(tmp_path), 0.01, 0.5))
    mask = np.zeros((104, 200), bool)
    mask[40:60, 40:60] = True
    one = queue.add("p.png", file_sha256(tmp_path / "p.png"), RegionProposals(mask, (region(mask),)), [b""])
    queue.accept(f"{one}-1", "dog")
    (shot,) = queue.shots("dog")
    assert shot.void[50].nonzero()[0].tolist() == [38, 39, 60, 61] and shot.void[38, 45] and not shot.void[38, 38]


def test_an_image_that_changed_is_no_shot(queue, ids, tmp_path):
    queue.accept(ids[3], "dog")
    path = tmp_path / "photos" / "p1.png"
    Image.fromarray(tiny.image(9, SIZE).transpose(1, 2, 0)).save(path)
    with pytest.raises(OwsegError, match="has changed"):
        queue.shots("dog")
    path.unlink()
    with pytest.raises(OwsegError, match="is gone"):
        queue.shots("dog")

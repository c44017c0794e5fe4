import numpy as np
import pytest

from owseg.data.masks import Rle
from owseg.discovery import rows
from owseg.discovery.contents import Group
from owseg.discovery.queue import Queue
from owseg.errors import OwsegError
from owseg.review.state import ReviewState, is_provisional, provisional_name
from tests.support.counting import Name, compared, grows_linearly
from tests.support.queues import IDS, SIZE, make, many, noted, square


@pytest.fixture
def state(tmp_path):
    return ReviewState(make(tmp_path))


def again(state):
    """The state as another process has it."""
    return ReviewState(Queue.open(state.queue.folder))


def test_a_tile_counts_what_was_decided(state):
    tile = state.tile(state.group(1))
    assert tile.typical == (IDS[0], IDS[1], IDS[3])
    assert (tile.regions, tile.copies, tile.nearest, tile.state) == (3, 0, "road", "untouched")
    state.accept([IDS[0]], "dog")
    state.queue.reject(IDS[1])
    tile = state.tile(state.group(1))
    assert (tile.accepted, tile.rejected, tile.undecided, tile.names, tile.state) == (1, 1, 1, ("dog",), "begun")
    assert state.undecided(state.group(1)) == [IDS[3]]
    assert tile.summary == "1 dog · 1 rejected · 1 undecided" and state.tile(state.group(2)).summary == ""
    state.accept([IDS[3]], "cat")
    assert state.tile(state.group(1)).state == "done" and state.tile(state.group(2)).state == "untouched"
    assert state.progress() == (3, 4)
    state.queue.mark_known(IDS[3], "sky")
    tile = state.tile(state.group(1))
    assert (tile.accepted, tile.rejected, tile.known, tile.undecided, tile.state) == (1, 1, 1, 0, "done")
    assert tile.summary == "1 dog · 1 rejected · 1 known"


def test_a_tile_shows_at_most_four_regions(state):
    many = Group(1, tuple(IDS * 3))
    assert state.tile(many).typical == tuple(IDS)


def test_small_regions_are_hidden(state):
    """The cores have 30, 25, 16 and 64 pixels."""
    whole = Group(1, (IDS[0], IDS[1], IDS[3]), {IDS[0]: (IDS[2],), IDS[3]: ()})
    assert state.shown(whole, 1) is whole and state.shown(whole, 30).regions == (IDS[0], IDS[3])
    assert state.shown(whole, 31) == Group(1, (IDS[3],), {IDS[3]: ()}) and not state.shown(whole, 65)
    assert state.group(1, 31).regions == (IDS[3],) and state.group(2, 16) == state.group(2)
    with pytest.raises(OwsegError, match="group 2 has no region of 17 pixels or more"):
        state.group(2, 17)
    state.accept(state.group(1, 30).regions, "dog")
    assert state.tile(state.group(1, 30)).state == "done" and state.tile(state.group(1)).state == "begun"


def test_a_known_region_is_none_of_a_new_class(state):
    state.correct(IDS[3], "dog", list(Rle.of(square(9, 9, 3)).counts))
    state.queue.mark_known(IDS[3], "sky")
    view = again(state).view(IDS[3])
    assert (view["action"], view["class"], view["corrected"]) == ("known", "sky", False)
    assert state.class_names() == [] and state.queue.accepted() == {} and not state.candidates("sky")
    assert is_provisional(state.name_for(state.group(1)))
    with pytest.raises(OwsegError, match="not accepted"):
        state.queue.rename(IDS[3], "dog")
    assert state.undo() == [IDS[3]] and state.class_names() == ["dog"] and state.view(IDS[3])["corrected"]


def test_what_another_process_decides_counts_at_once(state):
    other = again(state)
    state.accept([IDS[0]], "dog")
    assert other.decisions() == state.decisions() and other.class_names() == ["dog"]
    other.queue.undo()
    assert state.decisions() == {}


def test_undo_returns_the_regions_that_it_changed(state):
    state.accept(IDS[:2], "dog")
    state.accept([IDS[1]], "cat")
    assert state.undo() == [IDS[1]] and sorted(state.undo()) == sorted(IDS[:2])
    with pytest.raises(OwsegError, match="nothing to undo"):
        state.undo()


def test_a_corrected_mask_comes_back_and_outlives_a_new_name(state):
    corrected = square(9, 9, 3)
    state.correct(IDS[3], "dgo", list(Rle.of(corrected).counts))
    for name in ("dog", "dog", "hound"):
        state.accept([IDS[3]], name)
        view = again(state).view(IDS[3])
        assert (view["class"], view["corrected"], view["action"]) == (name, True, "accept")
        assert np.array_equal(Rle.from_counts(view["counts"], SIZE).mask(), corrected)
    state.queue.undo()
    assert state.view(IDS[3])["class"] == "dog" and state.view(IDS[3])["corrected"]
    state.queue.reject(IDS[3])
    view = state.view(IDS[3])
    assert not view["corrected"] and np.array_equal(Rle.from_counts(view["counts"], SIZE).mask(), square(8, 8, 8))


@pytest.mark.parametrize(
    "counts",
    [[], [24 * 32], [5], [-1, 24 * 32 + 1], [0.5, 767.5], ["0", 768], {"0": 768}, None, "768", [2**70], [True]],
)
def test_a_mask_that_does_not_fit_is_refused(state, counts):
    with pytest.raises(OwsegError):
        state.correct(IDS[3], "dog", counts)
    assert state.decisions() == {}


@pytest.mark.parametrize("region", ["", "../../etc/passwd", "x" * 5000, IDS[0] + "0", IDS[0][:-1] + "4", IDS[0] + "\n"])
def test_what_is_not_a_region_is_refused(state, region):
    for act in (state.view, lambda r: state.correct(r, "dog", [0, 768]), lambda r: state.accept([r], "dog")):
        with pytest.raises(OwsegError, match="names no"):
            act(region)
    assert state.decisions() == {}


def test_what_was_accepted_before_it_had_a_name_gets_it_in_one_action(state):
    group = state.group(1)
    assert state.name_for(group) == provisional_name(group) and is_provisional(provisional_name(group))
    state.accept(IDS[:2], state.name_for(group))
    state.correct(IDS[3], state.name_for(group), list(Rle.of(square(9, 9, 3)).counts))
    assert state.class_names() == []
    state.name_group(group, " dog ")
    assert state.queue.accepted() == {"dog": [IDS[0], IDS[1], IDS[3]]} and state.view(IDS[3])["corrected"]
    assert state.name_for(group) == "dog" and state.class_names() == ["dog"]
    state.name_group(group, "cat")  # has a name already
    assert state.class_names() == ["dog"]
    state.queue.undo()
    assert state.name_for(group) == provisional_name(group)
    with pytest.raises(OwsegError, match="known already"):
        state.name_group(group, "road")
    with pytest.raises(OwsegError, match="not a class name"):
        state.name_group(group, "a\nb")


def test_shots_are_those_accepted_first_until_others_are_chosen(state):
    state.accept([IDS[3], IDS[1]], "dog")
    first, second = state.candidates("dog")
    assert (first.name, second.name, first.chosen, second.chosen) == ("p1.png", "p0.png", True, True)
    state.queue.choose("dog", [second.image_id])
    assert again(state).chosen("dog") == [second.image_id]
    (shot,) = state.queue.shots("dog", images=state.chosen("dog"))
    assert shot.id == "p0.png"
    for several in ([], ["0" * 16]):
        with pytest.raises(OwsegError, match="one or more of the images that were accepted"):
            state.queue.choose("dog", several)
    assert state.chosen("dog") == [second.image_id]
    state.queue.reject(IDS[1])
    assert state.chosen("dog") == [IDS[3][:16]] and state.queue.chosen("dog") == [IDS[1][:16]]  # it shows no dog now


def test_a_group_that_does_not_exist_is_refused(state):
    for number in (0, 3, -1):
        with pytest.raises(OwsegError, match="no group"):
            state.group(number)


def test_shots_to_choose_from_are_found_without_reading_an_image(tmp_path, monkeypatch):
    queue, ids = many(tmp_path / "q", images=4, regions=3)
    state, read = ReviewState(queue), noted(monkeypatch, "read_image")
    lists, read_lists = [], rows.read_summaries
    monkeypatch.setattr(rows, "read_summaries", lambda db: lists.append(1) or read_lists(db))
    state.accept(ids, "dog")
    assert len(state.candidates("dog")) == 4
    for region in ids[:3]:
        queue.reject(region)
        assert state.candidates("dog") and state.tile(state.group(1)).nearest == "road"
    assert not read and len(lists) == 1
    assert [c.image_id for c in state.candidates("dog")] == list(dict.fromkeys(r[:16] for r in ids[3:]))


def test_what_nobody_changed_is_not_read_again(state, monkeypatch):
    read = []
    for name in ("discovered", "decisions"):
        whole = getattr(Queue, name)
        monkeypatch.setattr(Queue, name, lambda self, name=name, whole=whole: read.append(name) or whole(self))
    for act, again in (
        (lambda: None, ["discovered", "decisions"]), (lambda: None, []),
        (lambda: state.queue.reject(IDS[0]), ["decisions"]), (state.queue.undo, ["decisions"]),
        (lambda: state.queue.write_groups([Group(1, tuple(IDS))]), ["discovered"]),
    ):  # fmt: skip
        act()
        read.clear()
        assert state.groups() and state.decisions() is not None and read == again
    assert state.group(1).regions == tuple(IDS)


def test_groups_are_arranged_again_after_a_move_alone(state):
    before = state.arrangement()
    state.queue.reject(IDS[0])
    assert state.arrangement() is before
    again(state).queue.split(IDS[0])
    assert state.arrangement() is not before and [g.number for g in state.groups()] == [1, 3, 2]
    assert state.group(3).regions == (IDS[0],) and state.has_group(3) and state.tile(state.group(3)).rejected == 1
    assert state.undo() == [IDS[0]] and not state.has_group(3) and IDS[0] in state.decisions()


def test_what_was_moved_is_named_with_its_new_group(state):
    state.accept([IDS[0]], state.name_for(state.group(1)))
    state.queue.merge(IDS[0], 2)
    assert state.name_for(state.group(2)) == "group 2"
    state.accept([IDS[2]], "group 2")
    state.name_group(state.group(2), "dog")
    assert state.queue.accepted() == {"dog": [IDS[0], IDS[2]]}


def test_regions_that_are_accepted_again_are_compared_once(tmp_path):
    def asked(n):
        queue, ids = many(tmp_path / str(n), images=n, regions=10)
        state = ReviewState(queue)
        state.accept(ids, "dog")
        names = [Name(region) for region in ids]
        return compared(lambda: state.accept(names, "cat"))

    assert grows_linearly(asked, 10)


def test_the_name_of_a_group_takes_one_reading(state, monkeypatch):
    state.accept(IDS[:2], "dog")
    reads, decisions = [], state.decisions
    monkeypatch.setattr(state, "decisions", lambda: reads.append(1) or decisions())
    assert state.name_for(state.group(1)) == "dog" and len(reads) == 1

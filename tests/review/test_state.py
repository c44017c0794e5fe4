import numpy as np
import pytest

from owseg.data.masks import Rle
from owseg.discovery.queue import Queue
from owseg.errors import OwsegError
from owseg.review.state import ReviewState, is_provisional, provisional
from tests.support.queues import IDS, SIZE, make, square


@pytest.fixture
def desk(tmp_path):
    return ReviewState(make(tmp_path))


def again(desk):
    """The desk as another process sees it."""
    return ReviewState(Queue.open(desk.queue.folder))


def test_a_tile_counts_what_was_decided(desk):
    tile = desk.tile(desk.group(1))
    assert (tile.face, tile.regions, tile.copies, tile.nearest, tile.state) == (IDS[0], 3, 0, "road", "untouched")
    desk.accept([IDS[0]], "dog")
    desk.queue.reject(IDS[1])
    tile = desk.tile(desk.group(1))
    assert (tile.accepted, tile.rejected, tile.left, tile.names, tile.state) == (1, 1, 1, ("dog",), "begun")
    assert desk.left(desk.group(1)) == [IDS[3]]
    desk.accept([IDS[3]], "cat")
    assert desk.tile(desk.group(1)).state == "done" and desk.tile(desk.group(2)).state == "untouched"
    assert desk.progress() == (3, 4)


def test_what_another_process_decides_is_seen_at_once(desk):
    other = again(desk)
    desk.accept([IDS[0]], "dog")
    assert other.decisions() == desk.decisions() and other.names() == ["dog"]
    other.queue.undo()
    assert desk.decisions() == {}


def test_undo_tells_which_regions_it_was_about(desk):
    desk.accept(IDS[:2], "dog")
    desk.accept([IDS[1]], "cat")
    assert desk.undo() == [IDS[1]] and sorted(desk.undo()) == sorted(IDS[:2])
    with pytest.raises(OwsegError, match="nothing to undo"):
        desk.undo()


def test_a_corrected_mask_comes_back_and_outlives_a_new_name(desk):
    drawn = square(9, 9, 3)
    desk.correct(IDS[3], "dgo", list(Rle.of(drawn).counts))
    for name in ("dog", "dog", "hound"):
        desk.accept([IDS[3]], name)
        view = again(desk).view(IDS[3])
        assert (view["said"], view["corrected"], view["verdict"]) == (name, True, "accept")
        assert np.array_equal(Rle(SIZE, tuple(view["counts"])).mask(), drawn)
    desk.queue.undo()
    assert desk.view(IDS[3])["said"] == "dog" and desk.view(IDS[3])["corrected"]
    desk.queue.reject(IDS[3])
    view = desk.view(IDS[3])
    assert not view["corrected"] and np.array_equal(Rle(SIZE, tuple(view["counts"])).mask(), square(8, 8, 8))


@pytest.mark.parametrize(
    "counts",
    [[], [24 * 32], [5], [-1, 24 * 32 + 1], [0.5, 767.5], ["0", 768], {"0": 768}, None, "768", [2**70], [True]],
)
def test_a_mask_that_does_not_fit_is_refused(desk, counts):
    with pytest.raises(OwsegError):
        desk.correct(IDS[3], "dog", counts)
    assert desk.decisions() == {}


@pytest.mark.parametrize("region", ["", "../../etc/passwd", "x" * 5000, IDS[0] + "0", IDS[0][:-1] + "4", IDS[0] + "\n"])
def test_a_region_that_is_none_is_refused(desk, region):
    for act in (desk.view, lambda r: desk.correct(r, "dog", [0, 768]), lambda r: desk.accept([r], "dog")):
        with pytest.raises(OwsegError, match="names no"):
            act(region)
    assert desk.decisions() == {}


def test_what_was_accepted_before_it_had_a_name_gets_it_in_one_action(desk):
    group = desk.group(1)
    assert desk.name_of(group) == provisional(group) and is_provisional(provisional(group))
    desk.accept(IDS[:2], desk.name_of(group))
    desk.correct(IDS[3], desk.name_of(group), list(Rle.of(square(9, 9, 3)).counts))
    assert desk.names() == []
    desk.name_group(group, " dog ")
    assert desk.queue.accepted() == {"dog": [IDS[0], IDS[1], IDS[3]]} and desk.view(IDS[3])["corrected"]
    assert desk.name_of(group) == "dog" and desk.names() == ["dog"]
    desk.name_group(group, "cat")  # has a name already
    assert desk.names() == ["dog"]
    desk.queue.undo()
    assert desk.name_of(group) == provisional(group)
    with pytest.raises(OwsegError, match="known already"):
        desk.name_group(group, "road")
    with pytest.raises(OwsegError, match="no class name"):
        desk.name_group(group, "a\nb")


def test_shots_are_those_that_show_most_until_others_are_chosen(desk):
    desk.accept([IDS[1], IDS[3]], "dog")
    first, second = desk.candidates("dog")
    assert (first.name, second.name, first.chosen, second.chosen) == ("p1.png", "p0.png", True, True)
    desk.choose("dog", [second.image])
    assert again(desk).chosen("dog") == [second.image]
    (shot,) = desk.queue.shots("dog", images=desk.chosen("dog"))
    assert shot.id == "p0.png"
    for several in ([], ["0" * 16], [first.image] * 6):
        with pytest.raises(OwsegError, match="1 to 5"):
            desk.choose("dog", several)
    assert desk.chosen("dog") == [second.image]
    (desk.queue.folder / "shots.json").write_text("[")
    with pytest.raises(OwsegError, match=r"shots.json is damaged"):
        desk.chosen("dog")


def test_a_group_that_is_none_is_refused(desk):
    for number in (0, 3, -1):
        with pytest.raises(OwsegError, match="no group"):
            desk.group(number)

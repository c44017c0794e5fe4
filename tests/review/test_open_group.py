import pytest

from owseg.discovery.contents import Group
from owseg.errors import OwsegError
from owseg.review.open_group import OpenGroup
from owseg.review.state import ReviewState
from tests.support.counting import Name, compared, grows_linearly
from tests.support.queues import IDS, make, many, square

FIRST = (IDS[0], IDS[1], IDS[3])
"""The regions of the first group."""


@pytest.fixture
def state(tmp_path):
    return ReviewState(make(tmp_path))


def test_the_region_of_the_address_is_shown_first(state):
    assert OpenGroup(state, 1).region == FIRST[0] and OpenGroup(state, 1, FIRST[2]).region == FIRST[2]
    assert OpenGroup(state, 1, IDS[2]).region == FIRST[0]  # of another group
    with pytest.raises(OwsegError, match="no group 3"):
        OpenGroup(state, 3)
    assert OpenGroup(state, 1, FIRST[2], least=30).regions == (FIRST[0], FIRST[2])  # without that of 25 pixels


def test_a_decision_goes_on_to_the_next_region_and_stops_at_the_last(state):
    group = OpenGroup(state, 1)
    group.accept()
    group.reject()
    assert group.region == FIRST[2]
    group.accept()
    assert group.region == FIRST[2] and [state.decisions()[r].action for r in FIRST] == ["accept", "reject", "accept"]
    group.show(-1)
    assert group.region == FIRST[0]


@pytest.mark.parametrize("act, action", [("accept_rest", "accept"), ("reject_rest", "reject")])
def test_the_rest_is_what_nobody_has_decided(state, act, action):
    group = OpenGroup(state, 1)
    (group.reject if action == "accept" else group.accept)()
    first = state.decisions()[FIRST[0]]
    getattr(group, act)()
    decisions = state.decisions()
    assert decisions[FIRST[0]] == first and {decisions[r].action for r in FIRST[1:]} == {action}
    assert IDS[2] not in decisions and group.region == FIRST[1]
    getattr(group, act)()  # nothing is left
    assert len(state.undo()) == 2


def test_a_name_is_given_before_or_after(state):
    group = OpenGroup(state, 1)
    assert group.name == "group 1" and group.class_name == ""
    group.accept()
    assert group.rename(" dog ") and (group.name, group.class_name) == ("dog", "dog")
    group.accept()
    assert state.queue.accepted() == {"dog": list(FIRST[:2])}
    assert not group.rename("  ") and not group.rename("dog ")
    with pytest.raises(OwsegError, match="not a class name"):
        group.rename("a\nb")
    assert group.name == "dog" and OpenGroup(state, 1).name == "dog"


@pytest.mark.parametrize("name, message", [("road", "known already"), ("Void", "is reserved")])
def test_a_name_that_no_region_could_be_accepted_as_is_refused_at_once(state, name, message):
    group = OpenGroup(state, 1)
    with pytest.raises(OwsegError, match=message):
        group.rename(name)
    assert group.name == "group 1"


def test_undo_shows_what_it_changed_and_takes_the_name_back(state):
    group = OpenGroup(state, 1)
    group.accept()
    group.rename("dog")
    group.show(2)
    group.undo()  # the renaming
    assert group.region == FIRST[0] and group.name == "group 1"
    group.show(2)
    state.queue.reject(IDS[2])  # of another group
    group.undo()
    assert group.region == FIRST[2] and set(state.decisions()) == {FIRST[0]}


def test_captions_and_labels(state):
    group = OpenGroup(state, 1)
    assert group.caption() == "p0.png · not decided" and group.label(FIRST[0]) == ("open", "")
    group.accept()
    group.show(0)
    assert group.caption() == "p0.png · accepted" and group.label(FIRST[0]) == ("accept", "accepted")
    state.queue.accept(FIRST[0], "dog", square(1, 1, 3))
    assert group.caption() == "p0.png · dog, mask corrected" and group.label(FIRST[0]) == ("accept", "dog")
    group.reject()
    assert group.label(FIRST[0]) == ("reject", "rejected")
    group.show(0)
    assert group.caption() == "p0.png · rejected"
    group.mark_known("sky")
    assert group.region == FIRST[1] and group.label(FIRST[0]) == ("known", "known: sky")
    group.show(0)
    assert group.caption() == "p0.png · known: sky"
    with pytest.raises(OwsegError, match="no known class"):
        group.mark_known("dog")
    assert group.region == FIRST[0]
    group.undo()
    assert group.caption() == "p0.png · rejected"


def test_selected_regions_are_split_off_and_that_is_undone(state):
    group = OpenGroup(state, 1, FIRST[2])
    for index in (2, 0, 1, 1):
        group.select(index)
    assert group.selected == {FIRST[0], FIRST[2]} and group.split() == 3
    group.reload(group.region)
    assert (group.regions, group.region, group.selected) == ((FIRST[1],), FIRST[1], set())
    new = OpenGroup(state, 3)
    assert new.regions == (FIRST[0], FIRST[2])
    group.undo()
    assert group.regions == FIRST and group.region == FIRST[0]
    with pytest.raises(OwsegError, match="no group 3"):
        new.reload()


def test_a_group_is_merged_with_what_is_hidden_and_a_selection_alone(state):
    group = OpenGroup(state, 1, least=30)
    group.select(1)
    group.merge(2)
    assert state.group(2).regions == (IDS[2], FIRST[2])
    group.reload()
    assert group.regions == (FIRST[0],)
    group.merge(2)
    assert state.group(2).regions == (IDS[2], FIRST[2], FIRST[0], FIRST[1]) and not state.has_group(1)
    with pytest.raises(OwsegError, match="no group 1"):
        group.reload()


def test_what_was_undone_is_sought_once(tmp_path, monkeypatch):
    def asked(n):
        queue, ids = many(tmp_path / str(n), images=n, regions=10)
        state = ReviewState(queue)
        monkeypatch.setattr(state, "group", lambda number, least=0: Group(number, tuple(map(Name, ids))))
        group = OpenGroup(state, 1, ids[-1])
        assert group.region == ids[-1]
        state.accept(ids[:-1], "dog")
        return compared(group.undo) if group.region == ids[-1] else 0

    assert grows_linearly(asked, 10)

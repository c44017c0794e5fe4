import pytest

from owseg.discovery.contents import Group
from owseg.discovery.log import Action
from owseg.discovery.moves import number_of_next, regrouped
from owseg.discovery.queue import Queue
from owseg.errors import OwsegError
from tests.support.queues import edit

A, B, C, D, E, F = (f"{'0' * 16}-{k}" for k in range(1, 7))
GROUPS = [Group(1, (A, B, C), {A: (F,)}, 3.0), Group(2, (D,), {}, 2.0), Group(3, (E,), {}, 1.0)]


def after(*moves):
    """The regions of each group by its number, in the order of review."""
    made = [Action("move", regions, into) for regions, into in moves]
    return {g.number: g.regions for g in regrouped(GROUPS, made)}


def test_without_moves_nothing_changes():
    assert regrouped(GROUPS, []) == GROUPS and number_of_next(GROUPS, []) == 4


def test_a_group_that_is_split_off_comes_behind_its_own():
    assert [*after(((B, C), None)).items()] == [(1, (A,)), (4, (B, C)), (2, (D,)), (3, (E,))]
    assert [*after(((B,), None), ((C,), None)).items()] == [(1, (A,)), (4, (B,)), (5, (C,)), (2, (D,)), (3, (E,))]
    assert after(((B,), None), ((A, B, C), None)) == {5: (A, B, C), 2: (D,), 3: (E,)}  # number 4 is not given again


def test_regions_that_are_moved_come_last_and_an_empty_group_is_left_out():
    assert after(((A, B), E)) == {1: (C,), 2: (D,), 3: (E, A, B)}
    assert after(((D,), A), ((E,), D)) == {1: (A, B, C, D, E)}
    assert after(((A,), E), ((E,), D)) == {1: (B, C), 2: (D, E), 3: (A,)}  # A was moved to the group, not to E


def test_copies_and_priorities_go_with_their_regions():
    one, two, three = regrouped(GROUPS, [Action("move", (A, B), D)])
    assert (one.priority, two.priority, three) == (1.0, 4.0, GROUPS[2])
    assert (one.copies, two.copies) == ({}, {A: (F,)})


def test_regions_that_are_in_no_group_by_now():
    """``owseg discover`` was run again, and groups images that came in between."""
    gone = f"{'1' * 16}-1"
    assert after(((gone, B), E)) == {1: (A, C), 2: (D,), 3: (E, B)}
    assert after(((B,), gone)) == {1: (A, B, C), 2: (D,), 3: (E,)}
    assert after(((D,), F)) == {1: (A, B, C, D), 3: (E,)}  # a copy of A
    assert after(((F,), E)) == after(((gone,), None)) == {1: (A, B, C), 2: (D,), 3: (E,)}


def arranged(queue):
    return {g.number: g.regions for g in queue.groups()}


def test_a_queue_is_split_and_merged_and_that_is_undone(queue, ids):
    first, second, other, third = ids
    queue.accept([first, second], "dog")
    before = queue.decisions()
    assert queue.split([second, third]) == 3
    assert arranged(queue) == {1: (first,), 3: (second, third), 2: (other,)}
    queue.merge(queue.groups()[1].regions, 2)
    assert arranged(Queue.open(queue.folder)) == {1: (first,), 2: (other, second, third)}
    queue.merge([first, other], 1)  # one is there already
    assert arranged(queue) == {1: (first, other), 2: (second, third)}
    assert queue.decisions() == before and queue.accepted() == {"dog": [first, second]}
    assert [(a.do, a.regions, a.name) for a in queue.actions()][1:] == [
        ("move", (second, third), None), ("move", (second, third), other), ("move", (other,), first),
    ]  # fmt: skip
    for expected in (
        {1: (first,), 2: (other, second, third)}, {1: (first,), 3: (second, third), 2: (other,)},
        {1: (first, second, third), 2: (other,)},
    ):  # fmt: skip
        assert queue.undo() and arranged(queue) == expected == arranged(Queue.open(queue.folder))
        assert queue.decisions() == before
    assert queue.undo() and not queue.undo() and not queue.decisions()
    assert queue.split(first) == 3


def test_moves_and_decisions_are_undone_in_their_order(queue, ids):
    queue.split(ids[0])
    queue.reject(ids[0])
    queue.merge(ids[1], 2)
    queue.undo()
    assert arranged(queue)[3] == (ids[0],) and ids[0] in queue.decisions()
    queue.undo()
    assert arranged(queue)[3] == (ids[0],) and not queue.decisions()
    queue.undo()
    assert arranged(queue) == {g.number: g.regions for g in queue.discovered()}


def test_moves_are_made_again_on_groups_that_are_written_anew(queue, ids):
    queue.merge(ids[0], 2)
    queue.write_groups([Group(1, (ids[1], ids[2])), Group(2, (ids[0], ids[3]))])
    assert arranged(queue) == {1: (ids[1], ids[2], ids[0]), 2: (ids[3],)}


def test_moves_that_make_no_sense_are_refused_and_change_nothing(queue, ids):
    queue.write_groups([Group(1, (ids[0], ids[1]), {ids[0]: (ids[2],)}), Group(2, (ids[3],))])
    for move, why in (
        (lambda: queue.split(ids[:2]), "a group already; split off some"),
        (lambda: queue.split(ids[2]), "is in no group by itself; a near-duplicate goes with"),
        (lambda: queue.merge(ids[2], 2), "is in no group by itself"),
        (lambda: queue.merge(ids[0], 3), "no group 3; groups are 1, 2"),
        (lambda: queue.merge(ids[0], 1), "in group 1 already"),
        (lambda: queue.merge([], 1), "no region"), (lambda: queue.split("x"), "names no region"),
    ):  # fmt: skip
        with pytest.raises(OwsegError, match=why):
            move()
    assert not queue.actions()


@pytest.mark.parametrize("name", [b"dog", b"", b"\xff", b"0000-1"])
def test_a_move_to_what_is_no_region_is_damage(queue, ids, name):
    queue.merge(ids[0], 2)
    edit(queue, "UPDATE actions SET name = ?", name)
    with pytest.raises(OwsegError, match=r"queue.db is damaged"):
        Queue.open(queue.folder).groups()

import pytest

from owseg.discovery import rows
from owseg.discovery.contents import Group
from owseg.review.listing import Listing
from owseg.review.state import ReviewState
from tests.support.queues import IDS, make, many


@pytest.fixture
def state(tmp_path):
    """Four groups, of 1, 2, 3 and 2 regions."""
    queue, ids = many(tmp_path / "queue", images=1, regions=8)
    queue.write_groups([Group(n, tuple(ids[a:b])) for n, (a, b) in enumerate(((0, 1), (1, 3), (3, 6), (6, 8)), 1)])
    return ReviewState(queue)


def numbers(state, **listing):
    return [g.number for g in Listing(**listing).groups(state)]


def test_orders(state):
    assert numbers(state) == numbers(state, sort="nonsense") == [1, 2, 3, 4]
    assert numbers(state, sort="size") == [3, 2, 4, 1]  # equals as they were
    assert numbers(state, sort="name") == [1, 2, 3, 4]
    for number, name in ((1, "group 1"), (2, "Zebra"), (3, "zoo"), (4, "ant")):
        state.accept(state.group(number).regions[:1], name)
    assert numbers(state, sort="name") == [4, 2, 3, 1]  # a provisional name is none


def test_states(state):
    for listed in (numbers(state, only="untouched"), numbers(state, only="nonsense")):
        assert listed == [1, 2, 3, 4]
    state.accept(state.group(3).regions[:1], "dog")
    state.queue.mark_known(state.group(1).regions, "road")
    assert [numbers(state, only=s) for s in ("untouched", "begun", "done")] == [[2, 4], [3], [1]]


def test_small_regions_count_nowhere(tmp_path):
    state = ReviewState(make(tmp_path))
    state.queue.write_groups([Group(1, (IDS[2],)), Group(2, (IDS[0], IDS[1])), Group(3, (IDS[3],))])
    assert numbers(state, least=17) == [2, 3] and numbers(state, least=26, sort="size") == [2, 3]
    assert Listing(least=26).groups(state) == [Group(2, (IDS[0],)), Group(3, (IDS[3],))]
    state.queue.reject(IDS[0])
    assert numbers(state, least=26, only="done") == [2] and numbers(state, only="done") == []
    assert numbers(state, least=65) == []


def test_the_next_group_is_the_next_that_is_listed(state):
    by_size = Listing(sort="size")
    assert [by_size.after(state, n) for n in (3, 2, 4, 1)] == [2, 4, 1, None]
    untouched = Listing(only="untouched")
    state.accept(state.group(2).regions, "dog")  # so it is listed no more
    assert untouched.after(state, 2) == 3 and untouched.after(state, 1) == 3 and untouched.after(state, 4) is None
    assert untouched.after(state, 99) is None


def test_an_address_says_what_is_not_as_always():
    assert Listing().address("/") == "/" and Listing().address("/group/1", region="a-1") == "/group/1?region=a-1"
    listing = Listing("size", 50, "begun")
    assert listing.address("/", at=3) == "/?sort=size&least=50&only=begun&at=3"
    assert Listing('"&x').address("/") == "/?sort=%22%26x"


@pytest.mark.parametrize("listing", [{"sort": "name"}, {"only": "untouched"}, {"sort": "size", "least": 2}])
def test_many_groups_are_listed_with_a_few_looks_at_the_database(tmp_path, listing, monkeypatch):
    queue, ids = many(tmp_path / "queue", images=1, regions=60)
    queue.write_groups([Group(n, (region,)) for n, region in enumerate(ids, 1)])
    state, looks, read = ReviewState(queue), [], rows.read_stamp
    monkeypatch.setattr(rows, "read_stamp", lambda db: looks.append(db) or read(db))
    assert len(numbers(state, **listing)) == 60 and len(looks) < 6

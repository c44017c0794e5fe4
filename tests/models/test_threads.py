"""Threads that share torch's: the order, how far ahead they are, and what goes wrong."""

import threading

import pytest
import torch

from owseg.models.threads import AHEAD, in_threads, pool


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_are_in_order_and_errors_are_raised(threads):
    assert list(in_threads(lambda i: i * i, range(20), threads)) == [i * i for i in range(20)]

    def fails(i):
        if i == 3:
            raise ValueError("three")
        return i

    results = in_threads(fails, range(20), threads)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_items_are_read_when_it_is_their_turn():
    read = []
    results = in_threads(lambda i: i, (read.append(i) or i for i in range(100)), 2)
    next(results)
    assert len(read) == 2 * AHEAD
    results.close()
    assert len(read) == 2 * AHEAD


@pytest.mark.parametrize("ahead", [1, 3])
def test_an_item_is_read_once_the_result_before_its_place_is_used(ahead):
    """A frame of a camera is the newest when it is read, and the threshold for it that of the results until then."""
    events = []
    for result in in_threads(lambda i: i, (events.append(("read", i)) or i for i in range(9)), 2, ahead):
        events.append(("used", result))
    for i in range(2 * ahead, 9):
        assert events.index(("used", i - 2 * ahead)) < events.index(("read", i))


def test_as_many_run_as_there_are_threads():
    both = threading.Barrier(2, timeout=30)
    assert len(set(in_threads(lambda _: both.wait(), range(2), 2))) == 2


def test_threads_share_those_of_torch(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        for each, share in ((None, 2), (1, 1)):
            with pool(2, "test", each) as executor:
                assert executor.submit(torch.get_num_threads).result() == share
            later = []
            thread = threading.Thread(target=lambda later=later: later.append(torch.get_num_threads()))
            thread.start()
            thread.join()
            assert later == [4] and torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)

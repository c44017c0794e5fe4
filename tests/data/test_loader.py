"""Reading ahead: the items of a loop in their order, whoever reads them, and errors as they were raised."""

import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from owseg.data import loader
from owseg.data.loader import AHEAD, can_fork, read_ahead
from owseg.errors import NoSuchSplit, OwsegError

forked = pytest.mark.skipif(not can_fork(), reason="processes cannot be forked here")
WORKERS = pytest.mark.parametrize("workers", [0, pytest.param(2, marks=forked)])


@WORKERS
def test_items_come_in_the_order_of_the_numbers(workers):
    """The first worker is slow: the others wait for it. A closure is no trouble, and a number may come twice."""
    started = os.getpid()

    def read(i):
        time.sleep(0.02 * (i % 2))
        return i, os.getpid() != started

    found = list(read_ahead(read, [7, 2, 3, 2, 8], workers))
    assert found == [(i, workers > 0) for i in (7, 2, 3, 2, 8)]
    assert list(read_ahead(read, [], workers)) == []


@WORKERS
def test_any_value_arrives_as_it_was(workers):
    def read(i):
        return torch.full((2, 3), i / 3), np.arange(i), None, {"a": (i, "b")}

    for i, (tensor, array, nothing, rest) in enumerate(read_ahead(read, range(3), workers)):
        assert torch.equal(tensor, torch.full((2, 3), i / 3)) and np.array_equal(array, np.arange(i))
        assert nothing is None and rest == {"a": (i, "b")}


@WORKERS
def test_an_error_is_raised_where_its_item_were(workers):
    def read(i):
        if i == 2:
            raise NoSuchSplit("f2.png is broken; replace it.")
        return i

    items, found = read_ahead(read, range(5), workers), []
    with pytest.raises(NoSuchSplit) as caught:
        found.extend(items)
    assert str(caught.value) == "f2.png is broken; replace it."
    assert multiprocessing.active_children() == []
    assert next(items, None) is None


@forked
def test_where_an_error_was_raised_is_told():
    def breaks_in_the_worker(i):
        return 1 // i

    with pytest.raises(ZeroDivisionError) as caught:
        list(read_ahead(breaks_in_the_worker, range(2), 1))
    assert "in breaks_in_the_worker" in str(caught.value.__cause__)


@forked
def test_an_error_that_cannot_travel_is_told_as_text():
    class Local(Exception):
        pass

    def read(i):
        raise Local("of no module")

    with pytest.raises(RuntimeError, match="Local: of no module"):
        list(read_ahead(read, range(2), 2))


@forked
def test_a_worker_that_the_system_ends_is_one_sentence():
    handler = signal.getsignal(signal.SIGCHLD)

    def read(i):
        if i == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return i

    with pytest.raises(OwsegError, match=r"the system ended a worker that reads images, .*; set fewer workers\.$"):
        list(read_ahead(read, range(9), 2))
    assert signal.getsignal(signal.SIGCHLD) is handler  # else it may be raised anywhere
    assert multiprocessing.active_children() == []


@forked
def test_shared_memory_that_is_full_is_one_sentence(monkeypatch):
    def full(self):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device\nmore")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(OwsegError, match=r"shared memory is full \(unable .* device\); enlarge /dev/shm, or set fewer"):
        list(read_ahead(lambda i: (torch.zeros(1),), range(3), 2))


@forked
@pytest.mark.parametrize(("ahead", "most"), [(0, 2 * AHEAD), (5, 6), (12, 12)])
def test_no_more_is_read_ahead_than_is_said(tmp_path, ahead, most):
    def read(i):
        (tmp_path / str(i)).touch()

    items = read_ahead(read, range(100), 2, ahead)
    assert not list(tmp_path.iterdir())  # nothing is read before it is asked for
    for taken in (1, 2):
        next(items)
        deadline = time.monotonic() + 20
        while len(list(tmp_path.iterdir())) < taken + most and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        assert len(list(tmp_path.iterdir())) == taken + most
    items.close()
    assert multiprocessing.active_children() == []


def test_without_workers_each_is_read_when_it_is_asked_for():
    asked = []
    items = read_ahead(asked.append, range(9))
    assert asked == []
    next(items), next(items)
    assert asked == [0, 1]


def test_where_processes_cannot_be_forked_this_one_reads(monkeypatch):
    monkeypatch.setattr(loader.multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    assert set(read_ahead(lambda i: os.getpid(), range(3), 2)) == {os.getpid()}


@WORKERS
def test_torch_reads_with_one_thread_and_the_loop_with_as_many_as_before(workers):
    """Sums of another number of threads differ in their last bits."""
    torch.set_num_threads(2)
    try:
        for threads in read_ahead(lambda i: torch.get_num_threads(), range(3), workers):
            assert (threads, torch.get_num_threads()) == (1, 2)
        with pytest.raises(ZeroDivisionError):
            list(read_ahead(lambda i: 1 // i, range(3), workers))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


@WORKERS
def test_what_the_loop_draws_does_not_depend_on_who_reads(workers):
    torch.manual_seed(3)
    assert list(read_ahead(lambda i: i, range(3), workers)) == [0, 1, 2]
    drawn = torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(4))


@forked
def test_more_workers_than_cores_are_taken_without_a_word(recwarn):
    pids = Counter(read_ahead(lambda i: os.getpid(), range(10), 5))
    assert len(pids) == 5 and set(pids.values()) == {2} and not list(recwarn)


def test_nothing_of_it_stays_in_the_package():
    """Tensors travel through /dev/shm; none is left there."""
    place = Path("/dev/shm")
    if not (place.is_dir() and can_fork()):
        pytest.skip("no /dev/shm here")
    before = {path.name for path in place.glob("torch_*")}
    list(read_ahead(lambda i: (torch.zeros(1000),), range(6), 2))
    mine = [name for name in {path.name for path in place.glob("torch_*")} - before if f"_{os.getpid()}_" in name]
    assert mine == []

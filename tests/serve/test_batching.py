"""The queue and its worker, without HTTP, images or a network."""

import threading
import time
from concurrent.futures import CancelledError

import pytest

from owseg.serve.batching import Batcher, Closed, Full


class Run:
    """A function that doubles, notes its batches, and waits where it is told to."""

    def __init__(self):
        self.batches, self.go = [], threading.Event()
        self.go.set()
        self.began = threading.Event()

    def __call__(self, items):
        self.batches.append(list(items))
        self.began.set()
        assert self.go.wait(60)
        return [2 * item for item in items]

    def hold(self):
        self.began.clear()
        self.go.clear()


@pytest.fixture
def run():
    return Run()


def batcher(run, batch=4, max_wait=0.0, capacity=8):
    return Batcher(run, lambda: batch, max_wait, capacity)


def results(futures):
    return [future.result(60) for future in futures]


def test_each_item_has_its_own_result_and_batches_are_bounded(run):
    queue = batcher(run)
    run.hold()
    first = queue.submit([0])
    assert run.began.wait(60)  # the worker is busy; what comes now waits
    futures = [future for i in range(1, 8) for future in queue.submit([i])]
    assert len(queue) == 7
    run.go.set()
    assert results(first + futures) == [2 * i for i in range(8)]
    assert run.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]
    queue.close()


def test_an_idle_worker_waits_for_others_as_long_as_it_may(run):
    queue = batcher(run, batch=2, max_wait=60)
    first, begun = queue.submit([1]), time.monotonic()
    second = queue.submit([2])  # full, so nobody waits for the minute
    assert results(first + second) == [2, 4] and time.monotonic() - begun < 30
    assert run.batches == [[1, 2]]
    third = queue.submit([3])
    queue.close()  # nor does what ends
    assert results(third) == [6]
    queue = batcher(run, batch=2, max_wait=0.01)
    assert results(queue.submit([4])) == [8]  # alone, after that time
    queue.close()


def test_a_full_queue_says_when_to_come_again_and_takes_all_or_none(run):
    queue = batcher(run, batch=1, capacity=3)
    run.hold()
    first = queue.submit([0])
    assert run.began.wait(60)
    waiting = queue.submit([1, 2])
    with pytest.raises(Full) as full:
        queue.submit([3, 4])
    assert full.value.seconds > 0 and len(queue) == 2
    waiting += queue.submit([3])
    with pytest.raises(Full):
        queue.require_place()
    run.go.set()
    assert results(first + waiting) == [0, 2, 4, 6]
    queue.close()


def test_what_is_wrong_with_one_item_concerns_no_other():
    def run(items):
        for item in items:
            yield ValueError(f"not {item}") if item % 2 else item

    queue = batcher(run, batch=3, max_wait=60)
    good, bad, last = queue.submit([0, 1, 2])
    assert (good.result(60), last.result(60)) == (0, 2)
    with pytest.raises(ValueError, match="not 1"):
        bad.result(60)
    queue.close()


@pytest.mark.parametrize("end", [lambda: (_ for _ in ()).throw(RuntimeError("broken")), lambda: iter(())])
def test_what_breaks_the_run_concerns_those_without_a_result_and_the_worker_goes_on(end):
    def run(items):
        yield items[0]
        if len(items) > 1:
            yield from end()

    queue = batcher(run, batch=2, max_wait=60)
    first, second = queue.submit([1, 2])
    assert first.result(60) == 1
    with pytest.raises(RuntimeError):
        second.result(60)
    assert queue.is_working
    third = queue.submit([3])
    queue.close()
    assert results(third) == [3]


def test_a_result_is_handed_on_before_the_others_are_there():
    go = threading.Event()

    def run(items):
        yield items[0]
        assert go.wait(60)
        yield items[1]

    queue = batcher(run, batch=2, max_wait=60)
    first, second = queue.submit([1, 2])
    assert first.result(60) == 1 and not second.done()
    go.set()
    assert second.result(60) == 2
    queue.close()


def test_what_is_cancelled_is_not_run(run):
    queue = batcher(run)
    run.hold()
    first = queue.submit([0])
    assert run.began.wait(60)
    left, stays = queue.submit([1, 2])
    assert left.cancel()
    run.go.set()
    assert results([*first, stays]) == [0, 4] and run.batches == [[0], [2]]
    with pytest.raises(CancelledError):
        left.result(60)
    queue.close()


def test_closing_finishes_what_waits_and_takes_no_more(run):
    queue = batcher(run, batch=1)
    run.hold()
    futures = queue.submit([1, 2, 3])
    closing = threading.Thread(target=queue.close)
    closing.start()
    while queue.is_working:
        time.sleep(0.001)
    with pytest.raises(Closed):
        queue.submit([4])
    run.go.set()
    closing.join(60)
    assert results(futures) == [2, 4, 6]
    queue.close()  # a second time it does nothing


def test_many_threads_lose_nothing(run):
    queue, found = batcher(run, batch=5, capacity=1000), {}

    def ask(start):
        for i in range(start, start + 50):
            found[i] = queue.submit([i])[0].result(60)

    threads = [threading.Thread(target=ask, args=(50 * k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {i: 2 * i for i in range(400)}
    assert sum(map(len, run.batches)) == 400 and max(map(len, run.batches)) <= 5
    queue.close()

"""Many images through a network: the order, the batches, what is in memory, and what goes wrong."""

import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from owseg.errors import OwsegError
from owseg.models import over_images as module
from owseg.models.engine import Engine
from owseg.models.over_images import AHEAD, Batched, over_images
from owseg.types import Output, Sample
from tests.support import tiny

SIZES = ((40, 64), (32, 32), (40, 64), (40, 64), (32, 32), (48, 32), (40, 64), (40, 64), (32, 32))


class Images:
    """Samples of the given sizes, which count how often each is read and may be slow, or fail."""

    def __init__(self, sizes=SIZES, wait=lambda i: 0.0, wrong=()):
        self.sizes, self.wait, self.wrong, self.reads = sizes, wait, wrong, []

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, i):
        self.reads.append(i)
        time.sleep(self.wait(i))
        if i in self.wrong:
            raise OwsegError(f"image {i} cannot be read.")
        return Sample(np.full((3, *self.sizes[i]), i, np.uint8), None, str(i))


@dataclass
class Runner:
    """A batched forward whose output has the first value of each image as its embedding."""

    batch_size: int = 1
    threads: int = 2
    room: int = 1000
    wrong: tuple = ()
    batches: list = field(default_factory=list)
    at_once: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, images):
        with self.lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        time.sleep(0.002)
        with self.lock:
            self.at_once -= 1
        values = [int(image[0, 0, 0]) for image in images]
        assert len({image.shape for image in images}) == 1
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        if bad := [v for v in values if v in self.wrong]:
            raise RuntimeError(f"image {bad[0]} is bad")
        self.batches.append(values)
        return [Output((), torch.tensor([v]), torch.tensor([v])) for v in values]


def number(sample, output):
    assert sample.id == str(int(output.embedding))
    return int(output.embedding)


def test_engines_are_batched_and_functions_are_not():
    assert isinstance(Engine(tiny.network()), Batched) and not isinstance(number, Batched)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_results_come_in_order_and_each_image_is_read_once(threads, batch):
    """Also where later images are read faster than earlier ones."""
    images = Images(wait=lambda i: 0.004 * (i % 3 == 0))
    assert list(over_images(Runner(batch, threads), images, number)) == list(range(len(SIZES)))
    assert sorted(images.reads) == list(range(len(SIZES)))
    assert list(over_images(Runner(batch, threads), Images(()), number)) == []


def test_batches_have_one_size_and_depend_on_the_order_alone():
    found = []
    for wait in (lambda i: 0.0, lambda i: 0.005 * (i % 2), lambda i: 0.003 * (8 - i)):
        runner = Runner(2, 2)
        list(over_images(runner, Images(wait=wait), number))
        found.append(sorted(runner.batches))
    assert found == [[[0, 2], [1, 4], [3, 6], [5], [7], [8]]] * 3


def test_what_is_in_memory_is_bounded():
    runner, images = Runner(2, 2), Images(((8, 8),) * 60)
    most = 0
    for i, _ in enumerate(over_images(runner, images, number)):
        time.sleep(0.001)
        most = max(most, len(images.reads) - i)
    assert 2 * 2 <= most <= 2 * AHEAD * 2 * 2


def test_whoever_stops_early_reads_no_further_and_leaves_no_thread():
    before, images = threading.active_count(), Images(((8, 8),) * 60)
    results = over_images(Runner(1, 2), images, number)
    assert [next(results), next(results)] == [0, 1]
    results.close()
    read = len(images.reads)
    time.sleep(0.02)
    assert len(images.reads) == read < 20 and threading.active_count() == before


def test_another_forward_is_called_here_one_image_after_the_other():
    calls = []

    def forward(image):
        calls.append((int(image[0, 0, 0]), threading.current_thread()))
        return Output((), torch.tensor([calls[-1][0]]), torch.zeros(1))

    assert list(over_images(forward, Images(), number)) == list(range(9))
    assert calls == [(i, threading.main_thread()) for i in range(9)]


@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (1, 2), (3, 2)])
def test_what_goes_wrong_concerns_one_image(batch, threads):
    """A file, the network and the function: each fails for one image, and the others of its batch have results."""

    def function(sample, output):
        if sample.id == "6":
            raise MemoryError("6")
        return number(sample, output)

    images, runner = Images(wrong=(1,)), Runner(batch, threads, wrong=(3,))
    found = list(over_images(runner, images, function, lambda i, error: f"{i}: {type(error).__name__}: {error}"))
    expected = {
        1: "1: OwsegError: image 1 cannot be read.",
        3: "3: RuntimeError: image 3 is bad",
        6: "6: MemoryError: 6",
    }
    assert found == [expected.get(i, i) for i in range(9)]


@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (1, 2), (3, 2)])
def test_without_a_way_out_it_is_raised_when_it_is_its_turn(batch, threads):
    found = []
    with pytest.raises(RuntimeError, match="image 3 is bad"):
        for value in over_images(Runner(batch, threads, wrong=(3,)), Images(), number):
            found.append(value)
    assert found == [0, 1, 2]
    runner = Runner(batch, threads)
    with pytest.raises(OwsegError, match="image 0 cannot be read"):
        list(over_images(runner, Images(wrong=(0,)), number))
    assert runner.batches == []  # nor is the network run on what comes after a file that cannot be read


@pytest.mark.parametrize("batch", [1, 3])
def test_a_mistake_in_the_code_is_no_bad_image(batch):
    def function(sample, output):
        raise KeyError(sample.id)

    with pytest.raises(KeyError):
        list(over_images(Runner(batch), Images(), function, lambda i, error: None))


def test_where_memory_runs_out_batches_are_halved_from_there_on(monkeypatch):
    runner, lines = Runner(8, 1, room=3), []
    monkeypatch.setattr(module.logger, "warning", lambda text, *values: lines.append(text % values))
    assert list(over_images(runner, Images(((8, 8),) * 40), number)) == list(range(40))
    assert max(map(len, runner.batches)) == 2 and sum(map(len, runner.batches)) == 40
    assert lines == [
        "Out of GPU memory: from here on 4 image(s) at once in place of 8.",
        "Out of GPU memory: from here on 2 image(s) at once in place of 4.",
    ]
    one = Runner(8, 1, room=0)
    found = list(over_images(one, Images(((8, 8),) * 3), number, lambda i, error: type(error).__name__))
    assert found == ["OutOfMemoryError"] * 3


def test_large_images_are_worked_on_one_at_a_time(monkeypatch):
    several, alone = Runner(1, 3), Runner(1, 3)
    list(over_images(several, Images(((8, 8),) * 30), number))
    monkeypatch.setattr(module, "LARGE", 63)
    list(over_images(alone, Images(((8, 8),) * 30), number))
    assert several.most > 1 and alone.most == 1


def test_threads_share_those_of_torch_and_give_them_back():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        shares = list(over_images(Runner(1, 2), Images(), lambda *_: torch.get_num_threads()))
        later = []
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert shares == [2] * 9 and torch.get_num_threads() == 4 and later == [4]
        assert list(over_images(Runner(1, 1), Images(), lambda *_: torch.get_num_threads())) == [4] * 9
    finally:
        torch.set_num_threads(before)

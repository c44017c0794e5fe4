"""Batches: every image once an epoch, in an order that depends on seed and epoch alone."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from owseg.data.loader import can_fork
from owseg.errors import OwsegError
from owseg.training.config import LoopConfig, TrainConfig
from owseg.training.input import Batches
from owseg.training.processes import Process
from owseg.training.views import AugmentedViews
from tests.support import tiny

CONFIG = LoopConfig(batch=3, seed=5)


def view(epoch, i, rng):
    """The number of the image, what was drawn for it, and something of the shape of an image."""
    return torch.tensor(i), torch.tensor(rng.random()), torch.full((3, 4, 5), float(i))


def numbers(count, config=CONFIG, epoch=0, rank=0, ranks=1):
    return [batch[0].tolist() for batch in Batches(count, view, config, Process(rank, ranks)).of(epoch)]


def test_every_image_once_and_none_in_a_last_incomplete_batch():
    found = numbers(10)
    assert [len(b) for b in found] == [3, 3, 3] and len({i for b in found for i in b}) == 9
    assert sorted(i for b in numbers(9) for i in b) == list(range(9))


def test_order_and_views_depend_on_seed_and_epoch_alone():
    assert numbers(9) == numbers(9)
    assert numbers(9) != numbers(9, epoch=1) and numbers(9) != numbers(9, replace(CONFIG, seed=6))
    drawn = [{i: d for b in Batches(9, view, c).of(e) for i, d in zip(b[0].tolist(), b[1].tolist(), strict=True)}
             for c, e in ((CONFIG, 0), (CONFIG, 0), (replace(CONFIG, batch=1), 0), (CONFIG, 1))]  # fmt: skip
    assert drawn[0] == drawn[1] == drawn[2]  # of each image by itself, whatever it is batched with
    assert all(drawn[0][i] != drawn[3][i] for i in range(9)) and len(set(drawn[0].values())) == 9
    expected = np.random.default_rng([5, 0, 4]).random()
    assert drawn[0][4] == pytest.approx(expected)


def test_processes_share_the_images_of_one():
    one = numbers(13, replace(CONFIG, batch=6))
    two = [numbers(13, rank=rank, ranks=2) for rank in (0, 1)]
    assert [a + b for a, b in zip(*two, strict=True)] == one


def test_parts_are_stacked_and_images_laid_out_for_convolutions():
    (number, drawn, image), *_ = Batches(9, view, CONFIG).of(0)
    assert (number.shape, drawn.shape, image.shape) == ((3,), (3,), (3, 3, 4, 5))
    assert image.is_contiguous(memory_format=torch.channels_last) and (image[1] == number[1]).all()


@pytest.mark.parametrize(("count", "ranks", "steps"), [(9, 1, 3), (11, 1, 3), (12, 2, 2), (6, 2, 1)])
def test_steps_are_whole_batches(count, ranks, steps):
    assert Batches(count, view, CONFIG, Process(0, ranks)).steps == steps == len(numbers(count, ranks=ranks))


@pytest.mark.parametrize(("count", "ranks", "message"), [
    (2, 1, "2 images do not fill a batch of 3; give more, or lower the batch size \\(--set batch=N\\)"),
    (5, 2, "5 images do not fill 2 batches of 3"),
])  # fmt: skip
def test_too_few_images_are_refused(count, ranks, message):
    with pytest.raises(OwsegError, match=message):
        Batches(count, view, CONFIG, Process(0, ranks))


def test_the_view_is_told_the_epoch():
    found = Batches(3, lambda epoch, i, rng: (torch.tensor([epoch, i]),), CONFIG).of(7)
    assert {tuple(row) for (batch,) in found for row in batch.tolist()} == {(7, 0), (7, 1), (7, 2)}


def test_a_step_takes_the_batches_that_are_accumulated():
    """Together they are what one batch as large holds; of the last step, which is not complete, none is taken."""
    large = numbers(13, replace(CONFIG, batch=6))
    small = numbers(13, replace(CONFIG, batch=3, accumulate_grad_batches=2))
    assert [small[0] + small[1], small[2] + small[3]] == large and len(small) == 4
    ranks = [numbers(13, replace(CONFIG, accumulate_grad_batches=2), rank=rank, ranks=2) for rank in (0, 1)]
    assert ranks[0][0] + ranks[1][0] + ranks[0][1] + ranks[1][1] == numbers(13, replace(CONFIG, batch=12))[0]
    with pytest.raises(OwsegError, match="7 images do not fill 4 batches of 2"):
        Batches(7, view, replace(CONFIG, batch=2, accumulate_grad_batches=2), Process(0, 2))


@pytest.mark.skipif(not can_fork(), reason="processes cannot be forked here")
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_batches_are_the_same_to_the_bit_for_any_number_of_workers(workers):
    """Also where torch computes with several threads: an image of this size is averaged by all of them."""
    data = tiny.dataset(6, size=(320, 480))
    config = LoopConfig(batch=2, crop=(256, 384), scale=(0.8, 1.2), jitter=0.3)
    views = AugmentedViews(data, replace(TrainConfig(), crop=config.crop, scale=config.scale, small=0.0))
    torch.set_num_threads(2)
    try:
        made = [list(Batches(6, views, config, Process(workers=number)).of(3)) for number in (0, workers)]
    finally:
        torch.set_num_threads(1)
    assert len(made[0]) == len(made[1]) == 3
    for one, other in zip(*made, strict=True):
        assert all(torch.equal(a, b) and a.stride() == b.stride() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.skipif(not can_fork(), reason="no fork"))])
def test_a_view_is_finished_in_the_process_that_trains(workers):
    here, finished = os.getpid(), []

    def viewed(epoch, i, rng):
        return (torch.tensor([i, os.getpid()]),)

    def finish(epoch, i, parts):
        finished.append((epoch, i, os.getpid()))
        return (parts[0], torch.tensor(10 * i))

    found = list(Batches(7, viewed, CONFIG, Process(workers=workers), finish).of(4))
    order = [i for _, i, _ in finished]
    assert {(epoch, pid) for epoch, _, pid in finished} == {(4, here)} and order == numbers_of(found)
    pids = {pid for first, _ in found for pid in first[:, 1].tolist()}
    assert (pids == {here}) == (workers == 0)
    assert [i for _, ten in found for i in ten.tolist()] == [10 * i for i in order]


def numbers_of(batches):
    return [i for first, _ in batches for i in first[:, 0].tolist()]

"""Training in two processes: both return the same, the first alone writes, and what ends one ends both."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from owseg.data.cached import LIMIT
from owseg.errors import OwsegError
from owseg.knowledge.load import load
from owseg.knowledge.versions import version_numbers
from owseg.training import processes
from owseg.training.checkpoint import RunLog
from owseg.training.config import LoopConfig
from owseg.training.processes import ALONE, Process, is_first_process, launched, synchronized
from owseg.training.segmentation import train, validation_miou
from tests.support import tiny
from tests.support.two_processes import ONE, ap_of, without_batch_statistics

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes left and said that ran ``tests.support.two_processes``."""
    folder = tmp_path_factory.mktemp("two")
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.support.two_processes"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    assert (folder / "rank0.json").is_file() and (folder / "rank1.json").is_file(), done.stderr[-2000:]
    return folder, done, [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def test_both_return_the_same_and_the_first_writes(two):
    """Also where one of them sees no outlier: if it skipped its step, the other would wait for ever."""
    place, _, (first, second) = two
    assert (first["is_first"], second["is_first"]) == (True, False)
    assert first["residual"] == second["residual"] and first["exact"] == second["exact"]
    lines = (place / "residual" / "metrics.csv").read_text().splitlines()
    assert len(lines) == 3 and all(np.isfinite([float(v) for v in line.split(",")]).all() for line in lines[1:])
    assert version_numbers(place / "kb") == [1]
    assert load(place / "kb").residual.final.weight.abs().max() > 0


def test_they_do_the_steps_of_one_with_batches_as_large(two, tmp_path, monkeypatch):
    """Two processes, two batches of one image each: the losses and the weights of one process with a batch of four."""
    rows, write = [], RunLog.write
    monkeypatch.setattr(RunLog, "write", lambda self, epoch, row: rows.append(row) or write(self, epoch, row))
    network = train(without_batch_statistics(), tiny.dataset(), tiny.dataset(3), ONE, tmp_path)
    for found in two[2]:
        sums = {name: weights.sum().item() for name, weights in network.named_parameters()}
        assert found["exact"] == pytest.approx(sums, abs=1e-4)
    assert len(rows) == ONE.epochs == len(two[2][0]["rows"])
    for one, both in zip(rows, two[2][0]["rows"], strict=True):
        assert one["loss"] == pytest.approx(both["loss"], rel=1e-5)
        assert one["val_miou"] == pytest.approx(both["val_miou"], abs=1e-3)
    assert rows[-1]["loss"] < 0.9 * rows[0]["loss"]


def test_metrics_of_both_merge_to_those_of_one(two):
    network = tiny.network(3, "resnet")
    for found in two[2]:
        assert found["miou"] == validation_miou(network, tiny.dataset(5)) and found["ap"] == ap_of(ALONE)
        assert found["in_order"] == [10 * i for i in range(7)] and found["mean_of"] == sum(range(5)) / 15
        assert found["mean"] == 1.5 and np.isnan(found["nan"])


def test_a_stopped_run_of_both_ends_like_one_that_was_never_stopped(two):
    """Each process has batch statistics of its own; those of the first are kept, and resumed."""
    for rank, found in enumerate(two[2]):
        other = "OwsegError('process 1 of 2 failed with Stop: no more is known')"
        assert found["stopped"] == ("Stop()" if rank == 0 else other)
        assert found["resumed_like_whole"] is True
    assert two[2][0]["validated"] == two[2][1]["validated"] and len(set(two[2][0]["validated"])) == 2


def test_an_image_that_one_cannot_read_ends_both_with_its_sentence(two):
    assert [found["unread"] for found in two[2]] == ["f3 is broken; replace it."] * 2
    assert [found["unread_val"] for found in two[2]] == ["f1 is broken; replace it."] * 2


def test_a_loss_that_is_not_finite_in_one_ends_both_with_one_sentence(two):
    """The command line, to its end: exit code 1, and nothing of a connection that was closed."""
    _, done, _ = two
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1, done.stderr
    assert "error: the loss is not finite in epoch 1; lower the learning rate." in done.stderr
    assert "Traceback" not in done.stderr and "peer" not in done.stderr


def test_batch_statistics_are_of_all_processes_where_the_device_can():
    def module():
        return torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1))

    def fabric(size, device):
        return SimpleNamespace(world_size=size, device=torch.device(device))

    assert isinstance(synchronized(module(), fabric(2, "cuda"))[1], torch.nn.SyncBatchNorm)
    for size, device in ((1, "cuda"), (2, "cpu"), (1, "cpu")):
        made = module()
        assert synchronized(made, fabric(size, device)) is made and type(made[1]) is torch.nn.BatchNorm2d


def test_a_process_alone_is_the_first():
    assert is_first_process()


def test_what_is_asked_of_a_process_alone():
    assert list(ALONE.numbers(3)) == [0, 1, 2] and list(ALONE.read(lambda i: i * i, 4)) == [0, 1, 4, 9]
    assert ALONE.gathered(lambda: "a") == ["a"] and ALONE.in_order(lambda: [1, 2]) == [1, 2]
    assert ALONE.agreed(lambda: 3) == 3 and ALONE.mean(torch.tensor(2.5)) == 2.5
    assert ALONE.mean_of(lambda: [(2.0, 1), (4.0, 3)]) == 1.5 and np.isnan(ALONE.mean_of(list))

    def fails():
        raise ZeroDivisionError

    for ask in (ALONE.gathered, ALONE.in_order, ALONE.agreed, ALONE.mean_of):
        with pytest.raises(ZeroDivisionError):
            ask(fails)


def test_each_number_is_taken_by_one_process():
    for count in range(8):
        assert sorted(i for rank in range(3) for i in Process(rank, 3).numbers(count)) == list(range(count))


@pytest.mark.parametrize(("count", "workers"), [(1, 0), (4, 0), (2, 3)])
def test_processes_share_the_memory_of_decoded_images_that_one_has(monkeypatch, count, workers):
    asked = []
    monkeypatch.setattr(processes, "cached", lambda data, limit, shared: asked.append((limit, shared)) or data)
    data = tiny.dataset(1)
    assert Process(0, count, workers).cached(data) is data and asked == [(LIMIT // count, workers > 0)]


@pytest.mark.parametrize(
    ("device", "count", "asked", "workers"),
    [("cpu", 1, -1, 0), ("cpu", 1, 3, 3), ("cuda", 1, -1, 6), ("cuda", 4, -1, 1), ("cuda", 1, 0, 0)],
)
def test_how_many_workers_read(monkeypatch, device, count, asked, workers):
    monkeypatch.setattr(processes, "available_cores", lambda: 6)
    fabric = SimpleNamespace(device=torch.device(device), world_size=count, global_rank=0)
    assert Process.of(fabric, LoopConfig(workers=asked)).workers == workers


def test_workers_are_no_more_than_eight(monkeypatch):
    monkeypatch.setattr(processes, "available_cores", lambda: 64)
    fabric = SimpleNamespace(device=torch.device("cuda"), world_size=2, global_rank=1)
    process = Process.of(fabric, LoopConfig())
    assert (process.workers, process.rank, process.count) == (8, 1, 2)


def test_more_gpus_than_there_are_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(OwsegError, match=r"there are 2 GPUs, not 3; set fewer devices\."):
        launched(replace(LoopConfig(), devices=3))

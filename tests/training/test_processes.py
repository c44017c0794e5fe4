"""Training in two processes: both return the same, the first alone writes, and what ends one ends both."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from owseg.knowledge.load import load
from owseg.knowledge.versions import version_numbers
from owseg.training.processes import is_first_process, synchronized

ROOT = Path(__file__).parents[2]

RESIDUAL = """
import json, os
from dataclasses import replace
from pathlib import Path
from owseg.training.processes import is_first_process
from owseg.training.residual import train_residual
from tests.support import tiny
from tests.support.outliers import FAST, inlier_images, objects

rank, shown = os.environ.get("LOCAL_RANK", "0"), objects()
if rank == "1":  # the second sees no outlier in training: only the eighths, which validation pastes
    read = shown.read
    shown = replace(shown, read=lambda i: replace(read(i), mask=read(i).mask & (i % 8 == 7)))
config = replace(FAST, devices=2, batch=2, epochs=2)
kb = tiny.knowledge_base(classifier="linear")
kb = train_residual(kb, inlier_images(), inlier_images(4), shown, None, config, "run")
result = [is_first_process(), kb.fingerprint(), kb.history[-1].details["val_ap"]]
Path(f"rank{rank}.json").write_text(json.dumps(result))
if is_first_process():
    kb.save("kb")
"""

SEGMENTATION = """
from owseg.training.config import TrainConfig
from owseg.training.segmentation import train

config = TrainConfig(epochs=2, batch=2, crop=(48, 64), validate_every=1, devices=2)
train(tiny.network(), tiny.dataset(), tiny.dataset(), config, Path("second"))
Path(f"ended{rank}").touch()
"""

NOT_FINITE = """
from owseg.training import processes as module

real = module.torch.isfinite
if rank == "1":  # the loss of the second alone
    module.torch.isfinite = lambda x: real(x) & False
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A script with two trainings: of a residual, then of a network, in which a loss is not finite."""
    folder = tmp_path_factory.mktemp("two")
    return folder, run(folder, RESIDUAL + NOT_FINITE + SEGMENTATION)


def run(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    (folder / "two.py").write_text(script)
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "two.py"], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )


def test_both_return_the_same_and_the_first_writes(two):
    """Also where one of them sees no outlier: if it skipped its step, the other would wait for ever."""
    place, done = two
    assert (place / "rank1.json").is_file(), done.stderr[-2000:]
    first, second = (json.loads((place / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert (first[0], second[0]) == (True, False) and first[1:] == second[1:]
    lines = (place / "run" / "metrics.csv").read_text().splitlines()
    assert len(lines) == 3 and all(np.isfinite([float(v) for v in line.split(",")]).all() for line in lines[1:])
    assert version_numbers(place / "kb") == [1]
    assert load(place / "kb").residual.final.weight.abs().max() > 0


def test_a_loss_that_is_not_finite_in_one_ends_both(two):
    place, done = two
    assert done.returncode != 0 and "the loss is not finite in epoch 1; lower the learning rate" in done.stderr
    assert not list(place.glob("ended*"))


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

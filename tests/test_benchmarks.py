"""The benchmarks, on inputs so small that their times mean nothing."""

import importlib
import io
import json
import re
import subprocess
import sys
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from benchmarks import metrics, throughput
from benchmarks.__main__ import SMALL
from owseg.models.engine import Engine


def in_this_process(command, **options):
    """Call the benchmark that ``subprocess.run`` would start; only its peak memory needs a process of its own."""
    python, option, name, *arguments = command
    assert (python, option) == (sys.executable, "-m") and options["check"]
    with redirect_stdout(io.StringIO()) as out:
        importlib.import_module(name).main(arguments)
    return subprocess.CompletedProcess(command, 0, out.getvalue())


@pytest.mark.parametrize("module", SMALL, ids=lambda module: module.__name__)
def test_a_benchmark_runs(module, capsys, monkeypatch, half_size_here):
    monkeypatch.setattr(subprocess, "run", in_this_process)
    threads = torch.get_num_threads()
    try:
        module.main(SMALL[module])
    finally:
        torch.set_num_threads(threads)
    assert torch.is_grad_enabled()
    assert len(capsys.readouterr().out.splitlines()) > 1


def test_hostile_requests_get_a_sentence_and_leave_the_service_as_it_was(stored_kb, tmp_path, capsys):
    from benchmarks.serve import Client, attacked
    from tests.support.service import photo, serving

    options = ("--token", "s3cret", "--timeout", "1")
    with serving(stored_kb, *options, folder=tmp_path) as process:
        server = SimpleNamespace(port=process.port, token="s3cret", memory=process.memory)
        server.ask = lambda path: Client(server).ask("GET", path, b"")
        assert attacked(server, photo(), 25)
    growth = float(re.search(r"memory ([+-]\d+) MiB", capsys.readouterr().out)[1])
    assert growth < 60


def test_metrics_in_a_process_that_had_been_larger_before(capsys, monkeypatch):
    found = json.dumps({"seconds": 1.0, "MiB": 0.0, "auroc": 1.0, "ap": 1.0, "fpr95": 0.0})
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, found))
    metrics.main(["--megapixels", "1"])
    assert "nan" in capsys.readouterr().out


@pytest.mark.parametrize("make, millions", [(throughput.segformer_b2, 27.4), (throughput.mask2former_swin_l, 215.5)])
def test_the_networks_of_random_weights_are_as_large_as_those_that_were_published(make, millions):
    with torch.device("meta"):  # without their memory
        network = make()
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.5)
    assert network.num_classes == 19


def test_ratios_are_to_batches_of_one_in_32_bits_and_what_does_not_fit_has_no_row(capsys, monkeypatch):
    taken = iter([(4.0, 0.5), (2.0, 0.75), (8.0, 0.25)])
    monkeypatch.setattr(throughput, "seconds_and_busy", lambda run, device: next(taken))
    monkeypatch.setattr(throughput, "fits", lambda engine, images: (engine.precision, engine.batch) != ("bf16", 2))
    throughput.main(["--networks", "synthetic", "--size", "64x96", "--batches", "2,1", "--modes", "bf16,32",
                     "--repeats", "1", "--images", "4"])  # fmt: skip
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows == [
        ["synthetic", "32", "1", "1.00", "1.00x", "50%"],
        ["synthetic", "bf16", "1", "2.00", "2.00x", "75%"],
        ["synthetic", "32", "2", "0.50", "0.50x", "25%"],
    ]


def test_each_way_is_run_with_its_batch_and_mode_on_all_images(monkeypatch):
    ran, run = [], Engine.run

    def noted(self, images):
        ran.append((self.precision, self.compiled, len(images)))
        return run(replace(self, compiled=False), images)

    monkeypatch.setattr(Engine, "run", noted)
    throughput.main(["--networks", "synthetic", "--size", "64x96", "--batches", "1,2", "--modes", "32,compiled",
                     "--repeats", "1", "--images", "4"])  # fmt: skip
    alone, pairs = ("32", False), ("32", True)
    assert Counter(ran) == {(*alone, 1): 5, (*alone, 2): 3, (*pairs, 1): 5, (*pairs, 2): 3}  # one of each to try

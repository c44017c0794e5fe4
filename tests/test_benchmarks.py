"""The benchmarks, on inputs so small that their times mean nothing."""

import importlib
import io
import json
import subprocess
import sys
from contextlib import redirect_stdout

import pytest
import torch

from benchmarks import metrics
from benchmarks.__main__ import SMALL


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


def test_metrics_in_a_process_that_had_been_larger_before(capsys, monkeypatch):
    found = json.dumps({"seconds": 1.0, "MiB": 0.0, "auroc": 1.0, "ap": 1.0, "fpr95": 0.0})
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, found))
    metrics.main(["--megapixels", "1"])
    assert "nan" in capsys.readouterr().out

"""The benchmarks, on inputs so small that their times mean nothing."""

import pytest
import torch

from benchmarks.__main__ import SMALL


@pytest.mark.parametrize("module", SMALL, ids=lambda module: module.__name__)
def test_a_benchmark_runs(module, capsys):
    threads = torch.get_num_threads()
    try:
        module.main(SMALL[module])
    finally:
        torch.set_num_threads(threads)
    assert torch.is_grad_enabled()
    assert len(capsys.readouterr().out.splitlines()) > 1

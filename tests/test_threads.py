"""What the number of threads changes (docs/architecture.md): the last digits, and where segments of an image end."""

import subprocess
import sys

import numpy as np
import pytest
import torch

PREDICT = """
import sys, numpy as np, torch, owseg
from owseg.data.datasets import open_dataset
torch.set_num_threads(int(sys.argv[1]))
for file in sys.argv[2:]:
    kb, data = owseg.load("synthetic"), open_dataset("synthetic", "test")
    found = [kb.assess(kb.forward(data[i].image), (192, 256), ("joint", "joint@segments")) for i in range(2)]
    np.savez(file, labels=[a.labels for a in found], joint=[a.scores["joint"] for a in found],
             pooled=[a.scores["joint@segments"] for a in found], threads=torch.get_num_threads(),
             slow=[name for name in ("torch._dynamo", "sympy", "transformers") if name in sys.modules])
"""


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """Labels and scores of two scenes: by one thread here, by two in a process of its own, twice."""
    folder = tmp_path_factory.mktemp("threads")
    files = {name: str(folder / f"{name}.npz") for name in ("1", "2", "2 again")}
    assert torch.get_num_threads() == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["", "1", files["1"]])
        exec(PREDICT, {})
    subprocess.run([sys.executable, "-c", PREDICT, "2", files["2"], files["2 again"]], check=True)
    found = {name: np.load(file) for name, file in files.items()}
    assert {name: int(arrays["threads"]) for name, arrays in found.items()} == {"1": 1, "2": 2, "2 again": 2}
    return found


def test_the_same_number_of_threads_gives_the_same_bytes(predicted):
    for name in ("labels", "joint", "pooled"):
        assert predicted["2"][name].tobytes() == predicted["2 again"][name].tobytes()


def test_what_is_slow_to_import_is_not(predicted):
    """torch's compiler and what it needs take longer than loading a shipped knowledge base."""
    assert predicted["2"]["slow"].size == 0


def test_another_number_of_threads_changes_the_last_digits_of_a_score(predicted):
    one, two = predicted["1"], predicted["2"]
    assert np.ptp(one["joint"]) > 1
    np.testing.assert_allclose(one["joint"], two["joint"], rtol=0, atol=1e-3)
    assert (one["labels"] != two["labels"]).mean() < 1e-3


def test_segments_may_end_elsewhere(predicted):
    """A pixel of the resized image that lies between two grey levels may be rounded to either."""
    far = np.abs(predicted["1"]["pooled"] - predicted["2"]["pooled"]) > 0.1
    assert far.mean() < 0.02

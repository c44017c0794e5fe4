"""Pixel metrics, updated image by image, against scikit-learn: ``python -m benchmarks.metrics [--megapixels 55]``.

Each gets the same random score maps in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks._memory import peak_memory
from owseg.labels import UNKNOWN
from owseg.metrics.binned import Binned
from owseg.metrics.pixel import Exact

SHAPE = (720, 1280)


def maps(megapixels: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield score maps such as 1 - max softmax gives, most near 0, and targets with 2 % outliers."""
    rng = np.random.default_rng(0)
    for _ in range(max(1, round(megapixels * 1e6 / (SHAPE[0] * SHAPE[1])))):
        target = np.where(rng.random(SHAPE, np.float32) < 0.02, UNKNOWN, 0).astype(np.uint8)
        logit = rng.standard_normal(SHAPE, np.float32) * 2 - 4 + 3 * (target == UNKNOWN)
        yield 1 / (1 + np.exp(-logit)), target


def with_scikit_learn(megapixels: float) -> tuple[float, dict[str, float]]:
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    parts = [(s.ravel(), t.ravel() == UNKNOWN) for s, t in maps(megapixels)]
    started = time.perf_counter()
    score, outlier = np.concatenate([s for s, _ in parts]), np.concatenate([t for _, t in parts])
    fpr, tpr, _ = roc_curve(outlier, score)
    metrics = {
        "auroc": roc_auc_score(outlier, score),
        "ap": average_precision_score(outlier, score),
        "fpr95": fpr[np.argmax(tpr >= 0.95)],
    }
    return time.perf_counter() - started, {k: float(v) for k, v in metrics.items()}


def with_owseg(state: Exact | Binned, megapixels: float) -> tuple[float, dict[str, float]]:
    seconds = 0.0
    for score, target in maps(megapixels):
        started = time.perf_counter()
        state.update(score, target)
        seconds += time.perf_counter() - started
    started = time.perf_counter()
    metrics = state.compute()
    seconds += time.perf_counter() - started
    values = {"auroc": metrics.auroc, "ap": metrics.ap, "fpr95": metrics.fpr95}
    if metrics.bounds:
        values |= {f"{k} interval": high - low for k, (low, high) in metrics.bounds.items()}
    return seconds, values


def measure(name: str, megapixels: float) -> dict[str, float]:
    """Run one of them here; return its seconds, and its peak memory beyond that of an idle process."""
    list(maps(0.1))
    before = peak_memory()
    if name == "scikit-learn":
        seconds, values = with_scikit_learn(megapixels)
    else:
        seconds, values = with_owseg(Exact() if name == "exact" else Binned(), megapixels)
    peak = (peak_memory() - before) / (1 << 20)
    return {"seconds": seconds, "MiB": peak, **values}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, default=55)
    parser.add_argument("--only", choices=("scikit-learn", "exact", "binned"))
    args = parser.parse_args(arguments)
    if args.only:
        print(json.dumps(measure(args.only, args.megapixels)))
        return
    found = {}
    for name in ("scikit-learn", "exact", "binned"):
        command = [sys.executable, "-m", "benchmarks.metrics", "--megapixels", str(args.megapixels), "--only", name]
        found[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    base = found["scikit-learn"]
    print(f"pixel metrics of {args.megapixels:g} Mpx, against scikit-learn in the same run")
    print(f"{'':14}{'seconds':>9}{'faster':>9}{'MiB':>8}{'memory':>9}{'AUROC':>10}{'AP':>10}{'FPR95':>10}")
    for name, f in found.items():
        faster = base["seconds"] / f["seconds"]
        memory = f["MiB"] / base["MiB"] if base["MiB"] else math.nan  # no growth: the process had been larger before
        print(
            f"{name:14}{f['seconds']:9.2f}{faster:8.1f}x{f['MiB']:8.0f}{memory:8.3f}x"
            f"{f['auroc']:10.6f}{f['ap']:10.6f}{f['fpr95']:10.6f}"
        )
    widths = ", ".join(f"{k} {v:.1e}" for k, v in found["binned"].items() if k.endswith("interval"))
    print(f"guaranteed intervals of the binned mode: {widths}")


if __name__ == "__main__":
    main()

"""Component metrics against a form that reads every pixel once per component: ``python -m benchmarks.components``.

Both match the same masks of 1080x1920, in one run. The slow form is timed on ``--sample`` components of each kind,
evenly spread, and multiplied: all 9,000 would take many minutes. Its sIoU and PPV must be the fast form's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import label

from owseg.labels import UNKNOWN
from owseg.metrics.components import Sizes, match

SHAPE = (1080, 1920)


def masks(components: int) -> tuple[np.ndarray, np.ndarray]:
    """About so many objects, half of them found: a grid of rectangles, some moved, some cut, some without an object."""
    rng = np.random.default_rng(components)
    cell = int((SHAPE[0] * SHAPE[1] / components) ** 0.5)
    target, predicted = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, bool)
    for top in range(0, SHAPE[0] - cell + 1, cell):
        for left in range(0, SHAPE[1] - cell + 1, cell):
            height, width = rng.integers(cell // 3, cell - 2, 2)
            target[top : top + height, left : left + width] = UNKNOWN
            down, right = rng.integers(0, cell // 2, 2)
            predicted[top + down : top + down + height // 2, left + right : left + right + width] = True
            predicted[top + down + height // 4, left : left + cell] &= rng.random() < 0.5
    return predicted, target


def match_by_pixels(predicted: np.ndarray, target: np.ndarray, sample: int) -> tuple[float, list[float], list[float]]:
    """Return the seconds for all, estimated from a sample, and the sample's sIoU and PPV."""
    eight = np.ones((3, 3), bool)
    started = time.perf_counter()
    (target_labels, truths), (predicted_labels, founds) = label(target == UNKNOWN, eight), label(predicted, eight)
    labelled = time.perf_counter() - started
    siou, ppv, seconds = [], [], labelled
    for values, count in ((siou, truths), (ppv, founds)):
        started = time.perf_counter()
        numbers = picked(count, sample)
        for number in numbers + 1:
            if values is siou:
                mine = target_labels == number
                touching = np.unique(predicted_labels[mine])
                reached = np.isin(predicted_labels, touching[touching > 0])
                others = (target_labels > 0) & ~mine
                values.append((mine & reached).sum() / ((mine | reached) & ~others).sum())
            else:
                mine = predicted_labels == number
                values.append((mine & (target_labels > 0)).sum() / mine.sum())
        seconds += (time.perf_counter() - started) * count / len(numbers)
    return seconds, siou, ppv


def picked(count: int, sample: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(sample, count)).astype(int))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--components", type=int, nargs="+", default=[300, 2500, 9000])
    parser.add_argument("--sample", type=int, default=40)
    args = parser.parse_args(arguments)
    print("component metrics of 1080x1920, against reading all pixels once per component, in the same run")
    print(f"{'ground truth':>13}{'predicted':>11}{'ms':>8}{'slow form, s':>14}{'faster':>9}")
    for components in args.components:
        predicted, target = masks(components)
        times = []
        for _ in range(5):
            started = time.perf_counter()
            fast = match(predicted, target, Sizes(1, 1))
            times.append(time.perf_counter() - started)
        slow, siou, ppv = match_by_pixels(predicted, target, args.sample)
        assert np.allclose((fast.intersection / fast.union)[picked(len(fast.intersection), args.sample)], siou)
        assert np.allclose((fast.correct / fast.size)[picked(len(fast.size), args.sample)], ppv)
        took = float(np.median(times))
        print(f"{len(fast.intersection):13}{len(fast.size):11}{took * 1e3:8.0f}{slow:14.1f}{slow / took:8.0f}x")


if __name__ == "__main__":
    main()

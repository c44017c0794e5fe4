"""The evaluation of stored maps: ``python -m benchmarks.maps [--maps 100] [--workers 1]``.

Random maps of 1024x2048 are stored; then a process of its own computes all metrics (pixel metrics with intervals,
components at two operating points, open-mIoU at four, every image on its own) and prints its time and peak memory. With
four times as many maps the memory must be the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.metrics import peak_memory
from owseg.evaluation.maps import Manifest, MapFolder, Maps
from owseg.evaluation.measure import measure
from owseg.labels import IGNORE, UNKNOWN

SHAPE, CLASSES = (1024, 2048), 19


def random_maps(seed: int) -> Maps:
    """Return maps of coarse areas with void and ten unknown objects; the score is coarse, and enlarged four times."""
    rng = np.random.default_rng(seed)

    def enlarged(coarse: np.ndarray, how: Image.Resampling) -> np.ndarray:
        return np.asarray(Image.fromarray(coarse).resize(SHAPE[::-1], how))

    areas = rng.integers(0, CLASSES, (16, 32)).astype(np.uint8)
    labels = enlarged(areas, Image.Resampling.NEAREST).copy()
    target = labels.copy()
    labels[rng.random(SHAPE, np.float32) < 0.05] = 0
    target[900:] = IGNORE
    coarse = np.zeros((256, 512), np.float32)
    for _ in range(10):
        top, left, height, width = rng.integers((0, 0, 3, 3), (200, 450, 27, 43))
        target[4 * top : 4 * (top + height), 4 * left : 4 * (left + width)] = UNKNOWN
        coarse[top : top + height, left : left + width] = 2
    coarse += enlarged_noise(rng) + 0.3 * rng.standard_normal(coarse.shape, np.float32)
    return Maps(labels, target, {"score": enlarged(coarse, Image.Resampling.BILINEAR).astype(np.float32)})


def enlarged_noise(rng: np.random.Generator) -> np.ndarray:
    coarse = Image.fromarray(rng.standard_normal((16, 32), np.float32))
    return np.asarray(coarse.resize((512, 256), Image.Resampling.BICUBIC))


def alone(path: str, workers: int) -> dict[str, float]:
    from owseg.openset import Threshold  # brings torch, which other processes would import for nothing

    before = peak_memory()
    started = time.perf_counter()
    metrics = measure(path, {"score": Threshold(1.5, "quantile", 0.05, 0.05, 1.0, 1, 1)}, workers=workers)
    seconds = time.perf_counter() - started
    found = metrics.scores["score"]
    return {
        "seconds": seconds,
        "MiB": (peak_memory() - before) / (1 << 20),
        "AP": found.pixel.ap,
        "FPR95": found.pixel.fpr95,
        "F1": found.components["best_f1"].f1,
        "components": found.components["best_f1"].predicted,
        "open-mIoU": found.open["best_f1"].miou,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.folder:
        print(json.dumps(alone(args.folder, args.workers)))
        return
    print(f"evaluation of stored maps of {SHAPE[0]}x{SHAPE[1]}, {CLASSES} classes, {args.workers} process(es)")
    print(f"{'maps':>6}{'write, s':>10}{'disk, MiB':>11}{'measure, s':>12}{'a map, ms':>11}{'MiB at most':>13}")
    for count in sorted({max(1, args.maps // 4), args.maps}):
        with tempfile.TemporaryDirectory() as path:
            images = tuple(f"{i:04}" for i in range(count))
            names = tuple(f"class {k}" for k in range(CLASSES))
            folder = MapFolder.begin(path, Manifest("random", "random", "random", names, ("score",), images))
            writing = 0.0
            for number, image in enumerate(images):
                maps = random_maps(number)
                started = time.perf_counter()
                folder.write(image, maps)
                writing += time.perf_counter() - started
            size = sum(f.stat().st_size for f in Path(path).iterdir()) / (1 << 20)
            command = [sys.executable, "-m", "benchmarks.maps", "--workers", str(args.workers), "--folder", path]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        took = found.pop("seconds")
        print(f"{count:6}{writing:10.1f}{size:11.0f}{took:12.1f}{took / count * 1e3:11.0f}{found.pop('MiB'):13.0f}")
    print("metrics of the last: " + ", ".join(f"{name} {value:.4g}" for name, value in found.items()))


if __name__ == "__main__":
    main()

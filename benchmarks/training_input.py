"""How fast a training's input is read, alone and ahead of it: ``python -m benchmarks.training_input [--workers 2]``.

Images and masks of ``--size``, made on the fly and stored as PNG, are decoded and augmented as ``owseg train`` does, in
this process and by so many workers, in turn, in one run. Nothing is kept in memory between two rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.residual import in_turn
from owseg.data.datasets import open_dataset
from owseg.training.config import TrainConfig
from owseg.training.input import Batches
from owseg.training.processes import Process
from owseg.training.views import AugmentedViews


def write_frames(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Write synthetic scenes, enlarged to ``size`` and with the noise of a camera, and their masks."""
    scenes = open_dataset("synthetic", "train")
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    (folder / "classes.json").write_text(json.dumps(list(scenes.labels.names)))
    for i in range(count):
        sample, rng = scenes[i % len(scenes)], np.random.default_rng(i)
        scene = Image.fromarray(sample.image.transpose(1, 2, 0)).resize(size[::-1], Image.Resampling.BICUBIC)
        noisy = np.asarray(scene, np.float32) + 3 * rng.standard_normal((*size, 3), np.float32)
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / "images" / f"{i:03}.png")
        mask = Image.fromarray(sample.mask_for("training")).resize(size[::-1], Image.Resampling.NEAREST)
        mask.save(folder / "masks" / f"{i:03}.png")


def reading(batches: Batches) -> Callable[[], float]:
    """Return what reads an epoch, and says how many images it has read."""

    def read() -> float:
        return sum(len(image) for image, _ in batches.of(0))

    return read


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1024x2048", help="height x width of the images")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args(arguments)
    height, width = (int(n) for n in args.size.split("x"))
    config = TrainConfig(batch=min(TrainConfig.batch, args.images))
    with tempfile.TemporaryDirectory() as folder:
        write_frames(Path(folder), args.images, (height, width))
        data = open_dataset(f"folder:{folder}", "train", train=True)
        views = AugmentedViews(data, config, size=720)
        each = [reading(Batches(len(data), views, config, Process(workers=n))) for n in (0, args.workers)]
        alone, ahead = in_turn(args.repeats, *each)
    busy = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"decoding and augmentation of {args.size} PNG, medians of {args.repeats}, in turn; {busy}")
    for name, seconds in (("in this process", alone), (f"{args.workers} workers", ahead)):
        print(f"{name:16} {1 / seconds:7.1f} images/s {1000 * seconds:6.0f} ms an image  {alone / seconds:.2f}x")


if __name__ == "__main__":
    main()

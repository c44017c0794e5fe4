"""Many images through a knowledge base: the engine against the serial loop that it took the place of.

    python -m benchmarks.engine [--kb street] [--images 200] [--folder DIR] [--workers 2]

First where the time of an image goes, in ms of one core. Then images a second of ``owseg predict``, files written,
against one loop on one thread that reads, predicts, encodes and writes an image after the other, and that loop in
several processes side by side, which is what these cores can do; in this run and in turn. Then the peak memory of
``owseg predict`` on more and more images, each in a process of its own (the knowledge base ``synthetic`` on images of
96x128). Images are synthetic scenes enlarged to 480x360, or those of ``--folder``. At last the input of a training
(``benchmarks.training_input``) and the bookkeeping of names (``benchmarks.growth``).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks import growth, training_input
from benchmarks._memory import peak_memory
from owseg.data.datasets import open_dataset
from owseg.data.images import find_images, read_image
from owseg.data.render import encode_jpeg, encode_labels
from owseg.inference.predict import predict_files
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.knowledge.prediction import MAPS, Prediction
from owseg.types import Sample


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kb", default="street")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="images to take in place of synthetic ones")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--stages", type=int, default=8, help="images whose time is divided into stages; 0 for none")
    parser.add_argument("--rounds", type=int, default=2, help="how often both are run, in turn")
    parser.add_argument("--memory", default="500,2000,8000", help="numbers of images whose peak memory is taken")
    parser.add_argument("--frames", type=int, default=96, help="images of 1024x2048 of the training input; 0 for none")
    parser.add_argument("--names", default="10000,100000,1000000", help="numbers of names in the bookkeeping")
    parser.add_argument("--peak-of", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        if args.peak_of:
            print(_peak(args.peak_of, Path(place)))
            return
        _throughput(args, Path(place))
        _memory([int(n) for n in args.memory.split(",") if n])
    if args.frames:
        training_input.main(["--images", str(args.frames), "--workers", str(args.workers), "--repeats", "3"])
    if args.names:
        growth.main(["--names", *args.names.split(",")])


def _throughput(args: argparse.Namespace, place: Path) -> None:
    paths = (
        find_images(args.folder)[: args.images] if args.folder else scenes(args.images, (360, 480), place / "scenes")
    )
    kb = load(args.kb)
    if args.stages:
        _stages(kb, paths[: args.stages])
    n = args.workers
    with ProcessPoolExecutor(n, get_context("spawn"), initializer=_loaded, initargs=(args.kb,)) as pool:
        side_by_side(pool, n, args.kb, paths[: 4 * n], place / "first")  # all have started
        ways: dict[str, Callable[[Path], object]] = {
            "serial, 1 thread": partial(serial, kb, paths),
            f"serial, {n} processes": partial(side_by_side, pool, n, args.kb, paths),
            f"engine, {n} workers": partial(engine, kb, paths, workers=n),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for i in range(args.rounds):
            for name, run in ways.items():
                started = time.perf_counter()
                run(place / f"{name} {i}")
                taken[name].append(time.perf_counter() - started)
    print(f"{args.kb}, {len(paths)} images, {args.rounds} rounds in turn, the faster of each")
    first = min(next(iter(taken.values())))
    for name, seconds in taken.items():
        print(f"{name:24} {len(paths) / min(seconds):6.2f} images/s  {first / min(seconds):.2f}x", flush=True)


def scenes(count: int, size: tuple[int, int], folder: Path) -> list[Path]:
    """Write ``count`` synthetic scenes of ``size`` (H, W) and return their paths."""
    folder.mkdir()
    data = open_dataset("synthetic", "test")
    for i in range(count):
        scene = Image.fromarray(np.ascontiguousarray(data[i % len(data)].image.transpose(1, 2, 0)))
        scene.resize((size[1], size[0])).save(folder / f"{i:06}.png", compress_level=1)
    return sorted(folder.iterdir())


def serial(kb: KnowledgeBase, paths: Sequence[Path], out: Path) -> None:
    """What ``owseg predict`` did before: one image after the other, on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    out.mkdir(exist_ok=True)
    for path in paths:
        prediction = kb.predict(read_image(path), kb.forward)
        for suffix, data in files(prediction):
            (out / f"{path.stem}.{suffix}").write_bytes(data)
    torch.set_num_threads(before)


def side_by_side(pool: Executor, count: int, kb: str, paths: Sequence[Path], out: Path) -> None:
    """``serial`` in ``count`` processes of ``pool``, each with every so-many-th image."""
    out.mkdir()
    for done in [pool.submit(_part, kb, paths[i::count], out) for i in range(count)]:
        done.result()


def _part(kb: str, paths: Sequence[Path], out: Path) -> None:
    serial(_loaded(kb), paths, out)


@cache
def _loaded(kb: str) -> KnowledgeBase:
    return load(kb)


def files(prediction: Prediction) -> list[tuple[str, bytes]]:
    """What was written of an image: as now, but for a score compressed harder."""
    maps = dict(prediction.files(write=("score", "regions")))
    with tempfile.SpooledTemporaryFile() as scored, tempfile.SpooledTemporaryFile() as whole:
        scored.write(maps["score.png"])
        Image.open(scored).save(whole, "PNG")
        whole.seek(0)
        maps["score.png"] = whole.read()
    labels = encode_labels(prediction.labels, prediction.classes)
    return [("labels.png", labels), ("open.jpg", encode_jpeg(prediction.overlay())), *maps.items()]


def engine(kb: KnowledgeBase, paths: Sequence[Path], out: Path, *, workers: int) -> None:
    """``owseg predict`` as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(workers)
    predict_files(kb, paths, out, forward=kb.engine(workers=workers), collect=False)
    torch.set_num_threads(before)


def _stages(kb: KnowledgeBase, paths: Sequence[Path]) -> None:
    """Print the median time of each stage of an image, in ms of one core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    taken: dict[str, list[float]] = {}

    def timed(stage: str, call: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = call()
        taken.setdefault(stage, []).append(1000 * (time.process_time() - started))
        return result

    for path in paths:
        image = timed("read", partial(read_image, path))
        output = timed("network", partial(kb.forward, image))
        prediction = timed("labels, score", partial(kb.decide, Sample(image, None, path.name), output))
        timed("regions", lambda found=prediction: found.regions)
        for name in MAPS:
            timed(f"file: {name}", lambda found=prediction, name=name: list(found.files(write=(name,))))
    torch.set_num_threads(before)
    for stage, times in taken.items():
        print(f"{stage:18} {np.median(times):7.1f} ms")


def _memory(counts: Sequence[int]) -> None:
    first = 0.0
    for count in counts:
        command = [sys.executable, "-m", "benchmarks.engine", "--peak-of", str(count)]
        peak = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
        first = first or peak
        print(f"{count:6} images: peak memory {peak / 2**20:7.1f} MiB  {peak / first:.3f}x", flush=True)


def _peak(count: int, place: Path) -> int:
    """Return the peak memory, in bytes, of predicting ``count`` images: a few scenes under many names."""
    originals, folder = scenes(8, (96, 128), place / "scenes"), place / "many"
    folder.mkdir()
    for i in range(count):
        os.link(originals[i % len(originals)], folder / f"{i:06}.png")
    kb = load("synthetic")
    # At the smallest size, as it is not the network whose memory is looked at.
    predict_files(kb, sorted(folder.iterdir()), place / "out", forward=kb.engine(size=32), write=(), collect=False)
    return peak_memory()


if __name__ == "__main__":
    main()

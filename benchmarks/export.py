"""A knowledge base against its exports: eager torch, ONNX Runtime and OpenVINO, on one core and on more, in one run.

    python -m benchmarks.export [--kb street] [--images DIR] [--size 360x480] [--cores 1,2] [--data camvid:DIR]

Each is this process's only work in its turn: the median time of an image of ``--repeats``, from bytes to labels,
score and open-set map, by the clock and, as other work may take the cores, as the time of these. The graphs alone are
timed as well, without the pooling over segments that follows. ``bf16`` is OpenVINO's graph of fp32 with that hint,
for CPUs with AMX. Then what fewer bits cost: labels and open set that are other pixels than those of the knowledge
base, and with ``--data`` mIoU and AP on its split test.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from owseg.data.dataset import DataSet
from owseg.data.datasets import open_dataset
from owseg.data.images import find_images, read_image
from owseg.evaluation.evaluate import evaluate
from owseg.inference.export import drawn, export, fitting
from owseg.inference.runtime import ExportedModel, load_export
from owseg.inference.sessions import OnnxSession, OpenvinoSession
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.knowledge.model import Model
from owseg.models.cores import available_cores
from owseg.openset import Threshold
from owseg.types import Sample

KINDS = {
    "ONNX Runtime": ("model.onnx", "fp32"),
    "OpenVINO": ("model.xml", "fp32"),
    "OpenVINO bf16": ("model.xml", "bf16"),
    "ONNX Runtime fp16": ("fp16.onnx", "fp16"),
    "ONNX Runtime int8": ("int8.onnx", "int8"),
    "OpenVINO int8": ("int8.xml", "int8"),
}
"""The file of each, and its precision."""


Run = Callable[[], Any]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kb", default="street")
    parser.add_argument("--images", type=Path, help="folder to calibrate int8 on and to run; drawn scenes without")
    parser.add_argument("--size", default="360x480")
    parser.add_argument("--cores", default=",".join(str(n) for n in sorted({1, available_cores()})))
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--data", help="a labelled data set, whose split test tells what fewer bits cost")
    parser.add_argument("--keep", type=Path, help="folder of the exports; what is there already is taken as it is")
    parser.add_argument("--most", type=int, default=60, help="images of it at most")
    args = parser.parse_args(arguments)
    kb = load(args.kb)
    height, width = (int(n) for n in args.size.split("x"))
    found = [read_image(path) for path in find_images(args.images)[:24]] if args.images else drawn()
    images = [fitting(image, (height, width)) for image in found]
    kinds = {name: KINDS[name] for name in args.kinds.split(",")}
    with tempfile.TemporaryDirectory() as temporary:
        place = args.keep or Path(temporary)
        _write(kb, place, images, {file for file, _ in kinds.values()})
        _times(kb, place, kinds, images[0], [int(n) for n in args.cores.split(",")], args.repeats)
        _losses(kb, place, kinds, images, args)


def _write(kb: KnowledgeBase, place: Path, images: list[np.ndarray], files: set[str]) -> None:
    for file in sorted(name for name in files if not (place / name).exists()):
        precision = "fp32" if file.startswith("model") else file.split(".")[0]
        form = "onnx" if file.endswith(".onnx") else "openvino"
        start = time.perf_counter()
        done = export(kb, place / file, form, precision, None, images)
        worst = min(one.labels for one in done.compared), max(one.score for one in done.compared)
        print(f"{file}: {done.bytes / 1e6:.1f} MB, {time.perf_counter() - start:.0f} s to export and compare; "
              f"labels equal {worst[0]:.3%}, score differs by up to {worst[1]:.2g}", flush=True)  # fmt: skip


def _opened(place: Path, file: str, precision: str, cores: int) -> ExportedModel:
    model = load_export(place / file, workers=1)
    if Path(file).suffix == ".onnx":
        return replace(model, session=OnnxSession(place / file, cores))
    hint = "bf16" if precision == "bf16" else "f32"
    return replace(model, session=OpenvinoSession(place / file, cores, precision=hint))


def _runs(kb: KnowledgeBase, models: dict[str, ExportedModel], image: np.ndarray) -> dict[str, tuple[Run, Run]]:
    """Return what is timed, by name: all of a prediction, and the network or the graph alone."""
    sample, runs = Sample(image, None, ""), dict[str, tuple[Run, Run]]()
    for name, model in {"torch, eager": kb, **models}.items():
        run = partial(model.engine(), image)
        runs[name] = partial(_decided, model, run, sample), run
    return runs


def _decided(model: Model, run: Run, sample: Sample) -> Any:
    return model.decide(sample, run())


def _times(
    kb: KnowledgeBase, place: Path, kinds: dict[str, tuple[str, str]], image: np.ndarray, cores: list[int], repeats: int
) -> None:
    for n in cores:
        torch.set_num_threads(n)
        runs = _runs(kb, {name: _opened(place, *kind, n) for name, kind in kinds.items()}, image)
        # Of all of a prediction and of the graph alone, the times by the clock and those of the cores.
        times: dict[str, list[list[tuple[float, float]]]] = {name: [[], []] for name in runs}
        for _ in range(repeats + 1):  # in turn, so that what else the machine does meets all
            for name, both in runs.items():
                for run, taken in zip(both, times[name], strict=True):
                    clock, busy = time.perf_counter(), time.process_time()
                    run()
                    taken.append((1000 * (time.perf_counter() - clock), 1000 * (time.process_time() - busy)))
        found = {name: [[median(t) for t in zip(*taken[1:], strict=True)] for taken in both]
                 for name, both in times.items()}  # fmt: skip
        print(f"\n{n} core(s), ms an image (of the cores): all of it; without what follows the network or the graph")
        for name, both in found.items():
            cells = [f"{clock:7.1f} {first[0] / clock:5.2f}x ({busy:7.1f} {first[1] / busy:5.2f}x)"
                     for (clock, busy), first in zip(both, found["torch, eager"], strict=True)]  # fmt: skip
            print(f"  {name:18} {'   '.join(cells)}", flush=True)


def _losses(
    kb: KnowledgeBase, place: Path, kinds: dict[str, tuple[str, str]], images: list[np.ndarray],
    args: argparse.Namespace,
) -> None:  # fmt: skip
    data = _some(open_dataset(args.data, "test", kb.labels), args.most) if args.data else None
    expected = kb.predict(images)
    print("\nother pixels than the knowledge base's: labels, open set; threshold" + ("; mIoU, AP" if data else ""))
    _print_row(
        "knowledge base", 0, 0, kb.threshold.value if kb.threshold else 0, data and evaluate(kb, data), kb.scorer
    )
    for name, kind in kinds.items():
        model = _opened(place, *kind, max(int(n) for n in args.cores.split(",")))
        found = model.predict_all(images)
        labels, unknown = (
            float(np.mean([getattr(a, which) != getattr(b, which) for a, b in zip(expected, found, strict=True)]))
            for which in ("labels", "open_set")
        )
        result = evaluate(model, data) if data else None
        _print_row(name, labels, unknown, model.threshold, result, kb.scorer)


def _print_row(name: str, labels: float, unknown: float, threshold: Threshold | None, result: Any, scorer: str) -> None:
    more = f"  mIoU {result.iou.mean():.3f}  AP {result.scores[scorer].ap:.3f}" if result else ""
    print(f"  {name:18} {labels:8.3%} {unknown:8.3%}  {threshold}{more}", flush=True)


def _some(data: DataSet, most: int) -> DataSet:
    return data.pick(range(0, len(data), -(-len(data) // most)))


if __name__ == "__main__":
    main()

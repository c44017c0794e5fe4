"""Images a second, and how busy the device is, by network, batch and precision.

    python -m benchmarks.throughput [--device auto] [--networks street,ESPNetv2] [--batches 1,2,4] [--modes 32,bf16]

Closed map and score ``max_logit`` of images that are decoded already, by ``over_images``, as all commands run them: the
shipped ``street``, and ESPNetv2, a SegFormer-B2 and a Mask2Former with a Swin-L of random weights. Ways are timed in
turn, and the ratio is to the first: batches of 1 in 32 bits. "busy" is the share of the wall time in which the device
computes: on a GPU the time of its kernels and copies, on a CPU the processor time over that of all of its threads. A
batch that does not fit into the memory has no row.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import (
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SwinConfig,
)

from benchmarks.residual import espnetv2
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.labels import LabelSpace
from owseg.models.devices import choose_device, device_title
from owseg.models.engine import Engine
from owseg.models.network import Network
from owseg.models.over_images import over_images
from owseg.models.published import mask_classifiers
from owseg.models.published.transformers import to_network
from owseg.types import Output, Sample

CLASSES = 19
COMPILED = "compiled"
"""The mode that has 32 bits and torch.compile."""

BATCHES = {"cpu": "1,2,4", "cuda": "1,2,4,8,16,32"}
MODES = {"cpu": "32,bf16", "cuda": f"32,bf16,{COMPILED}"}
"""What is measured by default: on a CPU compiling alone takes minutes."""


def segformer_b2() -> Network:
    config = SegformerConfig(
        hidden_sizes=[64, 128, 320, 512], depths=[3, 4, 6, 3], decoder_hidden_size=768, num_labels=CLASSES
    )
    return to_network(SegformerForSemanticSegmentation(config))


def mask2former_swin_l() -> Network:
    stages = [f"stage{i}" for i in (1, 2, 3, 4)]
    body = SwinConfig(
        image_size=384, embed_dim=192, depths=[2, 2, 18, 2], num_heads=[6, 12, 24, 48], window_size=12,
        out_features=stages,
    )  # fmt: skip
    config = Mask2FormerConfig(backbone_config=body, num_labels=CLASSES)
    return mask_classifiers.to_network(Mask2FormerForUniversalSegmentation(config))


NETWORKS: dict[str, Callable[[], Network]] = {
    "street": lambda: load("street").network,
    "ESPNetv2": espnetv2,
    "SegFormer-B2": segformer_b2,
    "Mask2Former-Swin-L": mask2former_swin_l,
}


@dataclass(frozen=True)
class Images:
    """``count`` images of one size (H, W), the same few again and again."""

    count: int
    size: tuple[int, int]
    few: list[np.ndarray] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        self.few.extend(rng.integers(0, 256, (3, *self.size), np.uint8) for _ in range(min(4, self.count)))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Sample:
        return Sample(self.few[i % len(self.few)], None, str(i))


def engine_of(kb: KnowledgeBase, mode: str, batch: int) -> Engine:
    return kb.engine(batch=batch, precision="32" if mode == COMPILED else mode, compiled=mode == COMPILED)


def running(kb: KnowledgeBase, engine: Engine, images: Images) -> Callable[[], None]:
    """Return what computes closed map and score of all images at their size."""

    def assess(sample: Sample, output: Output) -> None:
        kb.assess(output, images.size)

    def run() -> None:
        for _ in over_images(engine, images, assess):
            pass

    return run


def fits(engine: Engine, images: Images) -> bool:
    """Return whether a batch fits into the memory; it compiles what is to be compiled."""
    try:
        engine.run([images[i].image for i in range(engine.batch_size)])
    except torch.OutOfMemoryError:
        return False
    return True


def seconds_and_busy(run: Callable[[], None], device: torch.device) -> tuple[float, float]:
    """Return the wall time of a run and the share of it in which the device computes."""
    if device.type == "cuda":
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            seconds = _seconds(run)
        on_device = (e for e in profile.key_averages() if e.device_type == torch.autograd.DeviceType.CUDA)
        return seconds, sum(e.self_device_time_total for e in on_device) / 1e6 / seconds
    before = time.process_time()
    seconds = _seconds(run)
    return seconds, (time.process_time() - before) / seconds / torch.get_num_threads()


def _seconds(run: Callable[[], None]) -> float:
    started = time.perf_counter()
    run()  # maps are on the host at its end, so nothing is left to wait for
    return time.perf_counter() - started


def table(network: Network, args: argparse.Namespace, device: torch.device) -> list[tuple[str, int, float, float]]:
    """Return rows of (mode, batch, images a second, busy share), the first of them batches of 1 in 32 bits."""
    names = [f"c{i}" for i in range(network.num_classes)]
    kb = KnowledgeBase(network, LabelSpace.of(names)).to(device)
    height, width = (int(n) for n in args.size.split("x"))
    batches = [int(n) for n in (args.batches or BATCHES[device.type]).split(",")]
    modes = (args.modes or MODES[device.type]).split(",")
    images = Images(args.images or 2 * max(batches), (height, width))
    ways = [("32", 1), *((mode, batch) for mode in modes for batch in batches if (mode, batch) != ("32", 1))]
    engines = {way: engine_of(kb, *way) for way in ways}
    runs = {way: running(kb, engine, images) for way, engine in engines.items() if fits(engine, images)}
    found: dict[tuple[str, int], list[tuple[float, float]]] = {way: [] for way in runs}
    for _ in range(args.repeats):
        for way, run in runs.items():
            found[way].append(seconds_and_busy(run, device))
    medians = {way: [statistics.median(values) for values in zip(*some, strict=True)] for way, some in found.items()}
    return [(*way, len(images) / seconds, busy) for way, (seconds, busy) in medians.items()]


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--networks", default=",".join(NETWORKS), help="of these, or shipped knowledge bases")
    parser.add_argument("--batches", help=f"by default {BATCHES['cpu']} on a CPU, {BATCHES['cuda']} on a GPU")
    parser.add_argument("--modes", help=f"precisions and {COMPILED}; by default {MODES['cpu']} on a CPU")
    parser.add_argument("--size", default="512x1024", help="height x width; a working size is taken where there is one")
    parser.add_argument("--images", type=int, help="in a run, by default two of the largest batches")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    device = choose_device(args.device)
    print(f"{args.size}, {device_title(device)}, {args.threads} threads, medians of {args.repeats}, in turn")
    print(f"{'network':20}{'mode':10}{'batch':>5}{'images/s':>10}{'ratio':>8}{'busy':>6}", flush=True)
    for name in args.networks.split(","):
        torch.manual_seed(0)
        rows = table(NETWORKS[name]() if name in NETWORKS else load(name).network, args, device)
        for mode, batch, speed, busy in rows:
            print(f"{name:20}{mode:10}{batch:5}{speed:10.2f}{speed / rows[0][2]:7.2f}x{busy:6.0%}", flush=True)


if __name__ == "__main__":
    main()

"""What a residual pattern costs beside the frozen network that it reads.

    python -m benchmarks.residual [--threads 2] [--size 512x1024] [--view 256x384]

For ESPNetv2, the shipped ``street8`` and a SegFormer-B0, all with weights that do not matter here: parameters; the time
of one image, closed logits and residual score against closed logits alone, in turn; and the time of one training
step per view, of the residual (RPL + CoroCL) against the whole network by cross-entropy.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from owseg.knowledge.load import load
from owseg.labels import UNKNOWN
from owseg.models.backbones.base import Backbone
from owseg.models.classifiers import LinearClassifier
from owseg.models.network import Network
from owseg.models.ops import resize
from owseg.models.published.espnetv2 import ESPNetV2Decoder, ESPNetV2Encoder
from owseg.models.published.transformers import to_network
from owseg.models.residual_pattern import ResidualPattern, residual_of
from owseg.scorers.energy import energy
from owseg.scorers.rpl import rpl
from owseg.training.config import ResidualConfig
from owseg.training.residual import ResidualObjective

BATCH = 4


def espnetv2() -> Network:
    backbone = Backbone(ESPNetV2Encoder(2.0), (0.5,) * 3, (0.5,) * 3)
    head = LinearClassifier(10, 19)
    return Network(backbone, ESPNetV2Decoder(backbone.channels, 10), head)


NETWORKS: dict[str, Callable[[], Network]] = {
    "ESPNetv2": espnetv2,
    "street8": lambda: load("street8").network,
    "SegFormer-B0": lambda: to_network(SegformerForSemanticSegmentation(SegformerConfig(num_labels=19))),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", default="512x1024")
    parser.add_argument("--view", default="256x384", help="height x width of a training view, multiples of 32")
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    (height, width), (view_height, view_width) = (map(int, text.split("x")) for text in (args.size, args.view))
    view, steps = (view_height, view_width), max(1, args.repeats // 3)
    medians = f"medians of {args.repeats} and of {steps}, in turn"
    print(f"{args.size} images, views of {args.view}, {args.threads} threads; {medians}")
    for name, make in NETWORKS.items():
        torch.manual_seed(0)
        network = make().eval().to(memory_format=torch.channels_last)
        pattern = residual_of(network).eval().to(memory_format=torch.channels_last)
        used = sum(p.numel() for k, p in pattern.named_parameters() if not k.startswith("project"))
        image = torch.rand(1, 3, height, width).contiguous(memory_format=torch.channels_last)
        calls = partial(frozen, network, image), partial(with_residual, network, pattern, image)
        plain, both = in_turn(args.repeats, *calls)
        residual, whole = in_turn(
            steps, partial(residual_step, network, pattern, view), partial(whole_step, network, view)
        )
        parameters = sum(p.numel() for p in network.parameters())
        print(
            f"{name:13} parameters {parameters:,} + {used:,} ({1 + used / parameters:.2f}x); an image {both:.2f} s "
            f"against {plain:.2f} s ({both / plain:.2f}x); a training view {residual:.2f} s against {whole:.2f} s "
            f"({residual / whole:.2f}x)",
            flush=True,
        )


@torch.no_grad()
def frozen(network: Network, image: torch.Tensor) -> None:
    output = network(image)
    resize(output.logits, image.shape[2:]).argmax(1)
    resize(energy(output)[:, None], image.shape[2:])


@torch.no_grad()
def with_residual(network: Network, pattern: nn.Module, image: torch.Tensor) -> None:
    output = network(image, pattern)
    resize(output.logits, image.shape[2:]).argmax(1)
    resize(rpl(output)[:, None], image.shape[2:])


def residual_step(network: Network, pattern: ResidualPattern, view: tuple[int, int]) -> float:
    network.requires_grad_(False).eval()
    images, targets = batch(view)
    targets = targets.where(targets != 1, UNKNOWN)
    objective = ResidualObjective(network, pattern.train(), ResidualConfig(batch=BATCH, crop=view))
    objective(images, targets, images, targets).backward()
    pattern.eval()
    return BATCH


def whole_step(network: Network, view: tuple[int, int]) -> float:
    network.requires_grad_(True).train()
    images, targets = batch(view)
    logits = resize(network(images).logits, view)
    nn.functional.cross_entropy(logits, targets).backward()
    network.eval()
    return BATCH


def batch(view: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand(BATCH, 3, *view).contiguous(memory_format=torch.channels_last)
    targets = torch.randint(0, 8, (BATCH, view[0] // 32, view[1] // 32))
    return images, targets.repeat_interleave(32, 1).repeat_interleave(32, 2)


def in_turn(times: int, *calls: Callable[[], float | None]) -> list[float]:
    """Return the median seconds of each, called one after the other, per unit that a call says it did."""
    for call in calls:
        call()
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(times):
        for call, spent in zip(calls, seconds, strict=True):
            started = time.perf_counter()
            units = call()
            spent.append((time.perf_counter() - started) / (units or 1))
    return [statistics.median(s) for s in seconds]


if __name__ == "__main__":
    main()

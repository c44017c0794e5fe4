"""What a residual pattern costs beside the frozen network that it sees through.

    python -m benchmarks.residual [--threads 2] [--size 512x1024]

For ESPNetv2, the shipped ``street8`` and a SegFormer-B0, all with weights that do not matter here: parameters; the time
of one image, closed logits and residual score against closed logits alone, in turn; and the time of one training
step per view, teaching the residual (RPL + CoroCL) against training the whole network by cross-entropy.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
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
from owseg.models.published.transformers import take_apart
from owseg.models.residual_pattern import residual_of
from owseg.scorers.energy import energy
from owseg.scorers.rpl import rpl
from owseg.training.config import ResidualConfig
from owseg.training.residual import Objective

VIEW = (256, 384)
CONFIG = ResidualConfig(batch=4, crop=VIEW)


def espnetv2() -> Network:
    backbone = Backbone(ESPNetV2Encoder(2.0), (0.5,) * 3, (0.5,) * 3)
    head = LinearClassifier(10, 19)
    return Network(backbone, ESPNetV2Decoder(backbone.channels, 10), head)


NETWORKS: dict[str, Callable[[], Network]] = {
    "ESPNetv2": espnetv2,
    "street8": lambda: load("street8").network,
    "SegFormer-B0": lambda: take_apart(SegformerForSemanticSegmentation(SegformerConfig(num_labels=19))),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", default="512x1024")
    args, _ = parser.parse_known_args()
    torch.set_num_threads(args.threads)
    height, width = map(int, args.size.split("x"))
    print(f"{args.size} images, views of {VIEW[0]}x{VIEW[1]}, {args.threads} threads; medians of 9 and of 3, in turn")
    for name, make in NETWORKS.items():
        torch.manual_seed(0)
        network = make().eval().to(memory_format=torch.channels_last)
        pattern = residual_of(network).eval().to(memory_format=torch.channels_last)
        used = sum(p.numel() for k, p in pattern.named_parameters() if not k.startswith("project"))
        image = torch.rand(1, 3, height, width).contiguous(memory_format=torch.channels_last)
        plain, taught = in_turn(9, partial(frozen, network, image), partial(with_residual, network, pattern, image))
        residual, whole = in_turn(3, partial(residual_step, network, pattern), partial(whole_step, network))
        parameters = sum(p.numel() for p in network.parameters())
        print(
            f"{name:13} parameters {parameters:,} + {used:,} ({1 + used / parameters:.2f}x); an image {taught:.2f} s "
            f"against {plain:.2f} s ({taught / plain:.2f}x); a training view {residual:.2f} s against {whole:.2f} s "
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
    output = network(image)
    resize(output.logits, image.shape[2:]).argmax(1)
    resize(rpl(replace(output, residual=pattern.added(network, output)))[:, None], image.shape[2:])


def residual_step(network: Network, pattern: nn.Module) -> float:
    network.requires_grad_(False).eval()
    images, targets = batch(lambda t: t.where(t != 1, UNKNOWN))
    Objective(network, pattern.train(), CONFIG)(images, targets, images, targets).backward()
    pattern.eval()
    return CONFIG.batch


def whole_step(network: Network) -> float:
    network.requires_grad_(True).train()
    images, targets = batch(lambda t: t)
    logits = resize(network(images).logits, VIEW)
    nn.functional.cross_entropy(logits, targets).backward()
    network.eval()
    return CONFIG.batch


def batch(change: Callable[[torch.Tensor], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand(CONFIG.batch, 3, *VIEW).contiguous(memory_format=torch.channels_last)
    return images, change(torch.randint(0, 8, (CONFIG.batch, VIEW[0] // 32, VIEW[1] // 32)).repeat_interleave(
        32, 1).repeat_interleave(32, 2))  # fmt: skip


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

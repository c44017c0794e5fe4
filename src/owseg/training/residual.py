"""Training a residual pattern: images of streets, outliers pasted into them, and no labels (RPL and CoroCL)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning_fabric as lightning
import numpy as np
import torch
from torch import Tensor, nn

from owseg.data.augment import augment
from owseg.data.copy_paste import paste
from owseg.data.dataset import DataSet
from owseg.data.outliers import Outlier, Outliers
from owseg.errors import OwsegError
from owseg.knowledge.base import Event, KnowledgeBase
from owseg.knowledge.calibration import data_card
from owseg.labels import IGNORE, UNKNOWN
from owseg.losses import outlier as losses
from owseg.metrics.pixel import Exact
from owseg.models.network import Network, to_tensor
from owseg.models.ops import resize
from owseg.models.residual_pattern import ResidualPattern, residual_of
from owseg.scorers.rpl import rpl
from owseg.training.config import ResidualConfig
from owseg.training.input import _stacked
from owseg.training.loop import loop
from owseg.types import Output, Sample


class Objective(nn.Module):
    """RPL's loss as a module: ``(streets, targets, contexts, context targets) -> loss``; the network stays as it is."""

    def __init__(self, network: Network, pattern: ResidualPattern, config: ResidualConfig) -> None:
        super().__init__()
        self.pattern, self.config = pattern, config
        self.frozen = [network]  # in a list, so that it is no part of what is trained, moved or set to training

    def forward(self, images: Tensor, targets: Tensor, contexts: Tensor, context_targets: Tensor) -> Tensor:
        """Return the loss; targets (B, H, W) long are UNKNOWN on outliers, IGNORE where void, anything else inliers."""
        network = self.frozen[0]
        with torch.no_grad():
            output = network(images)
            seen = network.encode(contexts) if len(contexts) else None
        with torch.autocast(images.device.type, enabled=False):  # what is frozen may be coarse, what learns may not
            return self._loss(output, targets, seen, context_targets)

    def _loss(self, output: Output, targets: Tensor, seen: Sequence[Tensor] | None, context_targets: Tensor) -> Tensor:
        config, embedding = self.config, output.embedding.float()
        pattern = self.pattern.pattern([f.float() for f in output.features])
        residual = resize(self.pattern.final(pattern), _grid(embedding))
        evidence = self.frozen[0].classifier.evidence(embedding + residual)
        outlier, inlier = _masks(targets, _grid(evidence))
        kept = losses.inlier(evidence, output.logits.float(), inlier, config.entropy_weight)
        found = losses.positive_energy(evidence, outlier)
        outliers, inliers = self._sampled(pattern, targets)
        context_outliers, context_inliers = outliers[:0], inliers[:0]
        if seen is not None:
            context_outliers, context_inliers = self._sampled(
                self.pattern.pattern([f.float() for f in seen]), context_targets
            )
        contrast = losses.corocl(outliers, inliers, context_outliers, context_inliers, config.temperature)
        return config.inlier_weight * kept + config.outlier_weight * found + config.contrast_weight * contrast

    def _sampled(self, pattern: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return what CoroCL compares at some outlier and some inlier pixels, (n, D) each."""
        pixels = self.pattern.contrast(pattern).movedim(1, -1)
        outlier, inlier = _masks(targets, _grid(pattern))
        return _some(pixels[outlier], self.config.samples), _some(pixels[inlier], self.config.samples)


def train_residual(
    kb: KnowledgeBase,
    streets: DataSet,
    val: DataSet,
    outliers: Outliers,
    context: Outliers | None = None,
    config: ResidualConfig | None = None,
    run: Path | str = "run",
    resume: bool = False,
) -> KnowledgeBase:
    """Return ``kb`` with a residual pattern that was trained to see ``outliers`` pasted into ``streets``.

    ``streets`` need no truth; where they have one, what is void in it is left out. The weights kept are those with
    the best AP on ``val`` with other outliers pasted into it: one in eight is set aside for that. ``context`` shows
    outliers where they were photographed, for CoroCL. Network, classes and increments stay as they are. Raises
    ``OwsegError`` where there is nothing to train on and for a loss that is not finite.
    """
    config = config or ResidualConfig()
    fabric = lightning.Fabric(devices=config.devices, precision=config.precision)  # type: ignore[arg-type]
    fabric.launch()
    steps = len(streets) // (config.batch * fabric.world_size)
    if not steps:
        raise OwsegError(f"{len(streets)} images do not fill a batch of {config.batch}; lower the batch size.")
    if not any((np.asarray(_street(sample).target) == 0).any() for sample in streets):
        raise OwsegError(f"{streets.source.name} has no pixel that is neither void nor unknown; give other streets.")
    train_on, val_on = split(outliers)
    run = Path(run)
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    network = kb.network.requires_grad_(False).eval()
    network.to(fabric.device)
    pattern = residual_of(network).to(fabric.device).eval()
    about = {"data": streets.source.name, "frames": len(streets), "outliers": len(outliers), "network": network.config}

    def validate() -> float:
        return pasted_ap(network, pattern, val, val_on, config)

    before = validate()  # an untrained residual is the frozen network's energy
    best, ap = loop(
        fabric,
        Objective(network, pattern, config),
        torch.optim.AdamW(_groups(pattern, config), weight_decay=config.weight_decay),
        config,
        run,
        steps=steps,
        batches=lambda e: _batches(streets, train_on, context, config, e, fabric.global_rank, fabric.world_size),
        kept=pattern,
        validate=validate,
        figure="AP",
        what=json.dumps({**asdict(config), **about, "context": context.name if context else None}),
        resume=resume,
    )
    pattern.load_state_dict(best)
    details = {
        **data_card(streets), "outliers": outliers.name, "objects": len(outliers), "categories": outliers.counts(),
        "context": context.name if context else None, "val_ap": ap, "val_ap_before": before, "config": asdict(config),
    }  # fmt: skip
    message = (
        f"learned what is unknown from {len(outliers)} outliers (AP on pasted val: {before:.3f} before, {ap:.3f} now)"
    )
    event = Event("train-residual", message, details)
    network.cpu()
    learned = pattern.requires_grad_(False).cpu().eval()
    # The threshold was another score's.
    return kb.after(event, residual=learned, scorer="rpl", threshold=None)


def _groups(pattern: ResidualPattern, config: ResidualConfig) -> list[dict[str, Any]]:
    last = list(pattern.final.parameters())
    rest = [p for p in pattern.parameters() if not any(p is q for q in last)]
    return [{"params": rest, "lr": config.lr}, {"params": last, "lr": config.final_lr}]


def split(outliers: Outliers, every: int = 8) -> tuple[Outliers, Outliers]:
    """Return the outliers to train on and those that validation pastes: every eighth, or the last of fewer.

    One alone serves both.
    """
    numbers = range(len(outliers))
    held = [i for i in numbers if i % every == every - 1] or list(numbers[-1:])
    kept = [i for i in numbers if i not in held] or held
    return outliers.pick(kept), outliers.pick(held)


def pasted_ap(
    network: Network, pattern: ResidualPattern, val: DataSet, outliers: Outliers, config: ResidualConfig
) -> float:
    """Return the AP of ``rpl`` on ``val`` with outliers pasted into it, the same ones whenever it is asked."""
    state, device = Exact(), next(network.parameters()).device
    for i in range(len(val)):
        sample = pasted(_street(val[i]), outliers, config, np.random.default_rng([7, i]))
        with torch.no_grad():
            output = network(to_tensor(sample.image).to(device))
            output = replace(output, residual=pattern.added(network, output))
        target = np.asarray(sample.target)
        state.update(resize(rpl(output)[:, None], target.shape)[0, 0].cpu().numpy(), target)
    return state.compute().ap


def pasted(sample: Sample, outliers: Outliers, config: ResidualConfig, rng: np.random.Generator) -> Sample:
    """Return ``sample`` with ``config.pasted`` random outliers in it."""
    for _ in range(config.pasted):
        sample = paste(sample, outliers.read(int(rng.integers(len(outliers)))), rng, config.sizes, config.feather)
    return sample


def _batches(
    streets: DataSet, outliers: Outliers, context: Outliers | None, config: ResidualConfig, epoch: int, rank: int,
    ranks: int,
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:  # fmt: skip
    """Yield this rank's batches of one epoch; what is random depends on the seed, the epoch and the image alone."""
    order = np.random.default_rng([config.seed, epoch]).permutation(len(streets))
    stride = config.batch * ranks
    for start in range(0, len(streets) - stride + 1, stride):
        views, contexts = [], []
        for i in order[start + rank * config.batch :][: config.batch]:
            rng = np.random.default_rng([config.seed, epoch, int(i)])
            # Pasted first, so that one lens sees both: as sharp, as bright, as large.
            view = pasted(_street(streets[int(i)]), outliers, config, rng)
            views.append(augment(view, config.crop, config.scale, config.jitter, rng))
            if context is not None:
                seen = _seen(context.read(int(rng.integers(len(context)))))
                contexts.append(augment(seen, config.crop, (0.75, 1.5), config.jitter, rng))
        yield *_stacked(views), *_stacked(contexts)


def _street(sample: Sample) -> Sample:
    """Return an image with a target that is 0 wherever the truth is not void or unknown."""
    if sample.target is None:
        return replace(sample, target=np.zeros(sample.image.shape[1:], np.uint8))
    return replace(sample, target=np.where(sample.target < UNKNOWN, 0, IGNORE).astype(np.uint8))


def _seen(outlier: Outlier) -> Sample:
    target = np.where(outlier.mask, UNKNOWN, 0).astype(np.uint8)
    if outlier.void is not None:
        target[outlier.void] = IGNORE
    return Sample(outlier.image, target, outlier.id)


def _masks(targets: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return where outliers and where inliers are, (B, h, w) bool each, on another grid."""
    small = nn.functional.interpolate(targets[:, None].float(), size=grid, mode="nearest-exact")[:, 0]
    return small == UNKNOWN, small < UNKNOWN


def _some(pixels: Tensor, most: int) -> Tensor:
    return pixels if len(pixels) <= most else pixels[torch.randperm(len(pixels), device=pixels.device)[:most]]


def _grid(maps: Tensor) -> tuple[int, int]:
    return maps.shape[-2], maps.shape[-1]

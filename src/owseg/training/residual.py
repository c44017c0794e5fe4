"""Training a residual pattern: inlier images, outliers pasted into them, and no labels (RPL and CoroCL)."""

from __future__ import annotations

import copy
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from owseg.data.dataset import DataSet
from owseg.data.outliers import Outliers
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import data_card
from owseg.knowledge.event import Event
from owseg.losses import outlier as losses
from owseg.models.engine import Engine
from owseg.models.network import Network
from owseg.models.ops import resize, size_of
from owseg.models.residual_pattern import ResidualPattern, residual_of
from owseg.scorers.rpl import rpl
from owseg.training.checkpoint import Checkpoint, identity_of
from owseg.training.config import ResidualConfig
from owseg.training.input import Batches
from owseg.training.loop import Task, loop
from owseg.training.optimizers import made_optimizer
from owseg.training.pasting import PastedViews, masks_on, pasted_ap, require_inliers, set_aside
from owseg.training.processes import Process, launched


class ResidualObjective(nn.Module):
    """RPL's loss and CoroCL of a batch of inlier images and, where there are any, of as many context images.

    The ``network`` is read and never changed.
    """

    def __init__(self, network: Network, pattern: ResidualPattern, config: ResidualConfig) -> None:
        super().__init__()
        self.pattern, self.config = pattern, config
        self.frozen = [network]  # in a list, so that it is no part of what is trained, moved or set to training

    def forward(
        self, images: Tensor, targets: Tensor, contexts: Tensor | None = None, context_targets: Tensor | None = None
    ) -> Tensor:
        """Return the loss of images (B, 3, H, W) with outliers pasted into them, and of context images of that shape.

        Targets (B, H, W) long are UNKNOWN on outliers, IGNORE where void, anything else on inliers.
        """
        network, count = self.frozen[0], len(images)
        everything = images if contexts is None else torch.cat([images, contexts])
        every_target = targets if context_targets is None else torch.cat([targets, context_targets])
        with torch.no_grad():
            features = network.encode(everything)
            penultimate = network.decoder.penultimate([f[:count] for f in features])
            embedding = network.decoder.embed(penultimate)
            logits = network.classify(embedding)
        with torch.autocast(images.device.type, enabled=False):  # the frozen network may be coarse; what learns may not
            # One pass over both, so that batch normalisation does not tell a context from an inlier image.
            pattern = self.pattern.pattern([f.float() for f in features])
            residual = self.pattern.final(pattern[:count])
            beside = self.pattern.added_to(network.decoder, residual, penultimate.float(), embedding.float())
            evidence = network.classifier.evidence(beside)
            return self._loss(evidence, logits.float(), pattern, every_target)

    def _loss(self, evidence: Tensor, frozen: Tensor, pattern: Tensor, targets: Tensor) -> Tensor:
        config, count = self.config, len(evidence)
        if config.losses_at == "image":
            # The evidence, and a softmax of the frozen logits, are linear in what is interpolated.
            evidence, frozen = (resize(maps, size_of(targets)) for maps in (evidence, frozen))
        outlier, inlier = masks_on(targets[:count], size_of(evidence))
        kept = losses.inlier(evidence, frozen, inlier, config.entropy_weight)
        found = losses.positive_energy(evidence, outlier)
        outliers, inliers, context_outliers, context_inliers = self._contrasted(pattern, targets, count)
        contrast = losses.corocl(outliers, inliers, context_outliers, context_inliers, config.temperature)
        return config.inlier_weight * kept + config.outlier_weight * found + config.contrast_weight * contrast

    def _contrasted(self, pattern: Tensor, targets: Tensor, count: int) -> list[Tensor]:
        """Return CoroCL's four sets of pixels, (n, D) each: outliers and inliers of images, and of contexts.

        All sets that are not empty are of one size, at most ``samples``, so that none outweighs the others.
        """
        pixels = self.pattern.contrast(pattern).movedim(1, -1)
        outlier, inlier = masks_on(targets, size_of(pattern))
        parts = (slice(count), slice(count, None))
        sets = [pixels[part][mask[part]] for part in parts for mask in (outlier, inlier)]
        most = min([self.config.samples, *(len(s) for s in sets if len(s))])
        return [_some(s, most) for s in sets]


def train_residual(
    kb: KnowledgeBase,
    inliers: DataSet,
    val: DataSet,
    outliers: Outliers,
    context: Outliers | None = None,
    config: ResidualConfig | None = None,
    run: Path | str = "run",
    resume: bool = False,
) -> KnowledgeBase:
    """Return ``kb`` with a residual pattern trained to detect ``outliers`` pasted into ``inliers``.

    ``inliers`` need no ground truth; where they have one, its void is left out. The weights kept are those with the
    best AP on ``val`` with other outliers pasted into it: one in eight is set aside for that. ``context`` shows
    outliers where they were photographed, for CoroCL. Network, classes and increments stay as they are; the score is
    then ``rpl``, smoothed where it was before, without a threshold. Raises ``OwsegError`` where there is nothing to
    train on and for a loss that is not finite.
    """
    config = config or ResidualConfig()
    fabric = launched(config)
    process = Process.of(fabric, config)
    train_on, val_on = set_aside(outliers)
    views = PastedViews(inliers, train_on, context, config, kb.network.size)
    batches = Batches(len(inliers), views, config, process)
    require_inliers(inliers)
    torch.manual_seed(config.seed)
    network = copy.deepcopy(kb.network).requires_grad_(False).eval().to(fabric.device)
    pattern = _untrained(network, config).to(fabric.device).eval()
    # A residual of zero is the frozen network's energy.
    nothing = residual_of(network).to(fabric.device).eval()
    before = pasted_ap(Engine(network, nothing), rpl, val, val_on, config, process)
    task = Task(
        objective=ResidualObjective(network, pattern, config),
        optimizer=made_optimizer(_groups(pattern, config), config),
        batches=batches,
        kept=pattern,
        validate=partial(pasted_ap, Engine(network, pattern), rpl, val, val_on, config, process),
        metric="AP",
    )
    about = {"data": inliers.source.name, "frames": len(inliers), "outliers": len(outliers), "network": network.config,
             "context": context.name if context else None}  # fmt: skip
    best, ap = loop(fabric, task, config, Checkpoint(Path(run), identity_of(config, **about), resume))
    learned = _untrained(kb.network, config).to(kb.engine().device)
    learned.load_state_dict(best)
    details = {
        **data_card(inliers), "outliers": outliers.name, "objects": len(outliers), "categories": outliers.counts(),
        "context": context.name if context else None, "val_ap": ap, "val_ap_before": before, "config": asdict(config),
    }  # fmt: skip
    message = f"trained on {len(outliers)} outliers (AP on val with others pasted: {before:.3f} before, {ap:.3f} now)"
    event = Event("train-residual", message, details)
    # A smoothed score stays smoothed; the threshold was another residual's.
    scorer = kb.scorer if kb.scorer.startswith("rpl:") else "rpl"
    return kb.after(event, residual=learned.requires_grad_(False).eval(), scorer=scorer, threshold=None, obstacles=None)


def _untrained(network: Network, config: ResidualConfig) -> ResidualPattern:
    """Return the residual pattern that ``config`` describes; a dense one is interpolated as the decoder's maps are."""
    aligned = config.form == "dense" and bool(getattr(network.decoder, "align_corners", False))
    return residual_of(
        network, place=config.place, form=config.form, start=config.start, skip=config.skip,
        width=config.width, rates=config.rates, contrast=config.contrast, align_corners=aligned,
    )  # fmt: skip


def _groups(pattern: ResidualPattern, config: ResidualConfig) -> list[dict[str, Any]]:
    last = list(pattern.final.parameters())
    rest = [p for p in pattern.parameters() if not any(p is q for q in last)]
    return [{"params": rest, "lr": config.lr}, {"params": last, "lr": config.final_lr}]


def _some(pixels: Tensor, most: int) -> Tensor:
    return pixels if len(pixels) <= most else pixels[torch.randperm(len(pixels), device=pixels.device)[:most]]

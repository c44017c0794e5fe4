"""Training a negative class beside a finished network: inlier images, outliers pasted into them, and no labels."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from owseg.data.dataset import DataSet
from owseg.data.outliers import Outliers
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import data_card, in_own_labels
from owseg.knowledge.event import Event
from owseg.models.assemble import make_decoder
from owseg.models.decoders.base import Decoder
from owseg.models.decoders.mean import MeanDecoder
from owseg.models.engine import Engine
from owseg.models.network import Network
from owseg.models.ops import size_of
from owseg.scorers import DEFAULT
from owseg.scorers.joint import WEIGHTS, Joint
from owseg.scorers.negative import negative
from owseg.training.checkpoint import Checkpoint, identity_of
from owseg.training.config import NegativeConfig
from owseg.training.input import Batches
from owseg.training.loop import Task, loop
from owseg.training.members import Member, members_of
from owseg.training.negative_row import NegativeRowObjective, in_place, mean_row, row_of
from owseg.training.optimizers import made_optimizer
from owseg.training.pasting import PastedViews, masks_on, pasted_ap, require_inliers, set_aside, sure_inliers
from owseg.training.processes import Process, launched


class NegativeObjective(nn.Module):
    """The loss of the logit n of the negative class, with p = sigmoid(n) and s = ``smoothing``.

    It is ``-(1 - s) log p - s log(1 - p)`` on outliers and ``-s log p - (1 - s) log(1 - p)`` on inliers, each a mean
    over its pixels. The evidence for the known classes has no part in n: it is large where something unknown looks like
    one of them. The backbone of ``network`` is read and never changed.
    """

    def __init__(self, network: Network, learns: Decoder, smoothing: float = 0.0) -> None:
        super().__init__()
        self.learns, self.smoothing = learns, smoothing
        self.frozen = [network]  # in a list, so that it is no part of what is trained, moved or set to training

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of images (B, 3, H, W) with outliers pasted into them.

        Targets (B, H, W) long are UNKNOWN on outliers, IGNORE where void, anything else on inliers.
        """
        with torch.no_grad():
            features = self.frozen[0].encode(images)
        logit = self.learns(features)[:, 0].float()
        outlier, inlier = masks_on(targets, size_of(logit))
        return _mean_loss(logit[outlier], 1 - self.smoothing) + _mean_loss(logit[inlier], self.smoothing)


def train_negative(
    kb: KnowledgeBase,
    inliers: DataSet,
    val: DataSet,
    outliers: Outliers,
    config: NegativeConfig | None = None,
    run: Path | str = "run",
    resume: bool = False,
) -> KnowledgeBase:
    """Return ``kb`` with a negative class, trained beside it to detect ``outliers`` pasted into ``inliers``.

    See ``with_negative``: labels and increments stay as they are to the bit. Where there is a fitted ``joint``, the
    negative class becomes its fourth component, scaled on ``val`` in the network's own labels; the score is then the
    default, ``joint`` over segments, and ``negative`` else, without a threshold. One that was there is replaced. Raises
    ``OwsegError`` where there is nothing to train on and for a loss that is not finite.
    """
    config = config or NegativeConfig()
    network, ap = with_negative(kb.network, inliers, val, outliers, config, run, resume)
    details = {
        **data_card(inliers), "outliers": outliers.name, "objects": len(outliers), "categories": outliers.counts(),
        "val_ap": ap, "config": asdict(config),
    }  # fmt: skip
    what = "a negative class" if not kb.network.has_negative else "another negative class"
    message = f"trained {what} on {len(outliers)} outliers (AP on val with others pasted: {ap:.3f})"
    event = Event("train-negative", message, details)
    fitted = dict(kb.fitted)
    if isinstance(joint := fitted.get("joint"), Joint):
        fitted["joint"] = _with_component(joint, replace(kb, network=network, fitted={}, scorer="negative"), val)
    # The threshold was another score's.
    scorer = DEFAULT if "joint" in fitted else "negative"
    return kb.after(event, network=network, fitted=fitted, scorer=scorer, threshold=None, obstacles=None)


def with_negative(
    network: Network,
    inliers: DataSet,
    val: DataSet,
    outliers: Outliers,
    config: NegativeConfig,
    run: Path | str,
    resume: bool = False,
) -> tuple[Network, float]:
    """Return a copy of ``network`` with a negative class, and its AP on ``val`` with outliers pasted into it.

    It is a decoder of its own on the backbone's pyramid, so that all else stays as it is to the bit. ``inliers`` need
    no ground truth; where they have one, its void is left out, else the pixels of which the network is least sure (see
    ``sure_inliers``). One outlier in eight is set aside for ``val``; the weights kept are those with the best AP of the
    score ``negative`` there. Of several ``members`` its logit is the mean; each is trained for itself, with other
    outliers in other places, on which a single one depends much. Of a mask classifier it is a further row of the class
    layer (see ``NegativeRowObjective``), and all else stays the same.
    """
    process = Process.of(launched(config), config)
    require_inliers(inliers)
    without = copy.deepcopy(network)
    without.negative = None  # what was there has no part in what is trained
    inliers = sure_inliers(inliers, without, config.unsure, process)
    trainings = members_of(config.members, config, run, resume)
    members = [_trained_member(without, inliers, val, outliers, training) for training in trainings]
    result = _with_members(without, members)
    validated = Engine(copy.deepcopy(result).eval().to(process.device))
    return result.eval(), pasted_ap(validated, negative, val, set_aside(outliers)[1], config, process)


def _trained_member(
    network: Network,
    inliers: DataSet,
    val: DataSet,
    outliers: Outliers,
    member: Member[NegativeConfig],
) -> nn.Module:
    """Return what makes the logit of the negative class of ``network``, trained on its own draw of pasted outliers."""
    config, fabric = member.config, launched(member.config)
    process = Process.of(fabric, config)
    train_on, val_on = set_aside(outliers)
    views = PastedViews(inliers, train_on, None, config, network.size)
    torch.manual_seed(config.seed)
    learns = _untrained(network, config)
    trained, objective = _in_training(copy.deepcopy(network).requires_grad_(False), learns, config)
    trained.eval().to(fabric.device)
    task = Task(
        objective=objective,
        optimizer=made_optimizer(learns.parameters(), config),
        batches=Batches(len(inliers), views, config, process),
        kept=learns,
        validate=partial(pasted_ap, Engine(trained), negative, val, val_on, config, process),
        metric="AP",
        title=member.title,
    )
    about = {"data": inliers.source.name, "frames": len(inliers), "outliers": len(outliers), "network": network.config}
    checkpoint = Checkpoint(member.run, identity_of(config, **about), member.resume)
    best, _ = loop(fabric, task, config, checkpoint)
    result = _untrained(network, config)
    result.load_state_dict(best)
    return result


def _untrained(network: Network, config: NegativeConfig) -> nn.Module:
    return row_of(network) if network.has_masks else untrained_negative(network, config.width)


def _in_training(network: Network, learns: nn.Module, config: NegativeConfig) -> tuple[Network, nn.Module]:
    """Return ``network`` itself with ``learns`` in it, and the loss."""
    if isinstance(learns, nn.Linear):
        return in_place(network, learns), NegativeRowObjective(network, learns)
    assert isinstance(learns, Decoder)
    network.negative = learns
    return network, NegativeObjective(network, learns, config.smoothing)


def _with_members(network: Network, members: Sequence[nn.Module]) -> Network:
    """Return a copy of ``network`` with a negative class whose logit is the mean of that of the members."""
    result, device = copy.deepcopy(network), next(network.parameters()).device
    if network.has_masks:
        return in_place(result, mean_row(row_of(network), members).to(device))
    decoders = [member for member in members if isinstance(member, Decoder)]
    result.negative = (MeanDecoder(decoders) if len(decoders) > 1 else decoders[0]).to(device)
    return result


def untrained_negative(network: Network, width: int) -> Decoder:
    """Return a decoder of one channel for ``network``'s pyramid; its logits are 0 everywhere."""
    decoder = make_decoder("pyramid", network.backbone, 1, width=width)
    assert isinstance(decoder.head, nn.Conv2d) and decoder.head.bias is not None
    nn.init.zeros_(decoder.head.weight)
    nn.init.zeros_(decoder.head.bias)
    return decoder


def _mean_loss(logits: Tensor, probability: float) -> Tensor:
    """Return the mean cross-entropy of ``logits`` (n,) with one ``probability``; 0 for none, whose mean were NaN."""
    wanted = torch.full_like(logits, probability)
    return F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / max(1, len(logits))


def _with_component(old: Joint, kb: KnowledgeBase, val: DataSet) -> Joint:
    """Return ``old`` with the negative class of ``kb``, whose features are the same; its scales are those of val."""
    weights = (*old.weights[:3], WEIGHTS[-1])
    form = {"compress": old.compress, "rectify": old.rectify}
    joint = Joint(old.mahalanobis, old.metric, negative=True, weights=weights, **form).to(kb.engine().device)
    samples = in_own_labels(kb, val)
    return joint.fit_scales((kb.forward(s.image), torch.from_numpy(np.asarray(s.target))[None]) for s in samples)

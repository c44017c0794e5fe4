"""Training a negative class beside a finished network: inlier images, outliers pasted into them, and no labels."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from owseg.data.dataset import DataSet
from owseg.data.outliers import Outliers
from owseg.errors import OwsegError
from owseg.knowledge.base import Event, KnowledgeBase
from owseg.knowledge.calibration import data_card, in_own_labels
from owseg.models.classifiers import negative_evidence
from owseg.models.decoders.beside import BesideDecoder, beside
from owseg.models.engine import Engine
from owseg.models.network import Network
from owseg.models.ops import resize
from owseg.scorers.joint import WEIGHTS, Joint
from owseg.scorers.negative import negative
from owseg.training.checkpoint import Checkpoint
from owseg.training.config import ResidualConfig
from owseg.training.input import Batches
from owseg.training.loop import Task, loop
from owseg.training.pasting import set_aside
from owseg.training.processes import launched
from owseg.training.residual import PastedViews, masks_on, pasted_ap, require_inliers


class NegativeObjective(nn.Module):
    """The loss of the evidence n for the negative class against that for all known ones, e: ``log(1 + exp(l - n))``.

    l is ``logsumexp_t e_t``, so that is the cross-entropy of K + 1 classes of which the last is meant; on inliers it is
    ``log(1 + exp(n - l))``, that of any other, and needs no labels. Both are means over their pixels. The known classes
    of ``network`` are read and never changed.
    """

    def __init__(self, network: Network, learns: nn.Module, config: ResidualConfig) -> None:
        super().__init__()
        self.learns, self.config = learns, config
        self.frozen = [network]  # in a list, so that it is no part of what is trained, moved or set to training

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of images (B, 3, H, W) with outliers pasted into them.

        Targets (B, H, W) long are UNKNOWN on outliers, IGNORE where void, anything else on inliers.
        """
        network = self.frozen[0]
        assert isinstance(network.decoder, BesideDecoder)
        with torch.no_grad():
            features = network.encode(images)
            evidence = network.classifier.evidence(network.decoder.known(features).float())
        with torch.autocast(images.device.type, enabled=False):  # the frozen network may be coarse; what learns may not
            channel = resize(self.learns([f.float() for f in features]), (evidence.shape[-2], evidence.shape[-1]))
            gap = negative_evidence(network.classifier, channel[:, 0]) - evidence.logsumexp(1)
            outlier, inlier = masks_on(targets, (gap.shape[-2], gap.shape[-1]))
            found, kept = F.softplus(-gap)[outlier], F.softplus(gap)[inlier]
            # The mean of no pixel is NaN, its sum is 0.
            return self.config.inlier_weight * kept.sum() / max(1, len(kept)) + found.sum() / max(1, len(found))


def train_negative(
    kb: KnowledgeBase,
    inliers: DataSet,
    val: DataSet,
    outliers: Outliers,
    config: ResidualConfig | None = None,
    run: Path | str = "run",
    resume: bool = False,
) -> KnowledgeBase:
    """Return ``kb`` with a negative class, trained beside it to detect ``outliers`` pasted into ``inliers``.

    A decoder of its own reads the backbone's pyramid (``BesideDecoder``): the known classes, increments and labels stay
    as they are to the bit. ``inliers`` need no ground truth; where they have one, its void is left out. The weights
    kept are those with the best AP of the score ``negative`` on ``val`` with other outliers pasted into it. Where there
    is a fitted ``joint``, the negative class becomes its fourth component, scaled on ``val`` in the network's own
    labels; the score is then ``joint``, and ``negative`` else, without a threshold. Raises ``OwsegError`` for a network
    that has a negative class, where there is nothing to train on, and for a loss that is not finite.
    """
    if kb.network.negative:
        raise OwsegError("this network has a negative class; train one anew with `owseg train --outliers DIR`.")
    config = config or ResidualConfig()
    fabric = launched(config)
    train_on, val_on = set_aside(outliers)
    views = PastedViews(inliers, train_on, None, config, kb.network.size)
    batches = Batches(len(inliers), views, config, fabric.global_rank, fabric.world_size)
    require_inliers(inliers)
    torch.manual_seed(config.seed)
    network = with_negative_beside(kb.network).requires_grad_(False).eval().to(fabric.device)
    assert isinstance(network.decoder, BesideDecoder)
    learns = network.decoder.negative.requires_grad_(True)
    task = Task(
        objective=NegativeObjective(network, learns, config),
        optimizer=torch.optim.AdamW(learns.parameters(), lr=config.lr, weight_decay=config.weight_decay),
        batches=batches,
        kept=learns,
        validate=partial(pasted_ap, Engine(network), negative, val, val_on, config),
        metric="AP",
    )
    about = {"data": inliers.source.name, "frames": len(inliers), "outliers": len(outliers), "network": network.config}
    best, ap = loop(fabric, task, config, Checkpoint(Path(run), json.dumps({**asdict(config), **about}), resume))
    learned = with_negative_beside(kb.network)
    assert isinstance(learned.decoder, BesideDecoder)
    learned.decoder.negative.load_state_dict(best)
    details = {
        **data_card(inliers), "outliers": outliers.name, "objects": len(outliers), "categories": outliers.counts(),
        "val_ap": ap, "config": asdict(config),
    }  # fmt: skip
    message = f"trained a negative class on {len(outliers)} outliers (AP on val with others pasted: {ap:.3f})"
    event = Event("train-negative", message, details)
    fitted = dict(kb.fitted)
    if isinstance(joint := fitted.get("joint"), Joint):
        fitted["joint"] = _with_component(joint, replace(kb, network=learned, fitted={}, scorer="negative"), val)
    # The threshold was another score's.
    scorer = "joint" if "joint" in fitted else "negative"
    return kb.after(event, network=learned, fitted=fitted, scorer=scorer, threshold=None)


def with_negative_beside(network: Network) -> Network:
    """Return a copy of ``network`` with an untrained negative class beside it."""
    copied = copy.deepcopy(network)
    backbone = copied.backbone
    decoder = beside(copied.decoder, backbone.channels, backbone.strides)
    return Network(backbone, decoder, copied.classifier, network.size, True, network.scales).eval()


def _with_component(old: Joint, kb: KnowledgeBase, val: DataSet) -> Joint:
    """Return ``old`` with one component more, for ``kb``, whose features are the same; its scales are those of val."""
    weights = (*old.weights, WEIGHTS[-1])
    joint = Joint(old.mahalanobis, old.metric, negative=True, compress=old.compress, weights=weights)
    samples = in_own_labels(kb, val)
    return joint.fit_scales((kb.forward(s.image), torch.from_numpy(np.asarray(s.target))[None]) for s in samples)

"""Training a segmentation network."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from owseg.data.dataset import DataSet, spread_over
from owseg.data.loader import read_ahead
from owseg.errors import OwsegError
from owseg.labels import KNOWN
from owseg.losses import segmentation as losses
from owseg.metrics.iou import IoU
from owseg.models.decoders.base import Decoder
from owseg.models.decoders.mean import MeanDecoder
from owseg.models.engine import Engine
from owseg.models.network import Network
from owseg.models.ops import resize
from owseg.openset import closed_map
from owseg.training.checkpoint import Checkpoint, identity_of
from owseg.training.config import TrainConfig
from owseg.training.input import Batches
from owseg.training.loop import Task, loop
from owseg.training.members import Member, members_of
from owseg.training.optimizers import made_optimizer
from owseg.training.processes import ALONE, Process, launched
from owseg.training.views import AugmentedViews, FrozenFeatures

COUNTED = 512
"""The images, evenly spread over a data set, on which the pixels of each class are counted before a training."""


@torch.no_grad()
def validation_miou(network: Network, data: DataSet, process: Process = ALONE) -> float:
    """Return the mIoU of ``network``'s closed map on ``data``, at full resolution; NaN where no class is in it.

    Each process of a training takes some of the images, and all return the same.
    """
    forward = Engine(network)

    def on_mine() -> IoU:
        iou = IoU.of(data.labels.names)
        for sample in process.read(data.__getitem__, len(data)):
            target = sample.mask_for("validation")
            logits = resize(forward(sample.image).logits, target.shape)
            iou = iou.update(closed_map(logits)[0].to(torch.uint8).cpu().numpy(), target)
        return iou

    return sum(process.gathered(on_mine), IoU.of(data.labels.names)).mean()


class SegmentationObjective(nn.Module):
    """``losses.objective`` as a module, so that Fabric sees one forward pass: a batch -> its loss.

    With ``frozen`` a batch holds the maps of the backbone in place of the images. The loss is that of one label in each
    cell of ``label_stride`` x ``label_stride`` pixels, drawn anew in each step: so none is left out in the long run,
    and the labels are not shifted against the embedding.
    """

    class_weights: Tensor

    def __init__(
        self,
        network: Network,
        variance_weight: float,
        class_weights: Tensor,
        frozen: bool = False,
        label_stride: int = 1,
        dce_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.network, self.weights = network, {"variance_weight": variance_weight, "dce_weight": dce_weight}
        self.frozen, self.label_stride = frozen, label_stride
        self.register_buffer("class_weights", class_weights)

    def forward(self, *batch: Tensor) -> Tensor:
        """Return the loss of images (B, 3, H, W) in [0, 1], or of maps (B, C_i, h_i, w_i), for targets (B, H, W)."""
        *given, targets = batch
        top, left = torch.randint(self.label_stride, (2,)).tolist()
        targets = targets[:, top :: self.label_stride, left :: self.label_stride]
        network = self.network
        features = given if self.frozen else network.encode(*given)
        embedding = network.decoder(features)
        return losses.objective(
            network.classifier, embedding, targets, class_weights=self.class_weights, **self.weights
        )


def train(
    network: Network,
    data: DataSet,
    val: DataSet,
    config: TrainConfig,
    run: Path,
    resume: bool = False,
) -> Network:
    """Return a copy of ``network`` trained on ``data``: with the averaged weights that had the best mIoU on ``val``.

    In the mode "frozen" its backbone stays as it is to the bit. Of several decoders (``MeanDecoder``) each is trained
    for itself, with another seed, which draws other views: the more they differ, the better is their mean. Backbone
    and classifier learn with the first, and the others are trained to fit them. ``run`` receives ``metrics.csv``,
    TensorBoard events and, at each validation, ``last.ckpt``, of several decoders a folder for each. With ``resume``
    the run goes on from there and ends with the weights of a run that was never stopped. Raises ``OwsegError`` for data
    without ground truth, for ``val`` without a labelled pixel, and for a loss that is not finite.
    """
    if not any((val[i].mask_for("validation") < KNOWN).any() for i in range(len(val))):  # the first, as a rule
        raise OwsegError(f"no pixel of {val.source.name} is labelled with a known class; validate on other images.")
    if not isinstance(network.decoder, MeanDecoder):
        return _trained(network, data, val, Member(config, run, resume))
    single, untrained, trained = copy.deepcopy(network), network.decoder.decoders, []
    for i, member in enumerate(members_of(len(untrained), config, run, resume)):
        single.decoder = cast(Decoder, copy.deepcopy(untrained[i]))
        if i:
            single.classifier.requires_grad_(False)
            member = replace(member, config=replace(member.config, mode="frozen"))
        single = _trained(single, data, val, member)
        trained.append(single.decoder)
    single.decoder = MeanDecoder(trained)
    return single


def _trained(network: Network, data: DataSet, val: DataSet, member: Member[TrainConfig]) -> Network:
    """Return a copy of ``network`` whose decoder, a single one, was trained."""
    config, fabric = member.config, launched(member.config)
    process = Process.of(fabric, config)
    if not config.dce_weight and not network.is_metric:
        raise OwsegError("VL alone needs prototypes; a linear classifier has its cross-entropy alone.")
    frames, trained, frozen = process.cached(data), _copy(network), config.mode == "frozen"
    if frozen:
        trained.backbone.freeze()
    elif config.freeze_stem:
        trained.backbone.freeze_stem()
    augmented = AugmentedViews(frames, config, network.size)
    batches = Batches(len(data), augmented, config, process)
    if frozen:
        # A backbone of its own: ``trained`` is moved to the device and set to training.
        features = FrozenFeatures(augmented, copy.deepcopy(trained.backbone).eval().to(fabric.device))
        batches = Batches(len(data), features.view, config, process, features.finish)
    weights = process.agreed(lambda: _class_weights(frames, network.num_classes, config.balance, process.workers))
    average_by = get_ema_multi_avg_fn(config.ema)  # type: ignore[no-untyped-call]
    average = AveragedModel(trained, multi_avg_fn=average_by, use_buffers=True).to(fabric.device)
    averaged = cast(Network, average.module)
    task = Task(
        objective=SegmentationObjective(
            trained, config.variance_weight, weights, frozen, config.label_stride, config.dce_weight
        ),
        optimizer=made_optimizer(_parameter_groups(trained, config), config),
        batches=batches,
        kept=averaged,
        validate=lambda: validation_miou(averaged, val, process),
        metric="mIoU",
        title=member.title,
        after_step=lambda: average.update_parameters(trained),
    )
    about = {"frames": len(data), "classes": data.labels.names, "network": network.config}
    identity = identity_of(config, data=data.source.name, **about)
    checkpoint = Checkpoint(member.run, identity, member.resume, {"average": average})
    best, _ = loop(fabric, task, config, checkpoint)
    result = _copy(network)
    result.load_state_dict(best)
    return result.requires_grad_(True).eval()


def _class_weights(frames: DataSet, classes: int, balance: float, workers: int) -> Tensor:
    """Return ``class_weights`` of up to ``COUNTED`` images; a class that none of them shows weighs as the rarest."""
    picked = spread_over(frames, COUNTED)
    masks = read_ahead(lambda i: picked[i].mask_for("training"), range(len(picked)), workers)
    weights = losses.class_weights(masks, classes, balance)
    return torch.where(weights > 0, weights, weights.max())


def _copy(network: Network) -> Network:
    copied: Network = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return copied


def _parameter_groups(network: Network, config: TrainConfig) -> list[dict[str, Any]]:
    """Backbone and the rest at their own rates; no weight decay on biases and normalisation."""
    groups = []
    for module, lr in (
        (network.backbone, config.backbone_lr),
        (nn.ModuleList([network.decoder, network.classifier]), config.lr),
    ):
        learnt = [p for p in module.parameters() if p.requires_grad]
        groups.append({"params": [p for p in learnt if p.ndim > 1], "lr": lr, "weight_decay": config.weight_decay})
        groups.append({"params": [p for p in learnt if p.ndim <= 1], "lr": lr, "weight_decay": 0.0})
    return [g for g in groups if g["params"]]

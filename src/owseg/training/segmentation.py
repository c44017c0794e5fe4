"""Training a segmentation network."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from owseg.data.augment import augment
from owseg.data.cached import cached
from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.losses import segmentation as losses
from owseg.metrics.iou import IoU
from owseg.models.network import Network, to_tensor
from owseg.models.ops import resize
from owseg.openset import closed_map
from owseg.training.checkpoint import Checkpoint
from owseg.training.config import TrainConfig
from owseg.training.input import Batches
from owseg.training.loop import Task, loop
from owseg.training.processes import launched
from owseg.types import Sample


@torch.no_grad()
def validation_miou(network: Network, data: DataSet) -> float:
    """Return the mIoU of ``network``'s closed map on ``data``, at full resolution; NaN where no class is in it."""
    iou = IoU.of(data.labels.names)
    device = next(network.parameters()).device
    for sample in data:
        target = _mask_of(sample, "validation")
        image = to_tensor(sample.image).to(device, memory_format=torch.channels_last)
        logits = resize(network(image).logits, target.shape)
        iou = iou.update(closed_map(logits)[0].to(torch.uint8).cpu().numpy(), target)
    return iou.mean()


class SegmentationObjective(nn.Module):
    """``losses.objective`` as a module, so that Fabric sees one forward pass: ``(images, targets) -> loss``."""

    class_weights: Tensor

    def __init__(self, network: Network, variance_weight: float, class_weights: Tensor) -> None:
        super().__init__()
        self.network, self.variance_weight = network, variance_weight
        self.register_buffer("class_weights", class_weights)

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of ``images`` (B, 3, H, W) in [0, 1] with ``targets`` (B, H, W) long."""
        embedding = self.network.decode(self.network.encode(images))
        return losses.objective(self.network.classifier, embedding, targets, self.variance_weight, self.class_weights)


def train(
    network: Network, data: DataSet, val: DataSet, config: TrainConfig, run: Path, resume: bool = False
) -> Network:
    """Return a copy of ``network`` trained on ``data``: with the averaged weights that had the best mIoU on ``val``.

    ``run`` receives ``metrics.csv``, TensorBoard events and, at each validation, ``last.ckpt``. With ``resume`` the
    run goes on from there and ends with the weights of a run that was never stopped. Raises ``OwsegError`` for data
    without ground truth and for a loss that is not finite.
    """
    fabric = launched(config)
    views = AugmentedViews(cached(data), config)
    batches = Batches(len(data), views, config, fabric.global_rank, fabric.world_size)
    trained = _copy(network)
    if config.freeze_stem:
        trained.backbone.freeze_stem()
    masks = (_mask_of(sample, "training") for sample in views.data)
    weights = losses.class_weights(masks, network.num_classes, config.balance)
    average_by = get_ema_multi_avg_fn(config.ema)  # type: ignore[no-untyped-call]
    average = AveragedModel(trained, multi_avg_fn=average_by, use_buffers=True).to(fabric.device)
    averaged = cast(Network, average.module)
    task = Task(
        objective=SegmentationObjective(trained, config.variance_weight, weights),
        optimizer=torch.optim.AdamW(_parameter_groups(trained, config)),
        batches=batches,
        kept=averaged,
        validate=lambda: validation_miou(averaged, val),
        metric="mIoU",
        after_step=lambda: average.update_parameters(trained),
    )
    checkpoint = Checkpoint(run, _identity(network, data, config), resume, {"average": average})
    best, _ = loop(fabric, task, config, checkpoint)
    result = _copy(network)
    result.load_state_dict(best)
    return result.requires_grad_(True).eval()


@dataclass(frozen=True, eq=False)
class AugmentedViews:
    """Random views of ``data``'s images and masks; half as large in the first ``config.small`` of the epochs."""

    data: DataSet
    config: TrainConfig

    def __call__(self, epoch: int, i: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return a view (3, h, w) in [0, 1] of image ``i`` and its target (h, w) long."""
        config = self.config
        shrink = 0.5 if epoch < config.small * config.epochs else 1.0
        crop = (round(config.crop[0] * shrink), round(config.crop[1] * shrink))
        scale = (config.scale[0] * shrink, config.scale[1] * shrink)
        return augment(self.data[i], crop, scale, config.jitter, rng)


def _mask_of(sample: Sample, use: str) -> np.ndarray:
    if sample.target is None:
        raise OwsegError(f"{sample.id} has no mask; {use} needs one for every image.")
    return sample.target


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


def _identity(network: Network, data: DataSet, config: TrainConfig) -> str:
    """Return what a run is of, as JSON: only the same can be resumed."""
    about = {"data": data.source.name, "frames": len(data), "classes": data.labels.names, "network": network.config}
    return json.dumps({**asdict(config), **about})

"""Training a segmentation network."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import lightning_fabric as lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.losses import segmentation as losses
from owseg.metrics.iou import IoU
from owseg.models.network import Network, to_tensor
from owseg.models.ops import resize
from owseg.openset import closed_map
from owseg.training.config import TrainConfig
from owseg.training.input import _batches, _in_memory
from owseg.training.loop import loop


@torch.no_grad()
def closed_iou(network: Network, data: DataSet) -> IoU:
    """Return the IoU of ``network``'s closed map on ``data``, at full resolution."""
    iou = IoU.of(data.labels.names)
    device = next(network.parameters()).device
    for sample in data:
        if sample.target is None:
            raise OwsegError(f"{sample.id} has no mask; validation needs one for every image.")
        image = to_tensor(sample.image).to(device, memory_format=torch.channels_last)
        logits = resize(network(image).logits, sample.target.shape)
        iou = iou.update(closed_map(logits)[0].to(torch.uint8).cpu().numpy(), sample.target)
    return iou


class Objective(nn.Module):
    """``losses.objective`` as a module, so that Fabric sees one forward pass: ``(images, targets) -> loss``."""

    class_weights: Tensor

    def __init__(self, network: Network, variance_weight: float, class_weights: Tensor) -> None:
        super().__init__()
        self.network, self.variance_weight = network, variance_weight
        self.register_buffer("class_weights", class_weights)

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch; ``targets`` (B, H, W) long."""
        embedding = self.network.decode(self.network.encode(images))
        return losses.objective(self.network.classifier, embedding, targets, self.variance_weight, self.class_weights)


def train(
    network: Network, data: DataSet, val: DataSet, config: TrainConfig, run: Path, resume: bool = False
) -> Network:
    """Train ``network`` and return it with the averaged weights that had the best mIoU on ``val``.

    ``run`` receives ``metrics.csv``, TensorBoard events and, at each validation, ``last.ckpt``. With ``resume`` the
    run goes on from there and ends with the weights of a run that was never stopped: what is random in a step depends
    on the seed, the epoch and the frame alone. Raises ``OwsegError`` for data without truth and for a loss that is
    not finite.
    """
    fabric = lightning.Fabric(devices=config.devices, precision=config.precision)  # type: ignore[arg-type]
    fabric.launch()
    steps = len(data) // (config.batch * fabric.world_size)
    if not steps:
        raise OwsegError(
            f"{len(data)} training images do not fill {fabric.world_size} batch(es) of {config.batch}; "
            "lower the batch size."
        )
    run.mkdir(parents=True, exist_ok=True)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.freeze_stem:
        network.backbone.freeze_stem()
    frames = _in_memory(data)
    masks = (np.asarray(frames(i).target) for i in range(len(data)))
    weights = losses.class_weights(masks, network.num_classes, config.balance)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True).to(fabric.device)

    def validate() -> float:
        return closed_iou(cast(Network, average.module), val).mean()

    best, _ = loop(
        fabric,
        Objective(network, config.variance_weight, weights),
        torch.optim.AdamW(_parameter_groups(network, config)),
        config,
        run,
        steps=steps,
        batches=lambda e: _batches(frames, len(data), config, e, fabric.global_rank, fabric.world_size),
        kept=average.module,
        validate=validate,
        figure="mIoU",
        what=_what(network, data, config),
        resume=resume,
        after_step=lambda: average.update_parameters(network),
        average=average,
    )
    network.load_state_dict(best)
    return network.requires_grad_(True).eval()


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


def _what(network: Network, data: DataSet, config: TrainConfig) -> str:
    """Return what a run is of, as JSON: only the same can be resumed."""
    about = {"data": data.source.name, "frames": len(data), "classes": data.labels.names, "network": network.config}
    return json.dumps({**asdict(config), **about})

"""Training: one plain loop over epochs, on Lightning Fabric."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import lightning_fabric as lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from owseg import losses
from owseg.data.augment import augment
from owseg.data.source import DataSet
from owseg.errors import OwsegError
from owseg.evaluation import closed_iou
from owseg.loop import check_settings, loop
from owseg.models.network import Network
from owseg.types import Sample


@dataclass(frozen=True)
class TrainConfig:
    """How to train; what is most often changed is an option of ``owseg train``.

    The first ``small`` share of the epochs sees crops of half the size from pictures of half the size, at a quarter
    of the cost. ``ema`` is the decay per step of the averaged weights. A class of pixel frequency q weighs q^-balance
    in the cross-entropy. Learning rates follow one cycle.
    """

    epochs: int = 60
    batch: int = 8
    crop: tuple[int, int] = (256, 352)
    scale: tuple[float, float] = (0.75, 2.0)
    jitter: float = 0.3
    small: float = 0.4
    lr: float = 2e-3
    backbone_lr: float = 5e-4
    weight_decay: float = 1e-2
    variance_weight: float = 0.01
    balance: float = 0.5
    freeze_stem: bool = True
    ema: float = 0.99
    validate_every: int = 5
    seed: int = 0
    precision: str = "32-true"
    devices: int = 1

    def __post_init__(self) -> None:
        check_settings(self)


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
            f"{len(data)} training pictures do not fill {fabric.world_size} batch(es) of {config.batch}; "
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

    def judge() -> float:
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
        judge=judge,
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


def _in_memory(data: DataSet, limit: int = 4 << 30) -> Callable[[int], Sample]:
    """Return ``data[i]`` as a function that decodes each frame once, as long as all fit into ``limit`` bytes."""
    cache: dict[int, Sample] = {}
    room = limit // max(1, 4 * data[0].image[0].size)

    def frame(i: int) -> Sample:
        if i in cache:
            return cache[i]
        sample = data[i]
        if sample.target is None:
            raise OwsegError(f"{sample.id} has no mask; training needs one for every picture.")
        if len(cache) < room:
            cache[i] = sample
        return sample

    return frame


def _batches(
    frame: Callable[[int], Sample], count: int, config: TrainConfig, epoch: int, rank: int, ranks: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield this rank's batches of one epoch; the last, incomplete batch of the shuffled frames is left out."""
    order = np.random.default_rng([config.seed, epoch]).permutation(count)
    shrink = 0.5 if epoch < config.small * config.epochs else 1.0
    crop = (round(config.crop[0] * shrink), round(config.crop[1] * shrink))
    scale = (config.scale[0] * shrink, config.scale[1] * shrink)
    stride = config.batch * ranks
    for start in range(0, count - stride + 1, stride):
        mine = order[start + rank * config.batch :][: config.batch]
        views = [
            augment(frame(int(i)), crop, scale, config.jitter, np.random.default_rng([config.seed, epoch, int(i)]))
            for i in mine
        ]
        images = torch.stack([image for image, _ in views]).contiguous(memory_format=torch.channels_last)
        yield images, torch.stack([target for _, target in views])


def _what(network: Network, data: DataSet, config: TrainConfig) -> str:
    """Return what a run is of, as JSON: only the same can be resumed."""
    about = {"data": data.source.name, "frames": len(data), "classes": data.labels.names, "network": network.config}
    return json.dumps({**asdict(config), **about})

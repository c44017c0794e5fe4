"""Training a discrepancy network on known images alone: some instances get a wrong label, which it learns to find."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from owseg._registry import Card
from owseg.data.augment import augment
from owseg.data.dataset import DataSet
from owseg.data.label_swap import THINGS, connected_instances, swap_instances
from owseg.errors import OwsegError
from owseg.image_scorers.duir import Duir, save
from owseg.knowledge.base import KnowledgeBase
from owseg.labels import IGNORE, LabelSpace
from owseg.models.backbones.base import Backbone
from owseg.models.backbones.reference import state_digest
from owseg.models.discrepancy import DiscrepancyNetwork, stages_of
from owseg.models.generator import Generator
from owseg.models.ops import resize, resize_labels, size_of, working_size
from owseg.training.checkpoint import Checkpoint, identity_of
from owseg.training.config import DiscrepancyConfig, GeneratorConfig
from owseg.training.input import Batches
from owseg.training.loop import Task, loop
from owseg.training.optimizers import made_optimizer
from owseg.training.processes import ALONE, Process, launched
from owseg.training.resynthesis import generator_from, masked


class DiscrepancyObjective(nn.Module):
    """The cross-entropy of "same" and "discrepancy" with their ``weights``; generator and backbone are only read."""

    weights: Tensor

    def __init__(self, model: Duir, backbone: Backbone, weights: Tensor) -> None:
        super().__init__()
        self.network = model.network
        self.register_buffer("weights", weights)
        self.frozen = (model, backbone)  # in a tuple, so that they are no part of what is trained or set to training

    def forward(self, images: Tensor, altered: Tensor, changed: Tensor) -> Tensor:
        """Return the loss of images (B, 3, h, w), their altered labels and where these are wrong, (B, h, w) both."""
        model, backbone = self.frozen
        size = size_of(images)
        logits = resize(model.discrepancy(backbone, images, self._drawing(altered, size), altered).float(), size)
        weights = self.weights
        total = F.cross_entropy(logits, changed, weights, ignore_index=IGNORE, reduction="sum")
        # A mean by hand: that of a batch without any known pixel would be NaN.
        return total / sum(weights[i] * (changed == i).sum() for i in range(2)).clamp(min=1)  # type: ignore[union-attr]

    @torch.no_grad()
    def _drawing(self, altered: Tensor, size: tuple[int, int]) -> Tensor | None:
        model, _ = self.frozen
        if model.generator is None:
            return None
        # A view is drawn as large as in an image of the whole size.
        shrink = model.generator.config["side"] / model.size
        grid = working_size(size, None, shrink, 2 ** model.generator.config["depth"])
        return model.generator.draw(resize_labels(altered, grid), size)


@dataclass(frozen=True, eq=False)
class AlteredViews:
    """Random views of ``data``'s images, their labels with some instances of another class, and where these are wrong.

    ``things`` are the classes whose connected components count as instances; ``size`` is the working size.
    """

    data: DataSet
    config: DiscrepancyConfig
    things: tuple[int, ...]
    size: int

    def __call__(self, epoch: int, i: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return a view (3, h, w) in [0, 1], labels and target (h, w) long: 1 where wrong, 0 where right, or IGNORE."""
        config = self.config
        image, target = augment(masked(self.data[i]), config.crop, config.scale, config.jitter, rng, self.size)
        ids = target.numpy().astype(np.uint8)
        instances = connected_instances(ids, self.things)
        altered, changed = swap_instances(ids, instances, len(self.data.labels), rng, config.share)
        return image, torch.from_numpy(altered).long(), torch.from_numpy(changed).long()


def train_duir(
    kb: KnowledgeBase,
    data: DataSet,
    val: DataSet,
    generator: Generator | None = None,
    things: Sequence[str] = THINGS,
    config: DiscrepancyConfig | None = None,
    run: Path | str = "run",
    resume: bool = False,
) -> Duir:
    """Return a discrepancy network for ``kb``, with the weights of the least loss on ``val``.

    Without a ``generator`` it works on labels alone. ``data`` is opened against the base classes. Unlike in the
    release, the instances with a wrong label are drawn anew in each epoch. Raises ``OwsegError`` for data without
    ground truth, for a backbone of too few stages and for a loss that is not finite.
    """
    config = config or DiscrepancyConfig()
    fabric = launched(config)
    process = Process.of(fabric, config)
    backbone = copy.deepcopy(kb.network.backbone).requires_grad_(False).eval().to(fabric.device)
    stages = stages_of(backbone.strides, len(config.widths))
    if len(stages) < len(config.widths):
        raise OwsegError(f"the backbone has {len(stages)} stages, which are too few for {len(config.widths)} widths.")
    frames, ids = process.cached(data), things_of(data.labels, things)
    size = kb.network.size or min(frames[0].image.shape[1:])
    form = DiscrepancyNetwork(
        [backbone.channels[i] for i in stages], len(data.labels), config.widths, config.label_widths,
        generator is not None,
    ).config  # fmt: skip
    drawn = None if generator is None else generator.config
    torch.manual_seed(config.seed)
    model, result = (Duir(data.labels.names, state_digest(backbone.state_dict()), size, form, drawn) for _ in range(2))
    for each in (model, result):
        if each.generator is not None and generator is not None:
            each.generator.load_state_dict(generator.state_dict())
            each.generator.requires_grad_(False).eval().to(fabric.device)
    views = AlteredViews(frames, config, ids, size)
    objective = DiscrepancyObjective(model, backbone, loss_weights(views))
    held_out = AlteredViews(process.cached(val), config, ids, size)
    task = Task(
        objective=objective,
        optimizer=made_optimizer(model.network.parameters(), config),
        batches=Batches(len(data), views, config, process),
        kept=model.network,
        validate=lambda: validation_likelihood(objective, held_out, process),
        metric="likelihood",
        title="training a discrepancy network",
    )
    about = {"data": data.source.name, "frames": len(data), "things": list(ids), "model": model.config}
    best, _ = loop(fabric, task, config, Checkpoint(Path(run), identity_of(config, **about), resume))
    result.network.load_state_dict(best)
    return result.cpu().requires_grad_(False).eval()


def loss_weights(views: AlteredViews, most: int = 64) -> Tensor:
    """Return ``1 / log(1.02 + p)`` (2,) of the shares p of "same" and "discrepancy" in views of up to ``most`` images.

    Paszke et al., 2016 (ENet). On Cityscapes these are 1.457 and 19.186 (Lis et al., ICCV 2019).
    """
    counts = torch.zeros(2, dtype=torch.float64)
    for i in range(min(most, len(views.data))):
        changed = views(0, i, np.random.default_rng([7, i]))[2]
        counts += torch.stack([(changed == label).sum() for label in range(2)])
    return (1 / torch.log(1.02 + counts / counts.sum().clamp(min=1))).float()


@torch.no_grad()
def validation_likelihood(objective: nn.Module, views: AlteredViews, process: Process = ALONE) -> float:
    """Return exp(-loss) of the mean loss of a view of each image, the same at every call; NaN for no image."""

    def of_mine() -> list[tuple[float, int]]:
        read = process.read(lambda i: views(0, i, np.random.default_rng([7, i])), len(views.data))
        return [(objective(*(part[None].to(process.device) for part in view)).item(), 1) for view in read]

    return math.exp(-process.mean_of(of_mine))


def things_of(labels: LabelSpace, names: Sequence[str]) -> tuple[int, ...]:
    """Return the ids of the classes ``names`` that there are, in any case; of all classes where there are none."""
    wanted = {name.strip().lower() for name in names}
    found = tuple(i for i, name in enumerate(labels.names) if name.lower() in wanted)
    return found or tuple(range(len(labels)))


def _fit(
    kb: KnowledgeBase, data: DataSet, val: DataSet, out: Path, run: Path, resume: bool, seed: int,
    generator: str = "train", generator_epochs: int = GeneratorConfig.epochs,
    generator_batch: int = GeneratorConfig.batch, generator_crop: tuple[int, int] = GeneratorConfig.crop,
    generator_lr: float = GeneratorConfig.lr, generator_width: int = GeneratorConfig.width,
    generator_depth: int = GeneratorConfig.depth, generator_blocks: int = GeneratorConfig.blocks,
    generator_side: int = GeneratorConfig.side, generator_feature_weight: float = GeneratorConfig.feature_weight,
    epochs: int = DiscrepancyConfig.epochs, batch: int = DiscrepancyConfig.batch,
    crop: tuple[int, int] = DiscrepancyConfig.crop, lr: float = DiscrepancyConfig.lr,
    share: float = DiscrepancyConfig.share, things: tuple[str, ...] = THINGS,
    widths: tuple[int, ...] = DiscrepancyConfig.widths,
    label_widths: tuple[int, ...] = DiscrepancyConfig.label_widths, precision: str = DiscrepancyConfig.precision,
) -> Path:  # fmt: skip
    drawing = GeneratorConfig(
        epochs=generator_epochs, batch=generator_batch, crop=generator_crop, lr=generator_lr, seed=seed,
        width=generator_width, depth=generator_depth, blocks=generator_blocks, side=generator_side,
        feature_weight=generator_feature_weight, precision=precision,
    )  # fmt: skip
    config = DiscrepancyConfig(
        epochs=epochs, batch=batch, crop=crop, lr=lr, seed=seed, share=share, widths=widths, label_widths=label_widths,
        precision=precision,
    )  # fmt: skip
    drawer = (
        None if generator == "none"
        else generator_from(generator, kb, data, val, drawing, run / "generator", resume)
    )  # fmt: skip
    return save(train_duir(kb, data, val, drawer, things, config, run / "discrepancy", resume), out)


CARDS = (
    Card(
        "duir",
        "a generator of images from labels, and a network that finds where an image differs from them",
        make=_fit,
        source="Lis et al., ICCV 2019",
        options={
            "generator": "train; none, for labels alone; or a file of duir or synthcp that has one",
            "generator_epochs": "its passes over the images",
            "generator_batch": "its images a step",
            "generator_crop": "height and width of its training views in pixels",
            "generator_lr": "its learning rate",
            "generator_width": "its channels at the full size",
            "generator_depth": "number of times that it halves the size",
            "generator_blocks": "its residual blocks",
            "generator_side": "shorter side of what it draws in pixels",
            "generator_feature_weight": "weight of the backbone's features in its loss",
            "epochs": "passes over the images",
            "batch": "images a step",
            "crop": "height and width of a training view in pixels",
            "lr": "learning rate",
            "share": "share of the instances that get another class",
            "things": "classes whose connected pixels are an instance; where the data has none of them, all",
            "widths": "channels at each stage, finest first",
            "label_widths": "channels of the labels at each stage",
            "precision": "of both trainings: 32-true, bf16-mixed or 16-mixed",
        },
        facts={"paper": {
            "generator_epochs": "200", "generator_crop": "384,384", "generator_lr": "2e-4", "generator_width": "64",
            "generator_depth": "4", "generator_blocks": "9", "generator_side": "512",
            "epochs": "50", "batch": "2", "crop": "384,768", "lr": "1e-4", "widths": "64,128,256,256",
            "label_widths": "32,64,128,256",
        }},
    ),
)  # fmt: skip

"""Training a generator, label map -> image, on known images: what the baselines DUIR and SynthCP draw with."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from owseg.data.augment import augment
from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.image_scorers import duir, synthcp
from owseg.image_scorers.duir import Duir
from owseg.image_scorers.synthcp import SynthCP
from owseg.knowledge.base import KnowledgeBase
from owseg.models.backbones.base import Backbone
from owseg.models.generator import Generator, label_planes
from owseg.models.network import to_tensor
from owseg.models.ops import resize_image, resize_labels
from owseg.training.checkpoint import Checkpoint, identity_of
from owseg.training.config import GeneratorConfig
from owseg.training.input import Batches
from owseg.training.loop import Task, loop
from owseg.training.optimizers import made_optimizer
from owseg.training.processes import ALONE, Process, launched
from owseg.types import Sample


class DrawingObjective(nn.Module):
    """L1 of a drawing and its image, and ``feature_weight`` times that of a frozen backbone's features of both.

    The latter is a mean over stages of ``|f - g|_1 / |f|_1``, so that no stage outweighs the others. pix2pixHD has
    VGG19's features, two discriminators and their feature matching besides (Wang et al., CVPR 2018); these make
    drawings sharp, which showing a wrong label does not need. Where a pixel has no class, the drawing is the image.
    """

    def __init__(self, generator: Generator, backbone: Backbone, feature_weight: float) -> None:
        super().__init__()
        self.generator, self.feature_weight = generator, feature_weight
        self.frozen = [backbone]  # in a list, so that it is no part of what is trained, moved or set to training

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of images (B, 3, h, w) in [0, 1] with targets (B, h, w)."""
        classes = self.generator.config["classes"]
        known = (targets < classes)[:, None]
        drawing = torch.where(known, self.generator(label_planes(targets, classes)), images)
        loss: Tensor = (drawing - images).abs().sum() / (3 * known.sum()).clamp(min=1)
        if not self.feature_weight:
            return loss
        with torch.no_grad():
            wanted = self.frozen[0](images)
        pairs = list(zip(wanted, self.frozen[0](drawing), strict=True))
        unlike = [(f - g).abs().mean() / f.abs().mean().clamp(min=torch.finfo(f.dtype).tiny) for f, g in pairs]
        total: Tensor = loss + self.feature_weight * torch.stack(unlike).mean()
        return total


def train_generator(
    backbone: Backbone,
    data: DataSet,
    val: DataSet,
    config: GeneratorConfig | None = None,
    run: Path | str = "run",
    resume: bool = False,
) -> Generator:
    """Return a generator of ``data``'s images from their masks, with the weights of the least L1 on ``val``.

    ``backbone`` is read and never changed. Raises ``OwsegError`` for data without ground truth and for a loss that is
    not finite.
    """
    config = config or GeneratorConfig()
    fabric = launched(config)
    process = Process.of(fabric, config)
    torch.manual_seed(config.seed)
    shape = {"width": config.width, "depth": config.depth, "blocks": config.blocks, "side": config.side}
    generator, frames = Generator(len(data.labels), **shape), process.cached(data)
    frozen = copy.deepcopy(backbone).requires_grad_(False).eval().to(fabric.device)

    def view(epoch: int, i: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        return augment(masked(frames[i]), config.crop, config.scale, config.jitter, rng, config.side)

    task = Task(
        objective=DrawingObjective(generator, frozen, config.feature_weight),
        optimizer=made_optimizer(generator.parameters(), config, (0.5, 0.999)),
        batches=Batches(len(data), view, config, process),
        kept=generator,
        validate=partial(_negative_l1, generator, val, process),
        metric="negative L1",
        title="training a generator",
    )
    about = {"data": data.source.name, "frames": len(data), "classes": data.labels.names}
    best, _ = loop(fabric, task, config, Checkpoint(Path(run), identity_of(config, **about), resume))
    trained = Generator(len(data.labels), **shape)
    trained.load_state_dict(best)
    return trained.requires_grad_(False).eval()


def generator_from(
    file: str, kb: KnowledgeBase, data: DataSet, val: DataSet, config: GeneratorConfig, run: Path, resume: bool
) -> Generator:
    """Return the generator in ``file``, one of ``duir`` or ``synthcp``, or with "train" a new one.

    Raises ``OwsegError`` where the file has none, or one of other classes.
    """
    if file == "train":
        return train_generator(kb.network.backbone, data, val, config, run, resume)
    try:
        found: Duir | SynthCP = duir.load(file)
    except OwsegError:
        found = synthcp.load(file)
    if found.generator is None or found.classes != kb.base_classes:
        raise OwsegError(f"{file} has no generator of the classes {', '.join(kb.base_classes)}; train one.")
    return found.generator


def masked(sample: Sample) -> Sample:
    """Return ``sample``; raise ``OwsegError`` where it has no mask."""
    sample.mask_for("a generator")
    return sample


@torch.no_grad()
def _negative_l1(generator: Generator, val: DataSet, process: Process = ALONE) -> float:
    """Return minus the mean absolute difference of images and drawings over all pixels of a class; NaN for none."""
    device = next(generator.parameters()).device

    def of(sample: Sample) -> tuple[float, int]:
        size = generator.grid((sample.image.shape[1], sample.image.shape[2]))
        labels = resize_labels(torch.from_numpy(sample.mask_for("a generator"))[None], size).to(device)
        image = resize_image(to_tensor(sample.image).to(device), size)
        known = labels < generator.config["classes"]
        off = (generator.draw(labels, size) - image).abs().mean(1)[known]
        return off.double().sum().item(), len(off)

    return -process.mean_of(lambda: [of(sample) for sample in process.read(val.__getitem__, len(val))])

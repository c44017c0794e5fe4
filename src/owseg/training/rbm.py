"""Training the autoencoder of patches of one class whose reconstruction error is an anomaly score ("RBM")."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import nan
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from owseg._registry import Card
from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.image_scorers.rbm import PatchAutoencoder, save
from owseg.knowledge.base import KnowledgeBase
from owseg.labels import UNKNOWN
from owseg.training.checkpoint import Checkpoint, identity_of
from owseg.training.config import RBMConfig
from owseg.training.input import Batches
from owseg.training.loop import Task, loop
from owseg.training.optimizers import made_optimizer
from owseg.training.processes import Process, launched
from owseg.types import Sample


class PatchObjective(nn.Module):
    """The mean squared error of what ``model`` makes of patches with Gaussian noise of deviation ``noise`` on them."""

    def __init__(self, model: PatchAutoencoder, noise: float) -> None:
        super().__init__()
        self.model, self.noise = model, noise

    def forward(self, patches: Tensor) -> Tensor:
        """Return the loss of patches (B, P, 3 patch^2)."""
        return F.mse_loss(self.model(patches + self.noise * torch.randn_like(patches)), patches)


@dataclass(frozen=True, eq=False)
class ClassPatches:
    """Random patches of ``data``'s images all of whose pixels are of the class ``label``, in the form of ``model``."""

    data: DataSet
    label: int
    model: PatchAutoencoder
    count: int

    def __call__(self, epoch: int, i: int, rng: np.random.Generator) -> tuple[Tensor]:
        """Return ``count`` patches (P, 3 patch^2) of image ``i``, drawn with replacement."""
        patches = self.all_of(self.data[i])
        return (patches[torch.from_numpy(rng.integers(len(patches), size=self.count))],)

    def all_of(self, sample: Sample) -> Tensor:
        """Return every patch (N, 3 patch^2) of the class in an image."""
        return patches_within(self.model, sample, sample.mask_for("training") == self.label)


def patches_within(model: PatchAutoencoder, sample: Sample, mask: np.ndarray) -> Tensor:
    """Return the patches (N, 3 patch^2) of an image all of whose pixels are in ``mask`` (H, W) bool."""
    image = model.resized(sample.image)
    inside = F.interpolate(torch.from_numpy(mask)[None, None].float(), size=image.shape[2:], mode="nearest-exact")
    covered = F.unfold(inside, model.patch, stride=model.stride)[0].amin(0) > 0
    return model.patches(image)[covered]


def train_rbm(
    data: DataSet,
    val: DataSet,
    of: str = "road",
    config: RBMConfig | None = None,
    run: Path | str = "run",
    resume: bool = False,
    **architecture: int,
) -> PatchAutoencoder:
    """Return a ``PatchAutoencoder`` of the class ``of``, with the weights of least error on the patches of ``val``.

    Its ``mean_error`` is that of all patches of ``val`` without a void or unknown pixel, of any class. Raises
    ``OwsegError`` where there is no such class, where no patch of an image is all of it, and for data without ground
    truth.
    """
    config = config or RBMConfig()
    fabric = launched(config)
    process = Process.of(fabric, config)
    torch.manual_seed(config.seed)
    model = PatchAutoencoder(**architecture)
    reader = PatchAutoencoder(**architecture)  # stays on the CPU, where patches are cut out
    frames, held_out = process.cached(data), process.cached(val)
    views = ClassPatches(frames, data.labels.index(of), reader, config.patches)
    usable, shown = ([i for i, sample in enumerate(f) if len(views.all_of(sample))] for f in (frames, held_out))
    for source, found in ((data, usable), (val, shown)):
        if not found:
            raise OwsegError(f"no patch of {source.source.name} is all {of}; give other data, or name another class.")
    chosen = ClassPatches(frames.pick(usable), views.label, reader, config.patches)
    to_validate = held_out.pick(shown)

    @torch.no_grad()
    def errors() -> list[tuple[float, int]]:
        mine = (views.all_of(to_validate[i]) for i in process.numbers(len(to_validate)))
        return [(model.error(p.to(process.device)).double().sum().item(), len(p)) for p in mine]

    task = Task(
        objective=PatchObjective(model, config.noise),
        optimizer=made_optimizer(model.parameters(), config),
        batches=Batches(len(usable), chosen, config, process),
        kept=model,
        validate=lambda: -process.mean_of(errors),
        metric="negative error",
        title=f"training on patches of {of}",
    )
    about = {"data": data.source.name, "frames": len(data), "of": of, "model": model.config}
    best, _ = loop(fabric, task, config, Checkpoint(Path(run), identity_of(config, **about), resume))
    reader.load_state_dict(best)
    known = (patches_within(reader, sample, sample.mask_for("training") < UNKNOWN) for sample in val)
    reader.mean_error.fill_(_mean_error(reader, known))
    return reader.requires_grad_(False).eval()


@torch.no_grad()
def _mean_error(model: PatchAutoencoder, patches: Iterable[Tensor]) -> float:
    """Return the mean error of the patches of all images together; NaN for none."""
    total, count = 0.0, 0
    for some in patches:
        errors = model.error(some.to(model.weight.device)).double()
        total, count = total + errors.sum().item(), count + len(errors)
    return total / count if count else nan


def _fit(
    kb: KnowledgeBase, data: DataSet, val: DataSet, out: Path, run: Path, resume: bool, seed: int,
    of: str = "road", side: int = 512, epochs: int = RBMConfig.epochs, batch: int = RBMConfig.batch,
    lr: float = RBMConfig.lr, patches: int = RBMConfig.patches,
) -> Path:  # fmt: skip
    config = RBMConfig(epochs=epochs, batch=batch, lr=lr, patches=patches, seed=seed)
    return save(train_rbm(data, val, of, config, run, resume, side=side), out)


CARDS = (
    Card(
        "rbm",
        "an autoencoder of 8x8 patches of road",
        make=_fit,
        source="Creusot & Munawar, IV 2015, as in Lis et al., ICCV 2019",
        options={
            "of": "the class of the patches",
            "side": "shorter side of the images in pixels; 0: as they are",
            "epochs": "passes over the images",
            "batch": "images a step",
            "lr": "learning rate",
            "patches": "patches of an image in a step",
        },
        facts={"paper": {"lr": "1e-5", "epochs": "200", "batch": "50"}},
    ),
)

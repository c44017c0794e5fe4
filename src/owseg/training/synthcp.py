"""Preparing SynthCP: its generator, and the threshold above which a softmax is sure, from known pixels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from owseg._registry import Card
from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.image_scorers.synthcp import SynthCP, save
from owseg.knowledge.base import KnowledgeBase
from owseg.labels import UNKNOWN
from owseg.models.backbones.reference import state_digest
from owseg.models.generator import Generator
from owseg.models.ops import resize
from owseg.scorers.msp import msp
from owseg.training.config import GeneratorConfig
from owseg.training.resynthesis import generator_from
from owseg.types import Sample


def fit_synthcp(kb: KnowledgeBase, val: Iterable[Sample], generator: Generator, sure: float = 0.95) -> SynthCP:
    """Return SynthCP with the threshold below which 1 - MSP of the share ``sure`` of ``val``'s known pixels lies.

    Of each image, one pixel in 16 is read. The code of Xia et al., ECCV 2020, has the MSP .999 for any network. Raises
    ``OwsegError`` for a share outside (0, 1) and where no pixel is known.
    """
    if not 0 < sure < 1:
        raise OwsegError(f"the share of pixels that are sure lies between 0 and 1, not at {sure}.")
    unsure = [_of_known(kb, sample) for sample in val]
    if not sum(map(len, unsure)):
        raise OwsegError("the validation images have no known pixel to find the threshold on; give others.")
    threshold = float(np.quantile(np.concatenate(unsure).astype(np.float64), sure))
    names, digest = kb.base_classes, state_digest(kb.network.state_dict())
    model = SynthCP(names, digest, generator.config, threshold)
    model.generator.load_state_dict(generator.state_dict())
    return model.requires_grad_(False).eval()


@torch.no_grad()
def _of_known(kb: KnowledgeBase, sample: Sample) -> np.ndarray:
    target = sample.mask_for("a generator")
    # Interpolated as in the score, since interpolation moves values towards their mean.
    unsure = resize(msp(kb.forward(sample.image))[:, None].float(), (target.shape[0], target.shape[1]))[0, 0]
    found: np.ndarray = unsure.cpu().numpy()[::4, ::4][target[::4, ::4] < UNKNOWN]
    return found


def _fit(
    kb: KnowledgeBase, data: DataSet, val: DataSet, out: Path, run: Path, resume: bool, seed: int,
    generator: str = "train", generator_epochs: int = GeneratorConfig.epochs,
    generator_batch: int = GeneratorConfig.batch, generator_crop: tuple[int, int] = GeneratorConfig.crop,
    generator_lr: float = GeneratorConfig.lr, generator_width: int = GeneratorConfig.width,
    generator_depth: int = GeneratorConfig.depth, generator_blocks: int = GeneratorConfig.blocks,
    generator_side: int = GeneratorConfig.side, generator_feature_weight: float = GeneratorConfig.feature_weight,
    sure: float = 0.95, precision: str = GeneratorConfig.precision,
) -> Path:  # fmt: skip
    drawing = GeneratorConfig(
        epochs=generator_epochs, batch=generator_batch, crop=generator_crop, lr=generator_lr, seed=seed,
        width=generator_width, depth=generator_depth, blocks=generator_blocks, side=generator_side,
        feature_weight=generator_feature_weight, precision=precision,
    )  # fmt: skip
    drawer = generator_from(generator, kb, data, val, drawing, run / "generator", resume)
    return save(fit_synthcp(kb, val, drawer, sure), out)


CARDS = (
    Card(
        "synthcp",
        "a generator of images from labels, and from which MSP on a pixel is sure",
        make=_fit,
        source="Xia et al., ECCV 2020",
        options={
            "generator": "train, or a file of duir or synthcp that has one",
            "generator_epochs": "its passes over the images",
            "generator_batch": "its images a step",
            "generator_crop": "height and width of its training views in pixels",
            "generator_lr": "its learning rate",
            "generator_width": "its channels at the full size",
            "generator_depth": "number of times that it halves the size",
            "generator_blocks": "its residual blocks",
            "generator_side": "shorter side of what it draws in pixels",
            "generator_feature_weight": "weight of the backbone's features in its loss",
            "sure": "share of known pixels that keep their MSP",
            "precision": "of the training: 32-true, bf16-mixed or 16-mixed",
        },
        facts={"paper": {
            "generator_epochs": "200", "generator_crop": "384,384", "generator_lr": "2e-4", "generator_width": "64",
            "generator_depth": "4", "generator_blocks": "9", "generator_side": "256",
        }},
    ),
)  # fmt: skip

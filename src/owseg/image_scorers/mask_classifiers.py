"""Mask classifiers of transformers, Mask2Former and EoMT: closed labels and scores without further training.

They have no embedding of pixels, so they are no ``Network``: their output is Q queries, each with class logits c_q
(B, Q, K + 1), the last for "no object", and a mask m_q (B, Q, h, w). Every score is higher where more anomalous.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.labels import LabelSpace
from owseg.models.backbones.base import family_of
from owseg.models.network import to_tensor
from owseg.models.ops import resize
from owseg.types import ImageScorer

KINDS = ("mask2former", "eomt")
"""The kinds of model that are supported, by the name that transformers gives them (``model_type``)."""


def class_scores(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Return ``s_k = sum_q softmax(c_q)_k sigmoid(m_q)`` (B, K, h, w) for the K classes, without "no object".

    Their argmax is the closed map; Cheng et al., NeurIPS 2021 (MaskFormer), Sec. 3.4.
    """
    known = class_logits.float().softmax(-1)[..., :-1]
    return torch.einsum("bqk,bqhw->bkhw", known, mask_logits.float().sigmoid())


def rba(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Return ``-sum_k tanh(s_k)`` (B, h, w), s the ``class_scores``; Nayal et al., ICCV 2023.

    In [-K, 0]; near 0 where every class rejects the pixel.
    """
    return -class_scores(class_logits, mask_logits).tanh().sum(1)


def eam(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Return ``1 - sum_q sigmoid(m_q) max_k softmax(c_q)_k`` (B, h, w), at most 1; k over the K classes.

    The confidence of each mask counts for its pixels; Grcic et al., CVPRW 2023, arXiv:2301.03407.
    """
    confidence = class_logits.float().softmax(-1)[..., :-1].amax(-1)
    return 1 - torch.einsum("bq,bqhw->bhw", confidence, mask_logits.float().sigmoid())


def mask_msp(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Return ``1 - max_k s_k`` (B, h, w), at most 1; ``s`` is ``class_scores``."""
    return 1 - class_scores(class_logits, mask_logits).amax(1)


MASK_SCORERS = {"rba": rba, "eam": eam, "mask_msp": mask_msp}
"""The scores of a mask classifier by name."""


@dataclass(frozen=True)
class MaskClassifier:
    """A transformers model and the names of its classes.

    Mask2Former reads an image at its own size, or resized so that its shorter side has ``side`` pixels. EoMT has a
    fixed input size: the shorter side is resized to it, and overlapping squares along the longer side are averaged
    where they overlap. Scores are computed at the masks' resolution, then interpolated.
    """

    model: Any = field(repr=False)
    labels: LabelSpace
    side: int | None = None

    @torch.no_grad()
    def predict(self, image: np.ndarray, score: str = "rba") -> tuple[np.ndarray, np.ndarray]:
        """Return the closed map (H, W) uint8 and a score (H, W) float32 (see ``MASK_SCORERS``) of an image.

        ``image`` is (3, H, W) uint8. Raises ``OwsegError`` for any other array and another score.
        """
        if score not in MASK_SCORERS:
            raise OwsegError(f"a mask classifier has no score {score!r}; it is one of {', '.join(MASK_SCORERS)}.")
        scorer = MASK_SCORERS[score]

        def planes(classes: Tensor, masks: Tensor) -> Tensor:
            # (B, K + 1, h, w): labels and score share one interpolation.
            return torch.cat([class_scores(classes, masks), scorer(classes, masks)[:, None]], 1)

        maps = self._averaged(to_tensor(image), planes)[0]
        return maps[:-1].argmax(0).to(torch.uint8).cpu().numpy(), maps[-1].cpu().numpy()

    def scorer(self, score: str = "rba") -> ImageScorer:
        """Return ``predict``'s score as a function of an image."""
        return lambda image: self.predict(image, score)[1]

    def _averaged(self, image: Tensor, planes: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Return ``planes(class logits, mask logits)`` (1, P, H, W) of the image, averaged over its windows."""
        size = (image.shape[2], image.shape[3])
        # EoMT's position embedding is a fixed grid.
        square = self.model.config.image_size if self.model.config.model_type == "eomt" else None
        side = self.side if square is None else int(square)
        scale = side / min(size) if side else 1.0
        resized = resize(image.to(self.model.device), (round(size[0] * scale), round(size[1] * scale)))
        total: Tensor | float = 0.0
        count = resized.new_zeros(1, 1, *resized.shape[-2:])
        for window in _windows((resized.shape[2], resized.shape[3]), square):
            maps = self._in_window(resized[window], planes)
            sums = maps.new_zeros(1, maps.shape[1], *resized.shape[-2:])
            sums[window] = maps
            total = total + sums
            count[window] += 1
        # The windows cover every pixel, so the count is at least 1.
        return resize(total / count, size)

    def _in_window(self, image: Tensor, planes: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Return the planes (1, P, h, w) of a window (1, 3, h, w) in [0, 1]."""
        height, width = image.shape[-2:]
        family = family_of(self.model.config.model_type)
        mean, std = (image.new_tensor(v).view(-1, 1, 1) for v in (family.mean, family.std))
        # 32 is the largest stride of Mask2Former's backbones. What is padded is cut off again below.
        x = F.pad((image - mean) / std, (0, -width % 32, 0, -height % 32), mode="replicate")
        output = self.model(pixel_values=x)
        maps = planes(output.class_queries_logits, output.masks_queries_logits)
        # transformers' post-processing of Mask2Former brings masks to 384x384 first, whatever the shape of the image.
        return resize(maps, (x.shape[2], x.shape[3]))[..., :height, :width]


def mask_classifier(name: str, side: int | None = None) -> MaskClassifier:
    """Load a Mask2Former or an EoMT for semantic segmentation by hub name or local path.

    Raises ``OwsegError`` where there is none, and for a model of another kind.
    """
    from transformers import AutoConfig, AutoModelForUniversalSegmentation

    try:
        kind = AutoConfig.from_pretrained(name).model_type
        if kind not in KINDS:
            raise ValueError(f"it is a {kind}, not a {' or '.join(KINDS)}")
        model = AutoModelForUniversalSegmentation.from_pretrained(name, use_safetensors=True)
    except (OSError, ValueError, SafetensorError) as error:
        reason, hint = str(error).strip().splitlines()[0].rstrip("."), "give a hub name or a path"
        raise OwsegError(f"the mask classifier {name!r} cannot be loaded ({reason}); {hint}.") from None
    names: dict[int, str] = model.config.id2label
    return MaskClassifier(model.eval(), LabelSpace.of(names[i] for i in range(len(names))), side)


def _windows(size: tuple[int, int], square: int | None) -> Iterator[tuple[slice, slice, slice, slice]]:
    """Yield the windows of (1, C, H, W): all of it, or evenly spaced squares along the longer side."""
    every = slice(None)
    if square is None:
        yield every, every, every, every
        return
    longer = max(size)
    # Evenly spaced: the last window ends with the image, and the overlap is the same everywhere.
    for start in np.linspace(0, longer - square, ceil(longer / square)).astype(int):
        along = slice(int(start), int(start) + square)
        yield (every, every, along, every) if size[0] > size[1] else (every, every, every, along)


def _scorer(score: str, model: str, side: int) -> ImageScorer:
    if not model:
        raise OwsegError(f"the image scorer {score} needs its model; give the name or path of a {' or '.join(KINDS)}.")
    return mask_classifier(model, side or None).scorer(score)


CARDS = (
    Card(
        "rba",
        "mask classifier: every class rejects the pixel",
        make=lambda kb, seed=0, model="", side=0: _scorer("rba", model, side),
        source="Nayal et al., ICCV 2023",
        options={"model": "hub name or path of a Mask2Former or EoMT", "side": "shorter side in pixels; 0: as it is"},
        facts={"required": ("model",)},
    ),
    Card(
        "eam",
        "mask classifier: no confident mask covers the pixel",
        make=lambda kb, seed=0, model="", side=0: _scorer("eam", model, side),
        source="Grcic et al., CVPRW 2023",
        options={"model": "hub name or path of a Mask2Former or EoMT", "side": "shorter side in pixels; 0: as it is"},
        facts={"required": ("model",)},
    ),
    Card(
        "mask_msp",
        "mask classifier: 1 - the largest class score",
        make=lambda kb, seed=0, model="", side=0: _scorer("mask_msp", model, side),
        source="Cheng et al., NeurIPS 2021",
        options={"model": "hub name or path of a Mask2Former or EoMT", "side": "shorter side in pixels; 0: as it is"},
        facts={"required": ("model",)},
    ),
)

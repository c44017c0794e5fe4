"""MSP after a dense CRF, in which each pixel's class depends on those of pixels that are near or of similar colour."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.models.ops import resize
from owseg.types import ImageScorer


def dense_crf(
    kb: KnowledgeBase,
    iterations: int = 5,
    smooth: tuple[float, float] = (3.0, 3.0),
    appearance: tuple[float, float, float] = (10.0, 80.0, 13.0),
) -> ImageScorer:
    """Return ``1 - max_t q_t``, q the mean-field marginals of a fully connected CRF over the image's pixels.

    Unaries are ``-log softmax``, interpolated to the image. The pairwise potential of unlike labels is ``w exp(-d^2 /
    (2 s^2))`` for ``smooth`` = (w, s), s in pixels, plus ``w exp(-d^2 / (2 s^2) - c^2 / (2 r^2))`` for ``appearance`` =
    (w, s, r), r in levels of colour; Kraehenbuehl & Koltun, NeurIPS 2011. The inference is pydensecrf2's. Raises
    ``OwsegError`` where that is not installed.
    """
    crf = _library()

    @torch.no_grad()
    def score(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[1], image.shape[2]
        logits = kb.forward(image).softmax_logits
        p = resize(logits, (height, width)).log_softmax(1)[0].cpu()
        # The library takes width before height. Unlike here, Hendrycks et al.'s code compares pixels by their class
        # probabilities, not by their colours.
        field = crf.DenseCRF2D(width, height, len(p))
        field.setUnaryEnergy(np.ascontiguousarray(-p.flatten(1).numpy()))  # (K, H * W)
        field.addPairwiseGaussian(sxy=smooth[1], compat=smooth[0])
        # (3, H, W) -> (H, W, 3), which the library reads from memory directly.
        colours = np.ascontiguousarray(image.transpose(1, 2, 0))
        field.addPairwiseBilateral(sxy=appearance[1], srgb=appearance[2], rgbim=colours, compat=appearance[0])
        q = np.array(field.inference(iterations), np.float32).reshape(len(p), height, width)
        # 1 - max_t q_t as the sum of the others, which keeps its relative precision where the maximum is nearly 1.
        others: np.ndarray = np.sort(q, 0)[:-1].sum(0)
        return others

    return score


def _library() -> Any:
    try:
        from pydensecrf import densecrf
    except ImportError:
        raise OwsegError("the dense CRF needs pydensecrf2; install it with `pip install 'owseg[crf]'`.") from None
    return densecrf


CARDS = (
    Card(
        "dense_crf",
        "MSP after a dense CRF (extra: crf)",
        make=lambda kb, seed=0, iterations=5, smooth=(3.0, 3.0), appearance=(10.0, 80.0, 13.0): dense_crf(
            kb, iterations, smooth, appearance
        ),
        source="Kraehenbuehl & Koltun, NeurIPS 2011",
        options={
            "iterations": "mean-field iterations",
            "smooth": "weight and reach in pixels of the potential of near pixels",
            "appearance": "weight, reach in pixels and reach in levels of colour of that of like pixels",
        },
    ),
)

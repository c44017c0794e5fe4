"""MSP after a dense CRF, in which each pixel's class depends on those of pixels that are near, or near and alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.models.ops import resize
from owseg.types import ImageScorer

COMPARED = ("colours", "probabilities")
"""What makes two pixels alike: their colours, or the probabilities of their classes."""


def dense_crf(
    kb: KnowledgeBase,
    iterations: int = 5,
    smooth: tuple[float, float] = (3.0, 3.0),
    appearance: tuple[float, float, float] = (10.0, 80.0, 13.0),
    compare: str = "colours",
) -> ImageScorer:
    """Return ``1 - max_t q_t``, q the mean-field marginals of a fully connected CRF over the image's pixels.

    Unaries are ``-log softmax``, interpolated to the image. The pairwise potential of unlike labels is ``w exp(-d^2 /
    (2 s^2))`` for ``smooth`` = (w, s), s in pixels, plus ``w exp(-d^2 / (2 s^2) - c^2 / (2 r^2))`` for ``appearance`` =
    (w, s, r), r in levels of colour; Kraehenbuehl & Koltun, NeurIPS 2011. With ``compare`` "probabilities", c is the
    distance of the softmax vectors in place of that of the colours. So it is in the code of Hendrycks et al., ICML
    2022: 100 iterations, no ``smooth``, ``appearance`` (10, 10, 13); as no two such vectors are further apart than
    1.42, r = 13 leaves a Gaussian of the pixels' distance alone. A weight of 0 leaves its potential out. The inference
    is pydensecrf2's. Raises ``OwsegError`` where that is not installed, and for another ``compare``.
    """
    if compare not in COMPARED:
        raise OwsegError(f"a dense CRF compares {' or '.join(COMPARED)}, not {compare!r}.")
    crf = _library()

    @torch.no_grad()
    def score(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[1], image.shape[2]
        logits = kb.forward(image).softmax_logits
        p = resize(logits, (height, width)).log_softmax(1)[0].cpu()
        # The library takes width before height.
        field = crf.DenseCRF2D(width, height, len(p))
        field.setUnaryEnergy(np.ascontiguousarray(-p.flatten(1).numpy()))  # (K, H * W)
        if smooth[0]:
            field.addPairwiseGaussian(sxy=smooth[1], compat=smooth[0])
        weight, reach, alike = appearance
        if weight and compare == "colours":
            # (3, H, W) -> (H, W, 3), which the library reads from memory directly.
            colours = np.ascontiguousarray(image.transpose(1, 2, 0))
            field.addPairwiseBilateral(sxy=reach, srgb=alike, rgbim=colours, compat=weight)
        elif weight:
            field.addPairwiseEnergy(_features(p.exp().numpy(), reach, alike), compat=weight)
        q = np.array(field.inference(iterations), np.float32).reshape(len(p), height, width)
        # 1 - max_t q_t as the sum of the others, which keeps its relative precision where the maximum is nearly 1.
        others: np.ndarray = np.sort(q, 0)[:-1].sum(0)
        return others

    return score


def _features(p: np.ndarray, reach: float, alike: float) -> np.ndarray:
    """Return (2 + K, H * W) float32: row and column of each pixel over ``reach``, probabilities over ``alike``."""
    places = np.mgrid[: p.shape[1], : p.shape[2]] / reach
    return np.ascontiguousarray(np.concatenate([places, p / alike]).reshape(2 + len(p), -1), np.float32)


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
        make=lambda kb, seed=0, iterations=5, smooth=(3.0, 3.0), appearance=(10.0, 80.0, 13.0), compare="colours": (
            dense_crf(kb, iterations, smooth, appearance, compare)
        ),
        source="Kraehenbuehl & Koltun, NeurIPS 2011",
        options={
            "iterations": "mean-field iterations",
            "smooth": "weight and reach in pixels of the potential of near pixels",
            "appearance": "weight, reach in pixels and reach in levels of colour of that of like pixels",
            "compare": "what is alike: colours or probabilities",
        },
    ),
    Card(
        "dense_crf_code",
        "MSP after a dense CRF as in the released code: likeness of probabilities, 100 iterations (extra: crf)",
        make=lambda kb, seed=0: dense_crf(kb, 100, (0.0, 3.0), (10.0, 10.0, 13.0), "probabilities"),
        source="the code of Hendrycks et al., ICML 2022",
    ),
)

"""Scores from several predictions for one image: MC dropout and deep ensembles."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.models.ops import closed_map_at, resize, size_of

SCORES = ("msp", "entropy", "mutual_information", "variance")
"""The scores of an ensemble."""


@dataclass(frozen=True)
class Ensemble:
    """Image (3, H, W) uint8 -> score (H, W) float32, from the mean P of the members' softmax ``p_i`` (1, K, h, w).

    ``score`` is "msp", ``1 - max_t P_t``; "entropy", ``H(P) = -sum_t P_t log P_t`` in nats; "mutual_information",
    ``H(P) - sum_i H(p_i) / n`` over n members, which is 0 where all agree, however unsure they are (Gal, 2016,
    Sec. 3.3); or "variance", ``sum_t sum_i (p_it - P_t)^2 / (n - 1)``, that of the baselines in Lis et al., ICCV 2019.
    One channel is interpolated to the image. ``members`` yields the ``p_i`` of an image, all of one size. Raises
    ``OwsegError`` for another score, and for the variance of a single member.
    """

    members: Callable[[np.ndarray], Iterator[Tensor]]
    score: str = "entropy"

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise OwsegError(f"an ensemble has no score {self.score!r}; it is one of {', '.join(SCORES)}.")

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the score (H, W) of an image."""
        mean, expected_entropy, variance = self._averaged(image)
        if self.score == "msp":
            score = 1 - mean.amax(1)
        elif self.score == "entropy":
            score = _entropy(mean)
        elif self.score == "mutual_information":
            score = _entropy(mean) - expected_entropy
        elif variance is None:
            raise OwsegError("the variance is that of two members or more, not of 1.")
        else:
            score = variance
        full: np.ndarray = resize(score[:, None].float(), (image.shape[1], image.shape[2]))[0, 0].cpu().numpy()
        return full

    def labels(self, image: np.ndarray) -> np.ndarray:
        """Return the closed map (H, W) uint8, ``argmax_t P_t``."""
        mean, _, _ = self._averaged(image)
        labels = closed_map_at(mean.float(), (image.shape[1], image.shape[2]))
        found: np.ndarray = labels[0].to(torch.uint8).cpu().numpy()
        return found

    @torch.no_grad()
    def _averaged(self, image: np.ndarray) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return P (1, K, h, w), the mean of the H(p_i) and the variance (1, h, w), in float64; one has no variance."""
        # The mutual information is a small difference of two entropies: float32 would lose it.
        count, total, entropy, squares = 0, *(torch.zeros(()).double() for _ in range(3))
        for member in self.members(image):
            count, p = count + 1, member.double()
            # Welford's update, about the mean before: a difference of sums of squares would lose a small variance.
            away = p - total.to(p.device) / max(1, count - 1)
            squares = squares.to(p.device) + away.square() * (count - 1) / count
            total = total.to(p.device) + p
            entropy = entropy.to(p.device) + _entropy(p)
        return total / count, entropy / count, squares.sum(1) / (count - 1) if count > 1 else None


def mc_dropout(
    kb: KnowledgeBase, passes: int = 8, rate: float | None = None, seed: int = 0, score: str = "entropy"
) -> Ensemble:
    """Return the ensemble of ``passes`` forward passes with dropout left on; Gal & Ghahramani, ICML 2016.

    Dropout is where the decoder was trained with it, at its own rate or at ``rate``; in a decoder without any, it is on
    the embedding in front of the classifier (at 0.5 by default). The backbone is deterministic and runs once. The masks
    depend on ``seed`` alone, so an image has the same score each time; the knowledge base stays as it is. Raises
    ``OwsegError`` for fewer than one pass (two for the variance), a rate outside (0, 1) and another score.
    """
    if passes < 1:
        raise OwsegError(f"dropout needs at least one pass, not {passes}.")
    if passes == 1 and score == "variance":
        raise OwsegError("the variance is that of two passes or more, not of 1.")
    if rate is not None and not 0 < rate < 1:
        raise OwsegError(f"a dropout rate is between 0 and 1, not {rate}.")
    decoder = copy.deepcopy(kb.network.decoder).eval()
    drops = [m for m in decoder.modules() if isinstance(m, nn.Dropout | nn.Dropout2d) and m.p > 0]
    for drop in drops:
        # Only the dropout: batch norm stays in evaluation.
        drop.train().p = drop.p if rate is None else rate
    last = nn.Identity() if drops else nn.Dropout(rate or 0.5)
    classifier = kb.network.classifier

    def members(image: np.ndarray) -> Iterator[Tensor]:
        features = kb.forward(image).features
        # One independent seed for each pass, the same for every image.
        for state in np.random.SeedSequence(seed).generate_state(passes):
            # The caller's random state stays as it was.
            with torch.random.fork_rng():
                torch.manual_seed(int(state))
                embedding = last(decoder(features))
            # The evidence has the softmax of the logits without |f|^2, which would cost digits (docs/scorers.md).
            yield classifier.evidence(embedding.float()).softmax(1)

    return Ensemble(members, score)


def ensemble(kbs: Sequence[KnowledgeBase], score: str = "entropy") -> Ensemble:
    """Return the ensemble of several networks of the same classes; Lakshminarayanan et al., NeurIPS 2017.

    Probabilities are interpolated to the grid of the first. Raises ``OwsegError`` for fewer than two knowledge bases,
    for networks that were not trained for the same classes in the same order, and for another score.
    """
    several = tuple(kbs)
    if len(several) < 2:
        raise OwsegError(f"an ensemble has at least two members, not {len(several)}.")
    if any(kb.base_classes != several[0].base_classes for kb in several):
        raise OwsegError("the members of an ensemble have different classes; train them on the same ones.")

    def members(image: np.ndarray) -> Iterator[Tensor]:
        grid = None
        for kb in several:
            p = kb.forward(image).softmax_logits.softmax(1)
            grid = grid or size_of(p)
            yield resize(p, grid)

    return Ensemble(members, score)


def _entropy(p: Tensor) -> Tensor:
    """Return ``-sum_t p_t log p_t`` of (B, K, h, w) as (B, h, w)."""
    terms: Tensor = torch.special.entr(p)
    return terms.sum(1)


CARDS = (
    Card(
        "mc_dropout",
        "entropy over forward passes with dropout left on",
        make=lambda kb, seed=0, passes=8, rate=None, score="entropy": mc_dropout(kb, passes, rate, seed, score),
        source="Gal & Ghahramani, ICML 2016",
        options={
            "passes": "forward passes",
            "rate": "dropout rate",
            "score": "msp, entropy, mutual_information, variance",
        },
    ),
    Card(
        "ensemble",
        "entropy over the network and others of the same classes",
        make=lambda kb, seed=0, members=("",), score="entropy": ensemble(
            [kb, *(load(name) for name in members if name)], score
        ),
        source="Lakshminarayanan et al., NeurIPS 2017",
        options={
            "members": "the other knowledge bases, names or directories, with commas",
            "score": "msp, entropy, mutual_information or variance",
        },
        facts={"required": ("members",)},
    ),
)

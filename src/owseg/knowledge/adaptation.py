"""Adaptation: how the scores of images without ground truth differ, and a threshold that is moved to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from owseg._progress import track
from owseg.data.given import Given
from owseg.data.images import ImageLike, as_image
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.event import Event
from owseg.models.over_images import over_images
from owseg.openset import ESTIMATED, NO_THRESHOLD, Reference, Threshold, quantiles
from owseg.scorers import whole_image
from owseg.types import Forward, Output, Sample

LEVEL = 0.01
"""How often images of the same place may be taken for those of another (see ``find_shift``)."""

MOST = 16
"""``adapt_to_some`` looks at most at so many images; eight are enough (docs/unknown.md)."""


@dataclass(frozen=True)
class Shift:
    """How the scores of ``images`` new images differ from those of the images that a threshold is for.

    ``score`` is by how much they are higher (see ``find_shift``); ``critical`` is how far from 0 that may be by chance,
    infinite where that is not known. ``lost`` estimates the share of known pixels that the threshold, as it is, calls
    unknown in the new images, in [0, 1].
    """

    score: float
    critical: float
    lost: float
    images: int

    @property
    def significant(self) -> bool:
        """Whether the new images are of another place."""
        return abs(self.score) > self.critical

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON, ``significant`` included; a ``critical`` that is infinite as None."""
        critical = self.critical if isfinite(self.critical) else None
        return {**asdict(self), "critical": critical, "significant": self.significant}


def find_shift(threshold: Threshold, scores: Sequence[np.ndarray], level: float = LEVEL) -> Shift:
    """Return how the scores of new images, the ``quantiles`` of each, differ from those that ``threshold`` is for.

    The shift is the mean of their medians less that of the reference, m. With N images in the reference, whose medians
    deviate by s, it is significant above the bound for one image (Student's t):

        t(N - 1, 1 - level / 2) s sqrt(1 + 1 / N).

    Frames of a video are much alike, so that many of them may tell no more than one. The mean of several deviates no
    further than one does, however they depend on each other: images of the same place are taken for those of another
    with probability ``level`` at most, if medians are normal and those of the reference independent.

    Without a reference, as in knowledge bases of earlier versions, the median of the known pixels takes the place of m,
    and nothing is significant. ``lost`` takes for known what the threshold moved by the shift leaves, and the share
    that may be lost by intention: of these, it counts those above the threshold as it is.

    Raises ``OwsegError`` for no image, and where the median of the known pixels is not stored either.
    """
    from scipy.special import stdtrit

    if not scores:
        raise OwsegError("there is no image to adapt to; give a few photos that show more than one colour.")
    reference = _reference_of(threshold)
    shift, n = Reference.of(scores).mean - reference.mean, reference.images
    critical = float(stdtrit(n - 1, 1 - level / 2)) * reference.deviation * sqrt(1 + 1 / n) if n > 1 else inf
    pooled, asked = np.concatenate(scores), threshold.target_fpr
    above, still = (float((pooled > value).mean()) for value in (threshold.value, threshold.value + shift))
    lost = asked + (1 - asked) * (above - still) / (1 - still) if still < 1 else 1.0
    return Shift(shift, critical, max(0.0, lost), len(scores))


def moved(threshold: Threshold, scores: Sequence[np.ndarray]) -> Threshold:
    """Return ``threshold`` moved by the shift of the scores (see ``find_shift``), marked as estimated."""
    value = threshold.value + find_shift(threshold, scores).score
    return replace(threshold, value=value, reference=Reference.of(scores), estimated=True)


def adapt(
    kb: KnowledgeBase,
    images: Sequence[ImageLike],
    forward: Forward | None = None,
    skip: bool = False,
    read: Callable[[Any], np.ndarray] = as_image,
) -> KnowledgeBase:
    """Return ``kb`` with its threshold moved to ``images``, a few of another place, which need no ground truth.

    The new threshold is the old one plus the shift of the scores: the mean over the new images of their median score,
    less that over the images that the old one is for. That is an estimate. It supposes that the scores of known pixels
    are all higher there by as much, and that well below half of what is shown is unknown; the threshold says that it is
    ``estimated``. That of obstacles, if there is one, moves by the shift of the same scores. Images of one colour are
    left out, and with ``skip`` those that cannot be read. ``forward`` is by default ``kb.engine()``; ``read`` reads an
    image.

    Raises ``OwsegError`` for a knowledge base without a threshold, a threshold that does not say what it is for, no
    image, and images of one colour alone.
    """
    if kb.threshold is None:
        raise OwsegError(NO_THRESHOLD)
    reference = _reference_of(kb.threshold)  # before the work
    names, scores, scorer = [], [], whole_image(kb.scorer)

    def quantiles_in(sample: Sample, output: Output) -> tuple[str, np.ndarray | None]:
        assessed = kb.assess(output, (sample.image.shape[1], sample.image.shape[2]), (scorer,))
        return sample.id, quantiles_of(sample.image, assessed.scores[scorer])

    def left_out(i: int, error: Exception) -> tuple[str, None]:
        return "", None

    found_in = over_images(forward or kb.engine(), Given(images, read=read), quantiles_in, left_out if skip else None)
    for name, found in track(found_in, "adapting", len(images)):
        if found is not None:
            names.append(name)
            scores.append(found)
    shift, threshold = find_shift(kb.threshold, scores), moved(kb.threshold, scores)
    since = "" if reference.images else ", from the median of known pixels alone"
    message = f"moved the threshold by {shift.score:+.4g} to {len(scores)} images{since} ({ESTIMATED})"
    details = {"names": names, "shift": shift.to_json(), "scorer": kb.scorer, **threshold.to_json()}
    obstacles = moved(kb.obstacles, scores) if kb.obstacles else None
    return kb.after(Event("adapt", message, details), threshold=threshold, obstacles=obstacles)


def adapt_to_some(
    kb: KnowledgeBase,
    paths: Sequence[Path],
    forward: Forward | None = None,
    read: Callable[[Path], np.ndarray] = as_image,
) -> KnowledgeBase:
    """Return ``adapt`` to at most ``MOST`` of the images, evenly spread; those that cannot be read are left out."""
    picked = np.unique(np.linspace(0, len(paths) - 1, min(MOST, len(paths))).round().astype(int))
    return adapt(kb, [paths[i] for i in picked], forward, skip=True, read=read)


def quantiles_of(image: np.ndarray, score: np.ndarray) -> np.ndarray | None:
    """Return the ``quantiles`` of an image's score; None where image or score has one value, which says nothing."""
    flat = (image.max((1, 2)) == image.min((1, 2))).all() or score.max() == score.min()
    return None if flat else quantiles(score)


def _reference_of(threshold: Threshold) -> Reference:
    """Return what ``threshold`` is for; where it does not say so, the median known score, as a mean of no image."""
    if threshold.reference is not None:
        return threshold.reference
    # 1 stands where the threshold did not lie above the median (``threshold_at_fpr``).
    if threshold.unit == 1:
        raise OwsegError("this threshold does not say which scores it was calibrated on; run `owseg calibrate` again.")
    return Reference(threshold.value - threshold.unit, 0.0, 0)

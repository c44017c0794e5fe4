"""open-mIoU of two splits, each at the threshold of the other: how it is measured on the towns of StreetHazards.

The threshold of a split is the first whose recall on the *other* split is above .95: pixels pooled, void left out,
scores at half the size of the mask (bilinear, its labels nearest). At that threshold the open-set map of the split is
measured at full size. The result is the mean over both, weighted by their images (Grcic et al., "DenseHybrid", ECCV
2022, and its code; its loader opens t6 when asked for t5 and t5 when asked for t6, which does not change that mean).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from owseg._files import json_ready
from owseg._progress import track
from owseg.data.dataset import DataSet, Labelled
from owseg.errors import OwsegError
from owseg.evaluation.evaluate import Rows, number
from owseg.evaluation.evaluator import Assessed
from owseg.evaluation.skipped import Skipped, measured, skipping
from owseg.knowledge.model import Model
from owseg.labels import UNKNOWN
from owseg.metrics.open_iou import OpenIoU, OpenMetrics, threshold_above
from owseg.models.over_images import over_images
from owseg.types import Forward, Output, Sample

RECALL = 0.95


@dataclass(frozen=True)
class AtOther:
    """The metrics of the split called ``data``, of ``images`` images, at the threshold of the other split.

    ``closed`` is the mIoU without a threshold, in [0, 1]. ``skipped`` says by its name why another was not measured.
    """

    data: str
    images: int
    closed: float
    metrics: OpenMetrics
    skipped: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Crosswise:
    """open-mIoU of two splits by the score ``scorer``, each at the threshold of the other (see the module)."""

    scorer: str
    splits: tuple[AtOther, AtOther]

    @property
    def miou(self) -> float:
        """The mean open-mIoU, weighted by images."""
        return self._mean([split.metrics.miou for split in self.splits])

    @property
    def closed(self) -> float:
        """The mean of the mIoU without a threshold, weighted by images."""
        return self._mean([split.closed for split in self.splits])

    def _mean(self, values: list[float]) -> float:
        return float(np.average(values, weights=[split.images for split in self.splits]))

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON; what is undefined is null."""
        value: dict[str, Any] = json_ready({
            "scorer": self.scorer,
            "protocol": f"threshold at the first recall above {RECALL} on the other split, mean weighted by images",
            "open_miou": self.miou,
            "closed_miou": self.closed,
            "splits": [asdict(split) for split in self.splits],
        })  # fmt: skip
        return value

    def tables(self) -> list[tuple[str, tuple[str, ...], Rows]]:
        """Return (title, header, rows) of text, for people."""
        rows: Rows = [
            (s.data, str(s.images), f"{s.metrics.threshold:.4g}", number(s.metrics.miou), number(s.closed),
             number(s.metrics.recall), number(s.metrics.fpr))
            for s in self.splits
        ]  # fmt: skip
        total = str(sum(s.images for s in self.splits))
        rows.append(("both, by images", total, "", number(self.miou), number(self.closed), "", ""))
        title = f"open-mIoU of {self.scorer}; threshold at the first recall above {RECALL} on the other split"
        return [(title, ("split", "images", "threshold", "open-mIoU", "mIoU", "recall", "FPR"), rows)]


@dataclass
class _Pass:
    """What one pass over a split leaves: the scores of its unknown pixels, and its open-set maps at a threshold."""

    outliers: list[np.ndarray] = field(default_factory=list)
    state: OpenIoU | None = None
    skipped: dict[str, str] = field(default_factory=dict)


def evaluate_crosswise(
    kb: Model, first: DataSet, second: DataSet, scorer: str | None = None, forward: Forward | None = None
) -> Crosswise:
    """Return open-mIoU of two splits that are opened against ``kb.labels``, each at the threshold of the other.

    ``scorer`` names the score, by default ``kb``'s own; ``forward`` is by default ``kb.engine()``. ``first`` is run
    through the network twice. Images are skipped as by ``evaluate``. Raises ``OwsegError`` for data in other labels, a
    scorer that ``kb`` does not have, and a split that shows nothing unknown or of which no image can be measured.
    """
    name, run = scorer or kb.scorer, forward or kb.engine()
    kb.require_scorer(name)
    for data in (first, second):
        if data.labels.names != kb.labels.names:
            raise OwsegError("the data set has other labels than the knowledge base; open it against kb.labels.")
    of_first = _threshold(first, _run(kb, first, name, run, None))
    # The threshold that ``second`` is measured at is known by now, so one pass leaves its own and its metrics.
    passed_second = _run(kb, second, name, run, of_first)
    passed_first = _run(kb, first, name, run, _threshold(second, passed_second))
    return Crosswise(name, (_result(first, passed_first), _result(second, passed_second)))


def _run(kb: Model, data: DataSet, scorer: str, forward: Forward, threshold: float | None) -> _Pass:
    """Collect the scores of unknown pixels at half size, and with a ``threshold`` the open-set maps at full size."""
    passed = _Pass([], None if threshold is None else OpenIoU(kb.labels.names, {"other": threshold}))

    def assess(sample: Sample, output: Output) -> Assessed:
        target = sample.mask_for("evaluation")
        return kb.assess(output, (target.shape[0], target.shape[1]), (scorer,)), target

    found = over_images(forward, Labelled(data, "evaluation"), assess, skipping(data))
    for one in track(found, f"evaluating {data.source.name}", len(data)):
        if isinstance(one, Skipped):
            passed.skipped[one.image] = one.why
            continue
        assessed, target = one
        score = assessed.decided(scorer)
        if passed.state is not None:
            passed.state.update(score, assessed.labels, target)
        small, labels = halved(score, target)
        passed.outliers.append(small[labels == UNKNOWN])
    measured(data, passed.skipped)
    return passed


def halved(score: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a score (H, W) and labels (H, W) at half their size, a last odd row and column left out.

    Scores are interpolated bilinearly, which is the mean of two by two pixels; labels are those of the first of the
    four.
    """
    height, width = score.shape[0] // 2, score.shape[1] // 2
    cut = slice(0, 2 * height), slice(0, 2 * width)
    small: np.ndarray = score[cut].reshape(height, 2, width, 2).mean((1, 3))
    return small, target[cut][::2, ::2]


def _threshold(data: DataSet, passed: _Pass) -> float:
    outliers = np.concatenate([*passed.outliers, np.zeros(0, np.float32)])
    if not outliers.size:
        raise OwsegError(
            f"{data.source.name} shows no pixel that is unknown to the knowledge base, which gives no threshold; name "
            "a split that does."
        )
    if np.isnan(outliers).any():
        raise OwsegError("the score holds NaN; check the weights and the image.")
    return threshold_above(outliers, RECALL)


def _result(data: DataSet, passed: _Pass) -> AtOther:
    assert passed.state is not None, "it was run with a threshold"
    metrics = passed.state.compute()["other"]
    count = measured(data, passed.skipped)
    return AtOther(data.source.name, count, passed.state.closed().mean(), metrics, passed.skipped)

"""Measuring on labelled pictures: closed-set IoU, anomaly scores, the open-set map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from math import isnan
from typing import Any

import numpy as np
import torch

from owseg.data.source import DataSet
from owseg.errors import OwsegError
from owseg.knowledge import KnowledgeBase
from owseg.labels import UNKNOWN
from owseg.metrics.iou import IoU, harmonic
from owseg.metrics.pixel import Exact, PerImage, PixelFigures
from owseg.models.network import Network, to_tensor
from owseg.progress import track
from owseg.types import resize

Rows = list[tuple[str, ...]]


@dataclass(frozen=True)
class Evaluation:
    """What was measured on ``images`` pictures of ``data``.

    ``iou`` is that of the closed map, learned classes included (``learned`` names them). ``scores`` holds AUROC, AP and
    FPR95 by scorer, pixels that a learned class claims counting as least anomalous. ``unknown_found`` and
    ``known_lost`` are the shares of unknown and of known pixels that the open-set map calls unknown; NaN without a
    threshold. ``states`` are the accumulators behind ``scores``, to draw curves from or to merge.
    """

    data: str
    images: int
    iou: IoU
    scores: dict[str, PixelFigures]
    unknown_found: float
    known_lost: float
    learned: tuple[str, ...]
    states: dict[str, Any]

    @property
    def protocol(self) -> str:
        """How the scores were measured, in words."""
        state = next(iter(self.states.values()))
        how = "mean over pictures that show both" if isinstance(state, PerImage) else "pixels pooled"
        return f"{how}, void left out, FPR at the {getattr(state, 'operating_point', 'first')} recall of .95"

    @property
    def old(self) -> tuple[str, ...]:
        """The names of the classes that the network was trained for."""
        return tuple(n for n in self.iou.names if n not in self.learned)

    def summary(self) -> dict[str, float]:
        """Return the figures that sum it up: mIoU old, novel, all, harmonic; what the threshold does."""
        old, novel = self.iou.mean(self.old), self.iou.mean(self.learned)
        return {
            "miou": self.iou.mean(),
            "miou_old": old,
            "miou_novel": novel,
            "miou_harmonic": harmonic(old, novel),
            "unknown_found": self.unknown_found,
            "known_lost": self.known_lost,
        }

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON; what is undefined is null."""
        scores = {n: {f.name: getattr(s, f.name) for f in fields(s)} for n, s in self.scores.items()}
        value = {
            "data": self.data,
            "images": self.images,
            "protocol": self.protocol,
            "summary": self.summary(),
            "iou": self.iou.per_class(),
            "absent": list(self.iou.empty()),
            "scores": scores,
        }
        return _null_for_nan(value)

    def tables(self) -> list[tuple[str, tuple[str, ...], Rows]]:
        """Return (title, header, rows) of text, for people."""
        classes: Rows = [(n, "learned" if n in self.learned else "", _text(v)) for n, v in self.iou.per_class().items()]
        scores: Rows = [(n, _text(s.auroc), _text(s.ap), _text(s.fpr95)) for n, s in self.scores.items()]
        names = {
            "miou": "mIoU, all known classes",
            "miou_old": "mIoU, classes trained",
            "miou_novel": "mIoU, classes learned",
            "miou_harmonic": "harmonic mean of the two",
            "unknown_found": "unknown pixels called unknown",
            "known_lost": "known pixels called unknown",
        }
        sums: Rows = [(names[k], _text(v)) for k, v in self.summary().items() if not isnan(v)]
        where = f"{self.data}, {self.images} pictures"
        return [
            (f"IoU per class ({where})", ("class", "", "IoU"), classes),
            (
                f"How well a score finds the unknown ({self.protocol})",
                ("score", "AUROC", "AP", "FPR95"),
                scores,
            ),
            ("In sum", ("", ""), sums),
        ]


def evaluate(
    kb: KnowledgeBase,
    data: DataSet,
    scorers: Sequence[str] | None = None,
    metric: Callable[[], Any] = Exact,
    full_resolution: bool = False,
) -> Evaluation:
    """Measure ``kb`` on ``data``, which must be opened against ``kb.labels``; by default its own scorer alone.

    ``metric`` makes the accumulator for each score: ``Exact``, ``Binned`` or ``PerImage`` (see
    ``owseg.metrics.pixel``). Raises ``OwsegError`` for data without truth or in other labels.
    """
    if data.labels.names != kb.labels.names:
        raise OwsegError("the data set speaks other labels than the knowledge base; open it against kb.labels.")
    names = tuple(scorers or (kb.scorer,))
    iou = IoU.of(kb.labels.names)
    states = {name: metric() for name in names}
    called, total = np.zeros(2, np.int64), np.zeros(2, np.int64)
    for sample in track(data, "evaluating", len(data)):
        if sample.target is None:
            raise OwsegError(f"{sample.id} has no mask; evaluation needs one for every picture.")
        size = (sample.image.shape[1], sample.image.shape[2])
        output = kb.forward(sample.image, full_resolution)
        labels, claimed = kb.closed(output, size)
        iou = iou.update(labels, sample.target)
        unknown, known = sample.target == UNKNOWN, sample.target < UNKNOWN
        for name in {*names, kb.scorer}:
            score = kb.score(output, size, name)
            score[claimed] = -np.inf
            if name in states:
                states[name].update(score, sample.target)
            if name == kb.scorer and kb.threshold is not None:
                above = score > np.float32(kb.threshold.value)
                called += [int((above & unknown).sum()), int((above & known).sum())]
                total += [int(unknown.sum()), int(known.sum())]
    share = [c / t if t else float("nan") for c, t in zip(called.tolist(), total.tolist(), strict=True)]
    return Evaluation(
        data.source.name,
        len(data),
        iou,
        {name: state.compute() for name, state in states.items()},
        share[0],
        share[1],
        kb.labels.names[kb.network.num_classes :],
        states,
    )


@torch.no_grad()
def closed_iou(network: Network, data: DataSet) -> IoU:
    """Return the IoU of ``network``'s closed map on ``data``, at full resolution."""
    iou = IoU.of(data.labels.names)
    device = next(network.parameters()).device
    for sample in data:
        if sample.target is None:
            raise OwsegError(f"{sample.id} has no mask; validation needs one for every picture.")
        image = to_tensor(sample.image).to(device, memory_format=torch.channels_last)
        logits = resize(network(image).logits, sample.target.shape)
        iou = iou.update(logits.argmax(1)[0].to(torch.uint8).cpu().numpy(), sample.target)
    return iou


def _text(value: float) -> str:
    return "–" if isnan(value) else f"{value:.3f}"


def _null_for_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _null_for_nan(v) for k, v in value.items()}
    return None if isinstance(value, float) and isnan(value) else value

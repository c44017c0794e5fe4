"""FROC curves: the share of things that regions find against false alarms per image, as the limit of evidence varies.

Bunch et al., "A Free-Response Approach to the Measurement and Characterization of Radiographic-Observer Performance",
1977: a detector marks places in an image and rates each. Here marks are regions, rated by their evidence.

* A thing is a component of the ground truth, 8-connected, of at least a least size, as SegmentMeIfYouCan counts them
  (Chan et al., NeurIPS 2021 Datasets and Benchmarks).
* It is found where its sIoU with a single region p reaches .25, the least threshold of their F1. With A(k) the union of
  the other things, sIoU(k) = |k & p| / |(k | p) - A(k)|. With single regions, to accept one more never loses a thing.
* A region is a false alarm where at least half of its pixels are known, as in ``owseg.knowledge.alarms``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, inf, nan

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage

from owseg.labels import UNKNOWN

LEAST_SIOU = 0.25
RATES = (0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True, eq=False)
class Detections:
    """The regions and the things of one image.

    ``evidence`` (n,) float64 and ``false`` (n,) bool are of its regions. ``best`` (m,) is the highest evidence of a
    region that finds a thing, -inf where none does, ``shares`` (m,) the share of the image that the thing covers.
    """

    evidence: np.ndarray
    false: np.ndarray
    best: np.ndarray
    shares: np.ndarray


def detections(pieces: np.ndarray, evidence: np.ndarray, target: np.ndarray, least: int) -> Detections:
    """Return which of n ``pieces`` (H, W), numbered from 1, are false, and which things of ``target`` they find.

    ``evidence`` (n,) rates them; things have at least ``least`` pixels. Void pixels of a piece count for the share that
    is known, and not for its sIoU.
    """
    things, _ = ndimage.label(target == UNKNOWN, np.ones((3, 3), bool))
    columns = len(evidence) + 1
    areas, sizes = np.bincount(things.ravel()), np.bincount(pieces.ravel(), None, columns)
    # (things, pieces), pixels that both have; number 0 is the background of either
    both = np.bincount(things.ravel() * columns + pieces.ravel(), None, len(areas) * columns).reshape(-1, columns)
    of_known = np.bincount(pieces.ravel(), target.ravel() < UNKNOWN, columns)
    counts = np.flatnonzero(areas >= least)
    counts = counts[counts > 0]
    # Smaller things are void, and void is no part of a union: known pixels alone are in no thing.
    reached = both[counts] >= LEAST_SIOU * (areas[counts, None] + of_known)
    best = np.where(reached[:, 1:], evidence, -inf).max(1, initial=-inf)
    return Detections(evidence, (2 * of_known >= sizes)[1:], best, areas[counts] / target.size)


def limit_at(images: Sequence[Detections], rate: float) -> float:
    """Return the least limit of evidence at which there are at most ``rate`` false alarms per image, at least 0."""
    each = sorted(np.concatenate([d.evidence[d.false] for d in images]).tolist(), reverse=True)
    allowed = floor(rate * len(images) + 1e-9)
    return each[allowed] if len(each) > allowed else 0.0


def alarms(images: Sequence[Detections], limit: float) -> float:
    """Return the false alarms per image above a limit of evidence."""
    return sum(int((d.false & (d.evidence > limit)).sum()) for d in images) / len(images)


def found(images: Sequence[Detections], limit: float, sizes: tuple[float, float] = (0, inf)) -> float:
    """Return the share found above a limit of the things of ``sizes``, shares of the image; NaN without any."""
    low, high = sizes
    best = np.concatenate([d.best[(low <= d.shares) & (d.shares < high)] for d in images])
    return float((best > limit).mean()) if best.size else nan


def curve(images: Sequence[Detections]) -> tuple[np.ndarray, np.ndarray]:
    """Return false alarms per image, 0, 1/n, 2/n ... for n images, and the share of things found at each, (k,) both."""
    rates = np.arange(1 + sum(int(d.false.sum()) for d in images)) / len(images)
    return rates, np.array([found(images, limit_at(images, rate)) for rate in rates])


LEFT, RIGHT = 0.03, 5.0
COLORS = {"as it is": "#4a6b8a", "after adapt": "#d6249f"}


def plot(panels: Mapping[str, Mapping[str, Sequence[Detections]]], limit: Mapping[str, float]) -> Figure:
    """Draw a panel for each set and in it a curve of each state; a dot where the limit that is in use lies.

    A curve ends where all regions with any evidence count.
    """
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(3.6 * len(panels) + 0.4, 3.5), layout="constrained")
        row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (name, states) in zip(row, panels.items(), strict=True):
            for state, images in states.items():
                rates, shares = curve(images)
                style = {"color": COLORS[state], "clip_on": False}  # none at all lies on the left edge
                axes.plot(np.maximum(rates, LEFT), shares, label=state, drawstyle="steps-post", **style)
                at = alarms(images, limit[name])
                axes.plot(max(at, LEFT), found(images, limit[name]), "o", **style)
            axes.set(xscale="log", xlim=(LEFT, RIGHT), ylim=(0, 1), xlabel="false alarms per image")
            axes.set_xticks(RATES, [f"{rate:g}" for rate in RATES])
            axes.set_title(name, size=10, loc="left")
            axes.grid(color="#e3e3e3", linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("things found")
        row[0].legend(frameon=False, fontsize=9, loc="lower right")
        return figure

"""The prediction of a knowledge base for one image: the class map, the anomaly score, and where it is unknown."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from owseg._files import write_whole
from owseg.data.render import draw_boxes, encode_jpeg, encode_labels, encode_npy, encode_score, overlay
from owseg.errors import OwsegError
from owseg.knowledge.regions import RegionProposals
from owseg.labels import RESERVED, UNKNOWN, LabelSpace
from owseg.openset import Threshold

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MAPS = ("labels", "score", "overlay", "regions")
"""What is written of a prediction."""


@dataclass(frozen=True, eq=False)
class Assessment:
    """Closed map and scores of one image, at its size, before the threshold decides what is unknown.

    ``labels`` (H, W) uint8 is the closed map, learned classes included; ``learned`` (H, W) bool is where it is what was
    learned, a base class that was corrected, too; ``scores`` (H, W) float32 by the name of the scorer.
    """

    labels: np.ndarray
    learned: np.ndarray
    scores: Mapping[str, np.ndarray]

    def decided(self, scorer: str) -> np.ndarray:
        """Return a score (H, W) float32 with -inf where what was learned is predicted: that is never unknown."""
        return np.where(self.learned, -np.inf, self.scores[scorer]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction for one image.

    ``labels`` (H, W) uint8, the closed map: always one of ``classes``; ``score`` (H, W) float32, higher is more
    anomalous; ``open_set`` (H, W) uint8, the closed map with UNKNOWN where the score is above the ``threshold`` and no
    learned class is predicted. ``image`` (3, H, W) uint8 is what was labelled, ``id`` its name. ``find`` finds its
    ``regions`` when they are first asked for; until then it holds the network's output. ``learned`` (H, W) bool is that
    of ``Assessment``.
    """

    labels: np.ndarray
    score: np.ndarray
    open_set: np.ndarray
    image: np.ndarray
    classes: LabelSpace
    threshold: Threshold
    id: str = ""
    find: Callable[[Prediction], RegionProposals] | None = field(default=None, repr=False)
    learned: np.ndarray | None = field(default=None, repr=False)

    @cached_property
    def regions(self) -> RegionProposals:
        """The unknown regions, the largest first (see ``find_regions``)."""
        if self.find is None:
            raise OwsegError("this prediction has no regions; take one that KnowledgeBase.predict returned.")
        return self.find(self)

    @property
    def decided(self) -> np.ndarray:
        """The score (H, W) float32 with -inf where what was learned is predicted: that is never unknown."""
        return self.score if self.learned is None else np.where(self.learned, np.float32(-np.inf), self.score)

    @property
    def unknown(self) -> float:
        """The share of pixels that are unknown, in [0, 1]."""
        return float((self.open_set == UNKNOWN).mean())

    def shares(self) -> dict[str, float]:
        """Return the share of pixels by class in the open-set map, "unknown" among them, without those of no pixel."""
        counts = np.bincount(self.open_set.ravel(), minlength=256)
        names = {**dict(enumerate(self.classes.names)), UNKNOWN: RESERVED[UNKNOWN]}
        return {name: float(counts[i] / self.open_set.size) for i, name in names.items() if counts[i]}

    def overlay(self) -> np.ndarray:
        """Return the image (H, W, 3) uint8 tinted with its classes, the unknown in magenta with a white outline.

        Regions have a box, with the highest score in it in units above the threshold.
        """
        tinted = overlay(self.image, self.open_set, self.classes)
        if self.find is None:
            return tinted
        unit, value = self.threshold.unit, self.threshold.value
        return draw_boxes(tinted, [(r.box, f"+{(r.peak - value) / unit:.1f}") for r in self.regions])

    def files(self, npy: bool = False, write: Collection[str] = MAPS) -> Iterator[tuple[str, bytes]]:
        """Yield (suffix, contents) of what to ``write``, one at a time.

        They are labels.png, score.png (or score.npy with ``npy``), open.jpg (the overlay) and, where they can be found,
        regions.json.
        """
        if "labels" in write:
            yield "labels.png", encode_labels(self.labels, self.classes)
        if "score" in write and npy:
            yield "score.npy", encode_npy(self.score)
        elif "score" in write:
            yield "score.png", encode_score(self.score, self.threshold)
        if "overlay" in write:
            yield "open.jpg", encode_jpeg(self.overlay())
        if "regions" in write and self.find is not None:
            found = {**self.to_json(), "regions": [region.to_json() for region in self.regions]}
            yield "regions.json", json.dumps(found, indent=1).encode()

    def save(self, folder: str | Path, name: str = "", npy: bool = False) -> list[Path]:
        """Write ``files`` to ``folder`` as NAME.labels.png and so on, each whole or not at all, and return the paths.

        ``name`` is by default the stem of ``id``, or "prediction".
        """
        stem = name or Path(self.id).stem or "prediction"
        return [write_whole(Path(folder) / f"{stem}.{suffix}", data) for suffix, data in self.files(npy)]

    def plot(self) -> Figure:
        """Return a matplotlib figure: the image, the open-set map over it with a legend, and the score."""
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch

        height, width = self.labels.shape
        # Not pyplot, which would keep the figure and choose a backend for the caller's process.
        figure = Figure(figsize=(13, 4.2 * height / width + 0.9), layout="constrained")
        panels = figure.subplots(1, 3)
        for axes, title in zip(panels, ("image", f"{self.unknown:.1%} unknown", "anomaly score"), strict=True):
            axes.set_title(title)
            axes.set_axis_off()
        panels[0].imshow(self.image.transpose(1, 2, 0))
        panels[1].imshow(self.overlay())
        # The range of the stored score maps (``encode_score``), with the threshold in the middle of the colours.
        far = 4 * self.threshold.unit
        spread = {"vmin": self.threshold.value - far, "vmax": self.threshold.value + far}
        shown = panels[2].imshow(self.score, cmap="magma", **spread)
        bar = figure.colorbar(shown, ax=panels[2], shrink=0.8)
        bar.ax.axhline(self.threshold.value, color="white", linewidth=2)
        palette = {**dict(enumerate(self.classes.names)), UNKNOWN: RESERVED[UNKNOWN]}
        colors = self.classes.palette() / 255
        legend = [Patch(color=colors[i], label=name) for i, name in palette.items() if (self.open_set == i).any()]
        figure.legend(handles=legend, loc="outside lower center", ncols=min(8, len(legend)), frameon=False)
        return figure

    def to_json(self) -> dict[str, Any]:
        """Return its name, size, threshold and the share of pixels by class, as plain JSON; the maps are ``files``."""
        height, width = self.labels.shape
        return {
            "image": self.id,
            "size": [height, width],
            "threshold": self.threshold.value,
            "unknown": self.unknown,
            "classes": self.shares(),
        }

    def __repr__(self) -> str:
        height, width = self.labels.shape
        top = sorted(self.shares().items(), key=lambda item: -item[1])[:4]
        return f"Prediction({self.id or 'image'}, {width}x{height}: {', '.join(f'{n} {s:.1%}' for n, s in top)})"

    def _repr_png_(self) -> bytes:
        import io

        # What a notebook shows of a prediction.
        file = io.BytesIO()
        self.plot().savefig(file, format="png")
        return file.getvalue()

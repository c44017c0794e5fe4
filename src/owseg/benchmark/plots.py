"""Plots of a model's scores on a data set: PR and ROC curves, histograms by class, strips of score maps."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from owseg._files import write_whole
from owseg.data.dataset import DataSet
from owseg.evaluation.histograms import ScoreHistogram, images_with_unknown
from owseg.evaluation.maps import MapFolder
from owseg.metrics.binned import Binned
from owseg.openset import Threshold
from owseg.report.charts import line

KINDS = ("curves", "scores", "strip-1", "strip-2", "strip-3")
"""The plots of a model on a data set: the files are named MODEL.KIND.png."""

STRIPS = 3

WIDTH = 480
"""Pixels across which an image is shown in a strip."""

UNKNOWN_COLOR, KNOWN_COLOR = "#d6249f", "#4a6b8a"


def plots_missing(stem: Path) -> bool:
    """Return whether a plot named after ``stem`` is not there; there may be fewer strips than three."""
    return not all(stem.with_name(f"{stem.name}.{kind}.png").exists() for kind in KINDS[:3])


def draw(
    folder: MapFolder,
    data: DataSet,
    stem: Path,
    title: str,
    thresholds: Mapping[str, Threshold],
    histograms: Mapping[str, ScoreHistogram],
) -> list[Path]:
    """Plot a folder of maps of ``data`` and return the files, STEM.curves.png and so on.

    Curves of every score, the best AP first; histograms by score and class of the data, known and unknown (DMLNet, Fig.
    4); and up to three strips of images with unknown pixels, evenly spread: input, ground truth, and score maps from
    their 1st to their 99th percentile (DMLNet, Fig. 8). ``histograms`` are those of ``measure`` with the scores at
    ``points_to_sample``. Raises ``OwsegError`` for maps that are missing.
    """
    # Where no image has an unknown pixel, any will do.
    chosen = images_with_unknown(folder, histograms) or list(folder.manifest.images)
    picked = [chosen[round(i)] for i in np.linspace(0, len(chosen) - 1, min(STRIPS, len(chosen)))]
    written = []
    with matplotlib.style.context("default"):  # a user's matplotlibrc must not change the plots
        plots = [
            ("curves", _curves({name: histogram.binned for name, histogram in histograms.items()}, title)),
            ("scores", _histograms({name: h.sampled for name, h in histograms.items()}, data, thresholds, title)),
        ]
        plots += [(f"strip-{i}", _strip(folder, data, image)) for i, image in enumerate(picked, 1)]
        for kind, figure in plots:
            file = io.BytesIO()
            figure.savefig(file, format="png", dpi=110, metadata={"Software": None})  # no version of matplotlib
            written.append(write_whole(stem.with_name(f"{stem.name}.{kind}.png"), file.getvalue()))
    for kind in KINDS[2 + len(picked) :]:
        stem.with_name(f"{stem.name}.{kind}.png").unlink(missing_ok=True)  # of an earlier run on more images
    return written


def _curves(binned: Mapping[str, Binned], title: str) -> Figure:
    metrics = {name: state.compute() for name, state in binned.items()}
    order = sorted(metrics, key=lambda name: -_number(metrics[name].ap))
    first = next(iter(metrics.values()))  # the pixels are the same for every score
    height = max(4.2, 1.1 + 0.22 * len(order))
    figure = Figure(figsize=(12.2, height))
    figure.text(0.045, 1 - 0.32 / height, title, size=12, parse_math=False)
    pr = figure.add_axes((0.05, 0.55 / height, 0.315, 1 - 1.15 / height))
    roc = figure.add_axes((0.42, 0.55 / height, 0.315, 1 - 1.15 / height))
    handles: list[Any] = []
    for i, name in reversed(list(enumerate(order))):
        curves, (color, dashes) = binned[name].curves(), line(i)
        style: dict[str, Any] = {"color": color, "linestyle": (0, dashes), "linewidth": 1.5}
        handles += pr.plot(curves.tpr, curves.precision, **style)
        if not len(curves.fpr):
            continue
        roc.plot([0, *curves.fpr, 1], [0, *curves.tpr, 1], **style)  # every ROC curve has both corners
    chance: dict[str, Any] = {"color": "#999", "linewidth": 0.9, "linestyle": (0, (1, 2))}
    if first.outliers:
        pr.axhline(first.prevalence, **chance)
    else:
        pr.text(0.5, 0.5, "no unknown pixel", ha="center", color="#777")
    roc.plot([0, 1], [0, 1], **chance)
    for axes, x, y in ((pr, "recall", "precision"), (roc, "false-positive rate", "recall")):
        axes.set(xlim=(0, 1), ylim=(0, 1.005), xlabel=x, ylabel=y)
        axes.grid(color="#e3e3e3", linewidth=0.6)
        _style_axes(axes)
    texts = [f" {n}: AP {_text(metrics[n].ap)}, AUROC {_text(metrics[n].auroc)}" for n in order]
    legend = figure.legend(handles[::-1], texts, loc="upper left", bbox_to_anchor=(0.745, 1 - 0.5 / height),
                           frameon=False, fontsize=8.5, handlelength=3)  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)  # a score may be called $x$
    return figure


def _histograms(
    sampled: Mapping[str, Mapping[str, list[np.ndarray]]],
    data: DataSet,
    thresholds: Mapping[str, Threshold],
    title: str,
) -> Figure:
    """Draw a panel for each score with a histogram for each class; unknown classes are magenta, below the known."""
    found = {name for classes in sampled.values() for name in classes}
    unknown = sorted(found & set(data.unknown_classes()))
    names = [*sorted(found - set(unknown)), *unknown]
    columns = min(4, len(sampled))
    rows = math.ceil(len(sampled) / columns)
    across, down = 2.75, 0.75 + 0.2 * len(names)
    width, height = 1.45 + across * columns, 0.5 + down * rows
    figure = Figure(figsize=(width, height))
    dashed = "; dashed: calibrated threshold" if set(thresholds) & set(sampled) else ""
    caption = f"{title}: scores by class, magenta is unknown{dashed}"
    figure.text(0.15 / width, 1 - 0.3 / height, caption, size=10, parse_math=False)
    for i, (scorer, classes) in enumerate(sampled.items()):
        row, column = divmod(i, columns)
        place = (1.35 + across * column) / width, (height - 0.5 - down * (row + 1) + 0.35) / height
        axes = figure.add_axes((*place, (across - 0.2) / width, (down - 0.62) / height))
        axes.set_title(scorer, size=9.5, loc="left", parse_math=False)
        values = {name: np.concatenate(classes[name]) for name in names if name in classes}
        values = {name: v for name, v in values.items() if len(v)}
        if not values:
            continue
        # A few extreme scores must not squeeze all others together.
        low, high = np.quantile(np.concatenate(list(values.values())), (0.005, 0.995)).tolist()
        edges = np.linspace(low, high if high > low else low + 1, 81)
        middles = (edges[:-1] + edges[1:]) / 2
        for base, name in enumerate(reversed(names)):
            color = UNKNOWN_COLOR if name in unknown else KNOWN_COLOR
            if name in values:
                density = _density(values[name], edges)
                top = base + 0.95 * density / density.max()
                axes.fill_between(middles, base, top, color=color, alpha=0.75, linewidth=0)
            if column == 0:
                short = name if len(name) <= 18 else f"{name[:17]}…"
                style: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "right", "size": 8}
                axes.text(-0.02, base + 0.1, short, color=color, parse_math=False, **style)
        if scorer in thresholds:
            axes.axvline(thresholds[scorer].value, color="black", linewidth=1.2, linestyle=(0, (3, 2)))
        axes.set(yticks=[], xlim=(edges[0], edges[-1]), ylim=(-0.05, len(names)))
        _style_axes(axes, ("bottom",))
    return figure


def _strip(folder: MapFolder, data: DataSet, image: str) -> Figure:
    sample, maps = data[folder.manifest.images.index(image)], folder.read(image)
    height, width = maps.target.shape
    size = (min(WIDTH, width), max(1, round(height * min(WIDTH, width) / width)))
    pixels = Image.fromarray(np.ascontiguousarray(sample.image.transpose(1, 2, 0))).resize(size, Image.Resampling.BOX)
    target = Image.fromarray(data.labels.palette()[maps.target]).resize(size, Image.Resampling.NEAREST)
    panels: list[tuple[str, np.ndarray]] = [("input", np.asarray(pixels)), ("ground truth", np.asarray(target))]
    magma = matplotlib.colormaps["magma"]
    for name, score in maps.scores.items():
        small = np.asarray(Image.fromarray(_ranged(score)).resize(size, Image.Resampling.BOX))
        panels.append((name, (magma(small)[..., :3] * 255).astype(np.uint8)))
    columns = len(panels) if len(panels) <= 6 else 4
    rows = math.ceil(len(panels) / columns)
    across, down = 2.9, 2.9 * size[1] / size[0] + 0.28
    figure = Figure(figsize=(across * columns + 0.1, down * rows + 0.4))
    wide, high = figure.get_size_inches()
    caption = f"{image}   ground truth: magenta is unknown, black is void"
    figure.text(0.1 / wide, 1 - 0.25 / high, caption, size=10, parse_math=False)
    for i, (name, panel) in enumerate(panels):
        row, column = divmod(i, columns)
        place = (0.1 + across * column) / wide, (high - 0.4 - down * (row + 1)) / high
        axes = figure.add_axes((*place, (across - 0.1) / wide, (down - 0.28) / high))
        axes.imshow(panel, aspect="auto", interpolation="nearest")
        axes.set_title(name, size=9, loc="left", pad=2, parse_math=False)
        axes.set_axis_off()
    return figure


def _ranged(score: np.ndarray) -> np.ndarray:
    """Return a score as (H, W) float32 in [0, 1], from its 1st to its 99th percentile."""
    finite = score[np.isfinite(score)]
    low, high = np.quantile(finite, (0.01, 0.99)).tolist() if finite.size else (0.0, 1.0)
    clipped = np.clip(score, low, high)
    ranged: np.ndarray = ((clipped - low) / max(high - low, 1e-12)).astype(np.float32)
    return ranged


def _density(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the share of ``values`` in each bin, smoothed over five bins; the outermost include what lies beyond."""
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values)
    smoothed: np.ndarray = np.convolve(counts, np.array((1, 4, 6, 4, 1)) / 16, "same")
    return smoothed


def _style_axes(axes: Axes, sides: Sequence[str] = ("left", "bottom")) -> None:
    for side, spine in axes.spines.items():
        spine.set_visible(side in sides)
        spine.set_color("#bbb")
    axes.tick_params(labelsize=8, length=2.5, colors="#555")


def _number(value: float) -> float:
    return -1.0 if math.isnan(value) else value


def _text(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"

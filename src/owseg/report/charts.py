"""Charts as inline SVG, in the fonts and colours of the page around them."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle

from owseg.errors import OwsegError
from owseg.labels import UNKNOWN, LabelSpace


@dataclass(frozen=True, eq=False)
class Curve:
    """One score: the points of its precision-recall and ROC curves (n,) in [0, 1], and its metrics."""

    name: str
    recall: np.ndarray = field(repr=False)
    precision: np.ndarray = field(repr=False)
    fpr: np.ndarray = field(repr=False)
    tpr: np.ndarray = field(repr=False)
    ap: float
    auroc: float
    fpr95: float


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Values in [0, 1] by row and column, (R, C) float; NaN is left blank."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: np.ndarray = field(repr=False)


@dataclass(frozen=True, eq=False)
class Scatter:
    """Points (N, 2) and the name of the class of each (N,); classes in ``ringed`` get a dotted ring."""

    points: np.ndarray = field(repr=False)
    names: np.ndarray = field(repr=False)
    ringed: tuple[str, ...] = ()


# Placeholders that _svg replaces by colours of the page's style sheet, so that charts follow its dark mode.
_INK, _MUTED, _RULE = "#010203", "#020304", "#030405"


_STYLE = {_INK: "currentColor", _MUTED: "var(--muted)", _RULE: "var(--rule)"}


def code_of(color: np.ndarray) -> int:
    """Return an RGB colour as one number, 0xRRGGBB."""
    return int(color[0]) << 16 | int(color[1]) << 8 | int(color[2])


def hex_of(color: np.ndarray) -> str:
    """Return an RGB colour as "#rrggbb"."""
    return f"#{code_of(color):06x}"


def finite(value: float | None) -> float | None:
    """Return ``value``, or None where it is not finite."""
    return value if value is not None and math.isfinite(value) else None


def score_chart(
    histogram: Mapping[str, np.ndarray], threshold: float | None, unknown: Sequence[str], legend: LabelSpace
) -> Markup | None:
    """Draw the distribution of the scores of each class, by median, unknown classes last (DMLNet, Fig. 4).

    ``histogram`` has scores (N,) by class; returns None where none is finite.
    """
    scores = {name: np.ravel(np.asarray(s, np.float64)) for name, s in histogram.items()}
    scores = {name: s[np.isfinite(s)] for name, s in scores.items() if np.isfinite(s).any()}
    if not scores:
        return None
    names = sorted(scores, key=lambda name: (name in unknown, float(np.median(scores[name]))))
    threshold, palette = finite(threshold), legend.palette()
    # A few extreme pixels of a class must not squeeze all others together.
    ends = [float(np.quantile(s, q)) for s in scores.values() for q in (0.002, 0.998)]
    ends += [threshold] if threshold is not None else []
    margin = 0.05 * (max(ends) - min(ends)) or 0.5
    edges = np.linspace(min(ends) - margin, max(ends) + margin, 201)
    # A Gaussian of three bins smooths the sampled histograms.
    centres, kernel = (edges[:-1] + edges[1:]) / 2, np.exp(-0.5 * (np.arange(-9, 10) / 3) ** 2)

    height = 0.8 + 0.36 * len(names)
    figure = Figure(figsize=(5.4, height))
    axes = figure.add_axes((0.27, 0.5 / height, 0.57, 1 - 0.75 / height))
    for row, name in enumerate(names):
        base, is_unknown = len(names) - 1 - row, name in unknown or name not in legend
        density = np.convolve(np.histogram(scores[name], edges)[0], kernel, "same")
        # Each class has its own scale: a rare one is as legible as road.
        outline = base + 0.86 * density / max(density.max(), 1e-12)
        color = hex_of(palette[UNKNOWN if is_unknown else legend.index(name)])
        axes.fill_between(centres, base, outline, color=color, alpha=0.9, linewidth=0)
        axes.plot(centres, outline, color=_INK, linewidth=0.6, alpha=0.7)
        beside: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "color": _INK}
        beside["weight"] = "bold" if is_unknown else "normal"
        axes.text(-0.02, base + 0.12, f"@{row}", ha="right", **beside)
        if threshold is not None:
            share = 100 * np.mean(scores[name] > threshold)
            axes.text(1.02, base + 0.12, f"{share:.0f} %", ha="left", **beside)
    if threshold is not None:
        axes.axvspan(threshold, edges[-1], color=hex_of(palette[UNKNOWN]), alpha=0.09, linewidth=0, zorder=0)
        axes.axvline(threshold, color=_INK, linewidth=1.2, linestyle=(0, (3, 2)))
        axes.text(threshold, 1.01, "threshold", transform=axes.get_xaxis_transform(), ha="center", color=_INK)
        axes.text(1.02, 1.01, "unknown", transform=axes.transAxes, ha="left", color=_MUTED)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(-0.12, len(names))
    axes.set_yticks([])
    axes.set_xlabel("anomaly score →", color=_MUTED)
    _style_axes(axes, ("bottom",))
    described = "Distribution of the scores of each class. Medians: "
    described += ", ".join(f"{name} {np.median(scores[name]):.3g}" for name in names)
    described += f"; threshold {threshold:.3g}." if threshold is not None else "."
    return _svg(figure, "scores", described, names)


def curve_charts(curves: Sequence[Curve], prevalence: float | None) -> list[tuple[str, Markup]]:
    """Draw the precision-recall and the ROC curve of each score; return (title, chart) of both, none for no curve.

    ``prevalence`` is the precision of a random score, in [0, 1].
    """
    if not curves:
        return []
    pr, pr_axes = _unit_square("recall →", "precision →")
    roc, roc_axes = _unit_square("false-positive rate →", "recall (true-positive rate) →")
    chance: dict[str, Any] = {"color": _MUTED, "linewidth": 0.9, "linestyle": (0, (1, 2))}
    if prevalence is not None:
        pr_axes.axhline(prevalence, **chance)
        pr_axes.text(0.01, prevalence + 0.015, f"random: {prevalence:.3f}", color=_MUTED)
    roc_axes.plot([0, 1], [0, 1], **chance)
    roc_axes.text(0.6, 0.555, "random", color=_MUTED, rotation=42, ha="center", va="center")
    for i, curve in reversed(list(enumerate(curves))):  # the first is drawn last, on top
        color, dashes = line(i)
        style: dict[str, Any] = {"color": color, "linestyle": (0, dashes), "linewidth": 1.6 if i else 2.2}
        pr_axes.plot(*_points(curve.name, curve.recall, curve.precision).T, **style)
        roc_axes.plot(*_points(curve.name, curve.fpr, curve.tpr).T, **style)
    aps = ", ".join(f"{curve.name} {curve.ap:.3f}" for curve in curves)
    areas = ", ".join(f"{curve.name} {curve.auroc:.3f}" for curve in curves)
    return [
        (
            "Precision–recall: the top right corner is best",
            _svg(pr, "pr", f"Precision over recall. Average precision: {aps}."),
        ),
        (
            "ROC: the top left corner is best",
            _svg(roc, "roc", f"True-positive over false-positive rate. Area under the curve: {areas}."),
        ),
    ]


def heat_map(heat: HeatMap) -> Markup:
    """Draw a cell for every value, darker for higher ones, with the value in it."""
    rows, columns = len(heat.rows), len(heat.columns)
    if heat.values.shape != (rows, columns):
        raise OwsegError(f"a heat map of {rows}x{columns} needs as many values, not {heat.values.shape}.")
    width, height = 1.6 + 0.95 * columns, 0.45 + 0.3 * rows
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((1.55 / width, 0.02, 1 - 1.6 / width, 1 - 0.42 / height))
    for (i, j), value in np.ndenumerate(heat.values):
        if np.isfinite(value):
            # Never opaque: the number in it has to be legible on a light and on a dark page.
            axes.add_patch(Rectangle((j + 0.03, i + 0.05), 0.94, 0.9, color="#2f7fd1", alpha=0.08 + 0.72 * value, lw=0))
            axes.text(j + 0.5, i + 0.54, f"{value:.2f}", ha="center", va="center", color=_INK)
    for i in range(rows):
        axes.text(-0.06, i + 0.54, f"@{i}", ha="right", va="center", color=_INK)
    for j in range(columns):
        axes.text(j + 0.5, -0.25, f"@{rows + j}", ha="center", va="center", color=_MUTED)
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    axes.set_axis_off()
    described = "; ".join(
        f"{name} " + ", ".join("none yet" if math.isnan(v) else f"{v:.2f}" for v in row)
        for name, row in zip(heat.rows, heat.values.tolist(), strict=True)
    )
    return _svg(figure, "heat", f"Columns: {', '.join(heat.columns)}. {described}.", (*heat.rows, *heat.columns))


def scatter(points: Scatter, legend: LabelSpace) -> Markup:
    """Draw the points in the colours of their classes, with the name of each class at its median."""
    if len(points.points) != len(points.names):
        raise OwsegError(f"{len(points.points)} points need as many names, not {len(points.names)}.")
    figure = Figure(figsize=(6.4, 5.2))
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    names = [n for n in legend.names if (points.names == n).any()]
    for name in names:
        own = points.points[points.names == name]
        axes.scatter(
            own[:, 0],
            own[:, 1],
            s=5,
            color=hex_of(np.array(legend.colors[legend.index(name)])),
            linewidths=0,
            alpha=0.8,
        )
    for i, name in enumerate(names):
        own = points.points[points.names == name]
        # One of the points: the median of both coordinates may lie between two clusters.
        middle = own[np.argmin(np.abs(own - np.median(own, 0)).sum(1))]
        if name in points.ringed:
            # The ring is of the nearest 80 %: single points that t-SNE puts elsewhere would blow it up.
            near = own[np.argsort(((own - middle) ** 2).sum(1))[: max(3, int(0.8 * len(own)))]]
            centre, values, vectors = near.mean(0), *np.linalg.eigh(np.cov(near.T))
            # 2.1 standard deviations hold 89 % of a 2-D Gaussian: 1 - exp(-2.1^2 / 2).
            size = 2 * 2.1 * np.sqrt(np.maximum(values, 1e-9))
            # eigh sorts ascending: the second vector is the long axis.
            angle = math.degrees(math.atan2(vectors[1, 1], vectors[0, 1]))
            ring: dict[str, Any] = {"fill": False, "edgecolor": "#d6249f", "linestyle": (0, (1, 1.5)), "linewidth": 2}
            axes.add_patch(Ellipse((float(centre[0]), float(centre[1])), size[1], size[0], angle=angle, **ring))
        weight = "bold" if name in points.ringed else "normal"
        axes.text(float(middle[0]), float(middle[1]), f"@{i}", ha="center", va="center", color=_INK, weight=weight)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.04)
    _style_axes(axes, ())
    rings = f"; ringed: {', '.join(points.ringed)}" if points.ringed else ""
    return _svg(figure, "map", f"{len(points.points)} pixels of {', '.join(names)}{rings}.", names)


def line(i: int) -> tuple[str, tuple[float, ...]]:
    """Return the colour of the i-th curve and its dashes: lines and gaps, in line widths."""
    colors = ("#d6249f", "#2f7fd1", "#d9822b", "#2a9d78", "#8b6fd6", "#8a8f98")
    dashes = ((1, 0), (5, 1.5), (1.5, 1.2), (6, 1.5, 1.5, 1.5))
    return colors[i % len(colors)], dashes[i % len(dashes)]


def _points(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the finite points (n, 2) of a curve; matplotlib thins out those too dense to see."""
    x, y = np.ravel(np.asarray(x, np.float64)), np.ravel(np.asarray(y, np.float64))
    if len(x) != len(y):
        raise OwsegError(f"the curve {name!r} has {len(x)} and {len(y)} coordinates; give as many of each.")
    points = np.stack([x, y], 1)
    finite_points: np.ndarray = points[np.isfinite(points).all(1)]
    return finite_points


def _unit_square(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.3, 3.7))
    axes = figure.add_axes((0.135, 0.12, 0.84, 0.865))
    axes.grid(color=_RULE, linewidth=0.6)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.005)
    axes.set_xlabel(x, color=_MUTED)
    axes.set_ylabel(y, color=_MUTED)
    _style_axes(axes, ("left", "bottom"))
    return figure, axes


def _style_axes(axes: Axes, sides: tuple[str, ...]) -> None:
    for side, spine in axes.spines.items():
        spine.set_visible(side in sides)
        spine.set_color(_RULE)
    axes.tick_params(colors=_MUTED, labelcolor=_MUTED, length=3)


def _svg(figure: Figure, key: str, described: str, names: Sequence[str] = ()) -> Markup:
    """Return a figure as inline SVG in the page's font and colours, ``names[i]`` in place of its text @i."""
    file, nothing = io.StringIO(), dict.fromkeys(("Date", "Creator", "Format", "Type"))
    # The salt makes ids that are the same each time but differ between the charts of a page.
    with matplotlib.rc_context({"svg.hashsalt": key, "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    svg = file.getvalue()
    svg = svg[svg.index(">", svg.index("<svg")) + 1 :]
    svg = re.sub(r'<style.*?</style>|(?<=<g) id="[^"]*"|font-family: [^;"]*;? ?', "", svg, flags=re.DOTALL)
    for placeholder, color in _STYLE.items():
        svg = svg.replace(placeholder, color)
    # Names come last: matplotlib would take a $ for mathematics and warn of every letter its font lacks.
    svg = re.sub(r">@(\d+)<", lambda match: f">{escape(_shortened(names[int(match[1])]))}<", svg)
    box = f"0 0 {72 * figure.get_figwidth():g} {72 * figure.get_figheight():g}"
    return Markup(f'<svg viewBox="{box}" role="img" aria-label="{escape(described)}">{svg}')


def _shortened(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"

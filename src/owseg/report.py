"""A report: one open-world run told as a single HTML page that needs nothing but a browser.

Data goes in, text comes out: ``render`` is pure, and the same report gives the same bytes. Pictures and
charts are part of the page (base64 and inline SVG), so it can be mailed, printed or kept, and loads nothing
from anywhere. Its words and looks are in ``report.html.j2`` beside this file.
"""

from __future__ import annotations

import base64
import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from numbers import Integral
from pathlib import Path
from typing import Any, TypeAlias

import jinja2
import matplotlib
import matplotlib.style
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from owseg.errors import OwsegError
from owseg.labels import IGNORE, UNKNOWN, LabelSpace

Cell: TypeAlias = str | float | None


@dataclass(frozen=True, eq=False)
class Strip:
    """One street in several pictures, as in DMLNet, Fig. 7 (Cen et al., ICCV 2021).

    ``pictures`` are (caption, (H, W, 3) uint8 RGB): the input, which of five is shown largest, then the
    closed map, the open map, the map after learning, the truth. A picture of at most 256 colours is stored
    without loss, any other as JPEG.
    """

    title: str
    pictures: tuple[tuple[str, np.ndarray], ...]


@dataclass(frozen=True, eq=False)
class Curve:
    """How well one score finds the unknown: the points of its curves (1-D, in [0, 1]) and their sums."""

    name: str
    recall: np.ndarray
    precision: np.ndarray
    fpr: np.ndarray
    tpr: np.ndarray
    ap: float
    auroc: float
    fpr95: float


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers under a header; floats get three decimals, None and NaN a dash."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, eq=False)
class Report:
    """Everything the page tells; what is empty is left out of it.

    ``legend`` names the colours of the label maps. ``histogram`` holds sampled scores (N,) by class, higher
    being stranger, ``threshold`` the score above which a pixel is called unknown, and ``unknown`` the classes
    that the network had not been taught by then (DMLNet, Fig. 4). ``prevalence`` is the share of unknown
    pixels in [0, 1]: the precision of guessing. ``facts`` are (name, value), ``next_steps`` (sentence, shell
    command).
    """

    title: str
    lead: str
    legend: LabelSpace
    strips: tuple[Strip, ...] = ()
    histogram: Mapping[str, np.ndarray] = field(default_factory=dict)
    threshold: float | None = None
    unknown: tuple[str, ...] = ("unknown",)
    curves: tuple[Curve, ...] = ()
    prevalence: float | None = None
    tables: tuple[Table, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    next_steps: tuple[tuple[str, str], ...] = ()


def render(report: Report) -> str:
    """Return the page; raise ``OwsegError`` for a picture not (H, W, 3) uint8 or parts that do not fit."""
    for table in report.tables:
        columns = len(table.header)
        if any(len(row) != columns for row in table.rows):
            raise OwsegError(f"the table {table.title!r} has {columns} columns; give every row as many cells.")
    strips = [
        (strip.title, [(caption, *_encode(picture)) for caption, picture in strip.pictures])
        for strip in report.strips
        if strip.pictures
    ]
    palette = report.legend.palette()
    named = {_code(palette[i]) for i in (*range(len(report.legend)), UNKNOWN)}
    void = {_code(palette[IGNORE])}
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = _number
    template = environment.from_string(files("owseg").joinpath("report.html.j2").read_text("utf-8"))
    with matplotlib.style.context("default"):  # a user's matplotlibrc must not change the page
        score_chart = _score_chart(report, palette)
        curve_charts = _curve_charts(report.curves, _finite(report.prevalence))
    return template.render(
        report=report,
        strips=strips,
        legend=[(name, _hex(palette[i])) for i, name in enumerate(report.legend.names)],
        unknown_color=_hex(palette[UNKNOWN]),
        shows_void=any(colors - named == void for _, pictures in strips for *_, colors in pictures),
        has_threshold=_finite(report.threshold) is not None,
        score_chart=score_chart,
        curve_charts=curve_charts,
        line_of=_line,
        tables=[table for table in report.tables if table.rows],
    )


def save(report: Report, path: str | Path) -> Path:
    """Write the page to ``path``, whole or not at all, and return the path; else raise ``OwsegError``."""
    path, text = Path(path), render(report)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.write_text(text, encoding="utf-8")
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OwsegError(f"{path} could not be written ({reason}); name a file that can be.") from error
    return path


def _encode(picture: np.ndarray) -> tuple[str, int, int, bool, set[int]]:
    """Return a picture's data URI, width, height, whether it has few colours, and which if so."""
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise OwsegError(f"a picture of the report is {picture.shape} {picture.dtype}; give (H, W, 3) uint8.")
    height, width, _ = picture.shape
    red, green, blue = np.moveaxis(picture.astype(np.uint32), 2, 0)
    codes, ids = np.unique(red << 16 | green << 8 | blue, return_inverse=True)
    few, file = len(codes) <= 256, io.BytesIO()
    if few:
        image = Image.fromarray(ids.reshape(height, width).astype(np.uint8)).convert("P")
        image.putpalette([int(code) >> shift & 255 for code in codes for shift in (16, 8, 0)])
        image.save(file, "PNG", optimize=True)
    else:
        Image.fromarray(picture).save(file, "JPEG", quality=90, subsampling=0, optimize=True)
    uri = f"data:image/{'png' if few else 'jpeg'};base64,{base64.b64encode(file.getvalue()).decode()}"
    return uri, width, height, few, {int(code) for code in codes} if few else set()


def _code(color: np.ndarray) -> int:
    return int(color[0]) << 16 | int(color[1]) << 8 | int(color[2])


def _hex(color: np.ndarray) -> str:
    return f"#{_code(color):06x}"


def _number(value: float | None) -> Markup:
    """Show a number: counts as they are, others with three decimals, the undefined as a dash that says so."""
    if value is None or math.isnan(value):
        return Markup('<abbr title="undefined: there was nothing to measure">–</abbr>')
    if math.isinf(value):
        return Markup("∞" if value > 0 else "−∞")
    return Markup((str(value) if isinstance(value, Integral) else f"{value:.3f}").replace("-", "−"))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


# Stand-ins that _svg replaces by colours of the page's style sheet, so that charts follow it into the dark.
_INK, _MUTED, _RULE = "#010203", "#020304", "#030405"
_STYLE = {_INK: "currentColor", _MUTED: "var(--muted)", _RULE: "var(--rule)"}


def _score_chart(report: Report, palette: np.ndarray) -> Markup | None:
    """Draw a hill of scores for each class, from the plainest to the strangest (DMLNet, Fig. 4)."""
    scores = {name: np.ravel(np.asarray(s, np.float64)) for name, s in report.histogram.items()}
    scores = {name: s[np.isfinite(s)] for name, s in scores.items() if np.isfinite(s).any()}
    if not scores:
        return None
    names = sorted(scores, key=lambda name: (name in report.unknown, float(np.median(scores[name]))))
    threshold = _finite(report.threshold)
    # A few extreme pixels of a class must not squeeze all others together.
    ends = [float(np.quantile(s, q)) for s in scores.values() for q in (0.002, 0.998)]
    ends += [threshold] if threshold is not None else []
    margin = 0.05 * (max(ends) - min(ends)) or 0.5
    edges = np.linspace(min(ends) - margin, max(ends) + margin, 201)
    centres, kernel = (edges[:-1] + edges[1:]) / 2, np.exp(-0.5 * (np.arange(-9, 10) / 3) ** 2)

    height = 0.8 + 0.36 * len(names)
    figure = Figure(figsize=(5.4, height))
    axes = figure.add_axes((0.27, 0.5 / height, 0.57, 1 - 0.75 / height))
    for row, name in enumerate(names):
        base, strange = len(names) - 1 - row, name in report.unknown or name not in report.legend
        hill = np.convolve(np.histogram(scores[name], edges)[0], kernel, "same")
        hill = base + 0.86 * hill / max(hill.max(), 1e-12)
        color = _hex(palette[UNKNOWN if strange else report.legend.index(name)])
        axes.fill_between(centres, base, hill, color=color, alpha=0.9, linewidth=0)
        axes.plot(centres, hill, color=_INK, linewidth=0.6, alpha=0.7)
        beside: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "color": _INK}
        beside["weight"] = "bold" if strange else "normal"
        axes.text(-0.02, base + 0.12, f"@{row}", ha="right", **beside)
        if threshold is not None:
            share = 100 * np.mean(scores[name] > threshold)
            axes.text(1.02, base + 0.12, f"{share:.0f} %", ha="left", **beside)
    if threshold is not None:
        axes.axvspan(threshold, edges[-1], color=_hex(palette[UNKNOWN]), alpha=0.09, linewidth=0, zorder=0)
        axes.axvline(threshold, color=_INK, linewidth=1.2, linestyle=(0, (3, 2)))
        axes.text(threshold, 1.01, "threshold", transform=axes.get_xaxis_transform(), ha="center", color=_INK)
        axes.text(1.02, 1.01, "unknown", transform=axes.transAxes, ha="left", color=_MUTED)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(-0.12, len(names))
    axes.set_yticks([])
    axes.set_xlabel("score: how strange a pixel looks →", color=_MUTED)
    _plain(axes, ("bottom",))
    described = "How the scores of each class are spread. Medians: "
    described += ", ".join(f"{name} {np.median(scores[name]):.3g}" for name in names)
    described += f"; threshold {threshold:.3g}." if threshold is not None else "."
    return _svg(figure, "scores", described, names)


def _curve_charts(curves: Sequence[Curve], prevalence: float | None) -> list[tuple[str, Markup]]:
    """Draw precision over recall, and true over false alarms, a line for each curve: (title, chart) each."""
    if not curves:
        return []
    precise, precise_axes = _unit_square("share of the unknown that is found →", "share of the alarms that are right →")
    hits, hits_axes = _unit_square("share of the known flagged by mistake →", "share of the unknown that is found →")
    guess: dict[str, Any] = {"color": _MUTED, "linewidth": 0.9, "linestyle": (0, (1, 2))}
    if prevalence is not None:
        precise_axes.axhline(prevalence, **guess)
        precise_axes.text(0.01, prevalence + 0.015, f"guessing: {prevalence:.3f}", color=_MUTED)
    hits_axes.plot([0, 1], [0, 1], **guess)
    hits_axes.text(0.6, 0.555, "guessing", color=_MUTED, rotation=42, ha="center", va="center")
    for i, curve in reversed(list(enumerate(curves))):  # the first is drawn last, on top
        color, dashes = _line(i)
        style: dict[str, Any] = {"color": color, "linestyle": (0, dashes), "linewidth": 1.6 if i else 2.2}
        precise_axes.plot(*_points(curve.name, curve.recall, curve.precision).T, **style)
        hits_axes.plot(*_points(curve.name, curve.fpr, curve.tpr).T, **style)
    aps = ", ".join(f"{curve.name} {curve.ap:.3f}" for curve in curves)
    areas = ", ".join(f"{curve.name} {curve.auroc:.3f}" for curve in curves)
    return [
        (
            "Precision and recall: the top right corner is best",
            _svg(precise, "pr", f"Precision over recall. Average precision: {aps}."),
        ),
        (
            "ROC: the top left corner is best",
            _svg(hits, "roc", f"True over false alarms. Area under the curve: {areas}."),
        ),
    ]


def _line(i: int) -> tuple[str, tuple[float, ...]]:
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
    return points[np.isfinite(points).all(1)]


def _unit_square(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.3, 3.7))
    axes = figure.add_axes((0.135, 0.12, 0.84, 0.865))
    axes.grid(color=_RULE, linewidth=0.6)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.005)
    axes.set_xlabel(x, color=_MUTED)
    axes.set_ylabel(y, color=_MUTED)
    _plain(axes, ("left", "bottom"))
    return figure, axes


def _plain(axes: Axes, sides: tuple[str, ...]) -> None:
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
    for stand_in, color in _STYLE.items():
        svg = svg.replace(stand_in, color)
    # Names come last: matplotlib would take a $ for mathematics and warn of every letter its font lacks.
    svg = re.sub(r">@(\d+)<", lambda match: f">{escape(_shortened(names[int(match[1])]))}<", svg)
    box = f"0 0 {72 * figure.get_figwidth():g} {72 * figure.get_figheight():g}"
    return Markup(f'<svg viewBox="{box}" role="img" aria-label="{escape(described)}">{svg}')


def _shortened(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"

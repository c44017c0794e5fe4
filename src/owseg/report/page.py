"""A report: one open-world run told as a single HTML page that needs nothing but a browser.

Data goes in, text comes out: ``render`` is pure, and the same report gives the same bytes. Images and
charts are part of the page (base64 and inline SVG), so it can be mailed, printed or kept, and loads nothing
from anywhere. Its words and looks are in ``page.html.j2`` beside this file.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from numbers import Integral
from pathlib import Path
from typing import TypeAlias

import jinja2
import matplotlib.style
import numpy as np
from markupsafe import Markup
from PIL import Image

from owseg._files import write_whole
from owseg.errors import OwsegError
from owseg.labels import IGNORE, UNKNOWN, LabelSpace
from owseg.report import charts
from owseg.report.charts import Curve, HeatMap, Scatter, code_of, finite, hex_of

Cell: TypeAlias = str | float | None


@dataclass(frozen=True, eq=False)
class Strip:
    """One street in several images, as in DMLNet, Fig. 7 (Cen et al., ICCV 2021).

    ``images`` are (caption, (H, W, 3) uint8 RGB): the input, which of five is shown largest, then the
    closed map, the open map, the map after learning, the truth. An image of at most 256 colours is stored
    without loss, any other as JPEG.
    """

    title: str
    images: tuple[tuple[str, np.ndarray], ...]


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
    pixels in [0, 1]: the precision of guessing. ``heat`` is IoU by class and stage of learning, ``map`` where pixels
    lie in the metric space (DMLNet, Fig. 6). ``facts`` are (name, value), ``next_steps`` (sentence, shell
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
    heat: HeatMap | None = None
    map: Scatter | None = None
    tables: tuple[Table, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    next_steps: tuple[tuple[str, str], ...] = ()


def render(report: Report) -> str:
    """Return the page; raise ``OwsegError`` for an image not (H, W, 3) uint8 or parts that do not fit."""
    for table in report.tables:
        columns = len(table.header)
        if any(len(row) != columns for row in table.rows):
            raise OwsegError(f"the table {table.title!r} has {columns} columns; give every row as many cells.")
    strips = [
        (strip.title, [(caption, *_encode(picture)) for caption, picture in strip.images])
        for strip in report.strips
        if strip.images
    ]
    palette = report.legend.palette()
    named = {code_of(palette[i]) for i in (*range(len(report.legend)), UNKNOWN)}
    void = {code_of(palette[IGNORE])}
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = _number
    template = environment.from_string(files("owseg.report").joinpath("page.html.j2").read_text("utf-8"))
    with matplotlib.style.context("default"):  # a user's matplotlibrc must not change the page
        scores = charts.score_chart(report.histogram, report.threshold, report.unknown, report.legend)
        heat = charts.heat_map(report.heat) if report.heat else None
        scatter = charts.scatter(report.map, report.legend) if report.map else None
        curves = charts.curve_charts(report.curves, finite(report.prevalence))
    return template.render(
        report=report,
        strips=strips,
        legend=[(name, hex_of(palette[i])) for i, name in enumerate(report.legend.names)],
        unknown_color=hex_of(palette[UNKNOWN]),
        shows_void=any(colors - named == void for _, images in strips for *_, colors in images),
        has_threshold=finite(report.threshold) is not None,
        score_chart=scores,
        curve_charts=curves,
        heat_map=heat,
        map=scatter,
        line_of=charts.line,
        tables=[table for table in report.tables if table.rows],
    )


def save(report: Report, path: str | Path) -> Path:
    """Write the page to ``path``, whole or not at all, and return the path; else raise ``OwsegError``."""
    return write_whole(path, render(report).encode())


def _encode(picture: np.ndarray) -> tuple[str, int, int, bool, set[int]]:
    """Return an image's data URI, width, height, whether it has few colours, and which if so."""
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise OwsegError(f"an image of the report is {picture.shape} {picture.dtype}; give (H, W, 3) uint8.")
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


def _number(value: float | None) -> Markup:
    """Show a number: counts as they are, others with three decimals, the undefined as a dash that says so."""
    if value is None or math.isnan(value):
        return Markup('<abbr title="undefined: there was nothing to measure">–</abbr>')
    if math.isinf(value):
        return Markup("∞" if value > 0 else "−∞")
    return Markup((str(value) if isinstance(value, Integral) else f"{value:.3f}").replace("-", "−"))

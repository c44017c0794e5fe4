"""A report of an open-world run: a single HTML page that needs nothing but a browser.

``render`` is a pure function, and the same report gives the same bytes. Images and charts are part of the page (base64
and inline SVG), so it can be sent and printed, and it loads nothing. Its text is in ``page.html.j2``, its style in
``page.css``.
"""

from __future__ import annotations

import base64
import io
import math
import re
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
from owseg.errors import OwsegError, shown
from owseg.labels import IGNORE, UNKNOWN, LabelSpace
from owseg.report import charts
from owseg.report.charts import Curve, HeatMap, Scatter, code_of, finite, hex_of

Cell: TypeAlias = str | float | None

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What no text shows: control characters but tab and the end of a line, and those that change the order of others."""


@dataclass(frozen=True, eq=False)
class Strip:
    """One image and its predictions side by side, as in DMLNet, Fig. 7 (Cen et al., ICCV 2021).

    ``images`` are (caption, (H, W, 3) uint8 RGB): the input, then for example the closed map, the open-set map, the map
    after learning and the ground truth. Of five the first is shown largest. An image of at most 256 colours is stored
    without loss, any other as JPEG.
    """

    title: str
    images: tuple[tuple[str, np.ndarray], ...] = field(repr=False)


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers under a header; floats get three decimals, None and NaN a dash."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, eq=False)
class Report:
    """The content of the page; a part that is empty is left out.

    ``legend`` has the classes and colours of the label maps. ``histogram`` has sampled scores (N,) by class, higher
    being more anomalous, ``threshold`` is the score above which a pixel is called unknown, and ``unknown`` the classes
    that the network did not know (DMLNet, Fig. 4). ``prevalence`` is the share of unknown pixels in [0, 1], the
    precision of a random score. ``heat_map`` is IoU by class and stage of learning, ``scatter`` a projection of the
    embedding (DMLNet, Fig. 6). ``facts`` are (name, value), ``next_steps`` (sentence, shell command).
    """

    title: str
    lead: str
    legend: LabelSpace = field(repr=False)
    strips: tuple[Strip, ...] = ()
    histogram: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    threshold: float | None = None
    unknown: tuple[str, ...] = ("unknown",)
    curves: tuple[Curve, ...] = ()
    prevalence: float | None = None
    heat_map: HeatMap | None = None
    scatter: Scatter | None = None
    tables: tuple[Table, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    next_steps: tuple[tuple[str, str], ...] = ()


def render(report: Report) -> str:
    """Return the page as HTML.

    Raises ``OwsegError`` for an image that is not (H, W, 3) uint8, and for tables, curves, heat maps and scatter plots
    whose parts are not of one length.
    """
    for table in report.tables:
        columns = len(table.header)
        if any(len(row) != columns for row in table.rows):
            raise OwsegError(f"the table {table.title!r} has {columns} columns; give every row as many cells.")
    strips = [
        (strip.title, [(caption, *_encode(image)) for caption, image in strip.images])
        for strip in report.strips
        if strip.images
    ]
    palette = report.legend.palette()
    # Void is black, but so may be a class: the legend has void only where no class explains its colour.
    named = {code_of(palette[i]) for i in (*range(len(report.legend)), UNKNOWN)}
    void = {code_of(palette[IGNORE])}
    # Class and file names come from data: they are text on the page, never markup.
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = _number
    template = environment.from_string(_asset("page.html.j2"))
    with matplotlib.style.context("default"):  # a user's matplotlibrc must not change the page
        scores = charts.score_chart(report.histogram, report.threshold, report.unknown, report.legend)
        heat = charts.heat_map(report.heat_map) if report.heat_map else None
        scatter = charts.scatter(report.scatter, report.legend) if report.scatter else None
        curves = charts.curve_charts(report.curves, finite(report.prevalence))
    html = template.render(
        report=report,
        style=Markup(_asset("page.css")),
        strips=strips,
        legend=[(name, hex_of(palette[i])) for i, name in enumerate(report.legend.names)],
        unknown_color=hex_of(palette[UNKNOWN]),
        shows_void=any(colors - named == void for _, images in strips for *_, colors in images),
        has_threshold=finite(report.threshold) is not None,
        score_chart=scores,
        curve_charts=curves,
        heat_map=heat,
        scatter=scatter,
        line_of=charts.line,
        tables=[table for table in report.tables if table.rows],
    )
    # File names may hold any of these: browsers replace some, and let others change the order of what follows.
    return CONTROL.sub(lambda found: shown(found[0]), html)


def save(report: Report, path: str | Path) -> Path:
    """Write the page to ``path``, whole or not at all, and return the path; else raise ``OwsegError``."""
    return write_whole(path, render(report).encode(errors="backslashreplace"))  # file names may be no UTF-8


def _asset(name: str) -> str:
    return files("owseg.report").joinpath(name).read_text("utf-8")


def _encode(pixels: np.ndarray) -> tuple[str, int, int, bool, set[int]]:
    """Return an image's data URI, width, height, whether it has few colours, and which if so."""
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise OwsegError(f"an image of the report is {pixels.shape} {pixels.dtype}; give (H, W, 3) uint8.")
    height, width, _ = pixels.shape
    red, green, blue = np.moveaxis(pixels.astype(np.uint32), 2, 0)
    codes, ids = np.unique(red << 16 | green << 8 | blue, return_inverse=True)
    few, file = len(codes) <= 256, io.BytesIO()
    if few:
        # A map of labels keeps its exact colours, and is smaller than as JPEG.
        image = Image.fromarray(ids.reshape(height, width).astype(np.uint8)).convert("P")
        image.putpalette([int(code) >> shift & 255 for code in codes for shift in (16, 8, 0)])
        image.save(file, "PNG", optimize=True)
    else:
        Image.fromarray(pixels).save(file, "JPEG", quality=90, subsampling=0, optimize=True)
    uri = f"data:image/{'png' if few else 'jpeg'};base64,{base64.b64encode(file.getvalue()).decode()}"
    return uri, width, height, few, {int(code) for code in codes} if few else set()


def _number(value: float | None) -> Markup:
    """Return a number as text: counts as they are, others with three decimals, an undefined one as a dash."""
    if value is None or math.isnan(value):
        return Markup('<abbr title="undefined: nothing to measure">–</abbr>')
    if math.isinf(value):
        return Markup("∞" if value > 0 else "−∞")
    return Markup((str(value) if isinstance(value, Integral) else f"{value:.3f}").replace("-", "−"))

"""Charts on the page: their points, their words, and what is refused."""

import dataclasses
import math
import re

import numpy as np
import pytest

from owseg.errors import OwsegError
from owseg.report.charts import HeatMap, Scatter
from owseg.report.page import Report, render
from tests.support.reports import EVIL, LABELS, Page, curve


def test_the_chart_says_how_much_of_each_class_is_called_unknown():
    scores = {"sky": np.arange(100.0), "road": np.r_[np.arange(50.0), np.nan, np.inf]}
    words = Page(render(Report("t", "", LABELS, histogram=scores, threshold=89.5))).words()
    assert "10 %" in words and "0 %" in words
    assert " %" not in Page(render(Report("t", "", LABELS, histogram=scores))).words()


def test_curves_run_through_their_points():
    html = render(Report("t", "", LABELS, curves=(curve(),), prevalence=0.25))
    chart = html[html.index('aria-label="Precision over recall') :]
    drawn = [
        np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", path), float)
        for path, color in re.findall(r'<path d="([^"]*)"[^>]*stroke: (#\w+)', chart[: chart.index("</svg>")])
        if color == "#d6249f"
    ]
    (line,) = drawn  # from (0, 1) to (1, 0.5) in a box with its origin at the bottom left
    frame = np.array([0.84 * 4.3, -0.865 * 3.7 / 1.005]) * 72
    np.testing.assert_allclose(line[-1] - line[0], frame * [1, -0.5], atol=0.01)


def test_a_point_per_pixel_does_not_swell_the_page():
    n = 100_000
    jagged = 0.9 - 0.3 * np.linspace(0, 1, n) + np.random.default_rng(0).normal(0, 0.0003, n)
    long = dataclasses.replace(curve(n=n), precision=jagged)
    assert len(render(Report("t", "", LABELS, curves=(long,)))) < 200_000


def test_charts_take_the_colours_of_the_page_and_are_described(page, html):
    charts = [attrs for attrs in page.all("svg") if "role" in attrs]
    assert len(charts) == 3 and all(attrs["role"] == "img" and attrs["aria-label"] for attrs in charts)
    assert "currentColor" in html and "#010203" not in html
    assert "#000000" not in re.sub(r"background:#000000", "", html)
    assert "prefers-color-scheme: dark" in html and "@media print" in html
    assert page.all("html")[0]["lang"] == "en"


def test_a_heat_map_has_a_cell_for_every_value():
    values = np.array([[0.25, 0.5], [math.nan, 0.75]])
    report = Report("t", "", LABELS, heat_map=HeatMap(("sky", EVIL), ("before", "+ cow"), values))
    page = Page(render(report))
    assert [t for t in page.text if re.fullmatch(r"0\.\d\d", t)] == ["0.25", "0.50", "0.75"]
    assert page.text.count("+ cow") == 1 and "IoU as classes are learned" in page.words()
    (chart,) = [attrs for attrs in page.all("svg") if "role" in attrs]
    assert "sky 0.25, 0.50" in chart["aria-label"] and f"{EVIL} none yet, 0.75" in chart["aria-label"]
    with pytest.raises(OwsegError, match="a heat map of 2x1 needs as many values, not"):
        render(dataclasses.replace(report, heat_map=HeatMap(("sky", "road"), ("before",), values)))


def test_a_scatter_plot_has_a_dot_for_every_point_and_a_ring():
    points = np.random.default_rng(0).normal(size=(40, 2))
    names = np.array(["sky"] * 15 + [EVIL] * 25)

    def dots(**options):
        html = render(Report("t", "", LABELS, scatter=Scatter(points, names, **options)))
        return html.count("<use "), html.count("stroke: #d6249f"), Page(html)

    plain, ringed = dots(), dots(ringed=(EVIL,))
    assert plain[0] == ringed[0] == 40 and ringed[1] == plain[1] + 1
    assert plain[2].text.count("sky") == 1 and "Embedding of the classes" in plain[2].words()
    with pytest.raises(OwsegError, match="40 points need as many names, not 3"):
        render(Report("t", "", LABELS, scatter=Scatter(points, names[:3])))

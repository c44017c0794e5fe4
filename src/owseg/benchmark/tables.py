"""The results of a benchmark as rows, and the rows as CSV, Markdown and LaTeX: pure functions."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import numpy as np

from owseg._files import csv_cell
from owseg.metrics.pixel import PRECISION

DASH = "–"


NOTE = (
    "Pooled: the pixels of all images together; per image: the mean of the metrics of each image, over images that "
    "show both known and unknown pixels; FPR95 at the first recall of .95; void is ignored. Components as "
    "SegmentMeIfYouCan defines them, at the threshold of the best pixel F1. The thresholds TPR95, FPR5 and best F1 are "
    "found on the images measured, which is optimistic; the calibrated one is not. A dash is a metric that is not "
    "defined: no unknown pixel, no named class, no calibrated threshold. Published metrics are those of the source "
    "named."
)


@dataclass(frozen=True)
class Published:
    """The metrics that a paper reports of a model and a score on a data set, by the key of a column, and the source."""

    data: str
    model: str
    scorer: str
    source: str
    metrics: Mapping[str, float] = field(hash=False)


@dataclass(frozen=True)
class Row:
    """One model, one score, one data set: a metric in [0, 1] for every column, None where it is not defined.

    ``images`` is their number, None for what was published and not measured here. ``bounds`` has intervals, by the key
    of the column, that certainly contain the exact value of a metric.
    """

    data: str
    model: str
    scorer: str
    images: int | None
    metrics: Mapping[str, float | None] = field(hash=False)
    published: tuple[Published, ...] = ()
    bounds: Mapping[str, Sequence[float]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Column:
    """A metric: its key, the protocol it belongs to, its title there, and how it is read from ``MapMetrics.to_json``.

    ``read`` is called with all metrics and with those of the score.
    """

    key: str
    group: str
    title: str
    read: Callable[[Mapping[str, Any], Mapping[str, Any]], float | None]


def _pooled(key: str) -> Column:
    title = key.upper()
    return Column(key, "pooled", title, lambda metrics, score: score["pixel"][key])


def _per_image(key: str) -> Column:
    def read(metrics: Mapping[str, Any], score: Mapping[str, Any]) -> float | None:
        # Null where an image has no outlier or no inlier: the mean is over the others, as DMLNet takes it.
        own = [image["pixel"][key] for image in score["images"] if image["pixel"][key] is not None]
        return float(np.mean(own)) if own else None

    return Column(f"image_{key}", "per image", key.upper(), read)


def _at(place: str, point: str, metric: str, key: str, group: str, title: str) -> Column:
    # A point that is not defined is absent, and a metric that is not is null.
    return Column(key, group, title, lambda metrics, score: score[place].get(point, {}).get(metric))


def _fpr(key: str, metric: str) -> Column:
    def read(metrics: Mapping[str, Any], score: Mapping[str, Any]) -> float | None:
        value: float | None = score["achieved"] and score["achieved"][metric]
        return value

    return Column(key, "FPR, calibrated", metric if metric == "asked" else "achieved", read)


COLUMNS: tuple[Column, ...] = (
    *(_pooled(key) for key in ("auroc", "ap", "fpr95")),
    *(_per_image(key) for key in ("auroc", "ap", "fpr95")),
    _at("components", "best_f1", "siou", "siou", "components", "sIoU"),
    _at("components", "best_f1", "ppv", "ppv", "components", "PPV"),
    _at("components", "best_f1", "f1", "f1", "components", "F1"),
    _at("open", "tpr95", "miou", "open_miou_tpr95", "open-mIoU", "TPR95"),
    _at("open", "fpr5", "miou", "open_miou_fpr5", "open-mIoU", "FPR5"),
    _at("open", "best_f1", "miou", "open_miou_best_f1", "open-mIoU", "best F1"),
    _at("open", "calibrated", "miou", "open_miou_calibrated", "open-mIoU", "calibrated"),
    Column("miou", "closed", "mIoU", lambda metrics, score: metrics["closed_miou"]),
    _fpr("fpr_asked", "asked"),
    _fpr("fpr_achieved", "pooled"),
)
"""The metrics of a row, in the order of the tables."""


KEYS = tuple(column.key for column in COLUMNS)


def columns_of(metrics: Mapping[str, Any], scorer: str) -> dict[str, float | None]:
    """Return a row's metrics from ``MapMetrics.to_json`` and the name of a score."""
    return {column.key: column.read(metrics, metrics["scores"][scorer]) for column in COLUMNS}


def bounds_of(metrics: Mapping[str, Any], scorer: str) -> dict[str, Sequence[float]]:
    """Return the intervals of a row's pooled metrics, from ``MapMetrics.to_json`` and the name of a score."""
    return dict(metrics["scores"][scorer]["pixel"]["bounds"] or {})


def cells(row: Row, keys: Iterable[str] = KEYS, dash: str = DASH) -> list[str]:
    """Return a row's metrics ``keys`` as text with three decimals, or ``dash`` where not defined.

    A metric that is known to less than ``PRECISION`` is shown as its interval, "low to high".
    """

    def cell(key: str) -> str:
        value = row.metrics[key]
        if value is None:
            return dash
        low, high = row.bounds.get(key, (value, value))
        return f"{value:.3f}" if high - low <= PRECISION else f"{low:.3f} to {high:.3f}"

    return [cell(key) for key in keys]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Return the mean ± the standard deviation of what is not NaN, the one value, or a dash."""
    defined = [value for value in values if not np.isnan(value)]
    if len(defined) < 2:
        return f"{defined[0]:.{digits}f}" if defined else DASH
    return f"{np.mean(defined):.{digits}f} ± {np.std(defined):.{digits}f}"


def to_csv(rows: Iterable[Row]) -> str:
    """Return one line a row with all digits; what is not defined is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["data", "model", "scorer", "images", *(c.key for c in COLUMNS), "published", "source"])
    for row in rows:
        numbers = ["" if (v := row.metrics[c.key]) is None else repr(v) for c in COLUMNS]
        published = "; ".join(f"{key}={value!r}" for p in row.published for key, value in p.metrics.items())
        sources = "; ".join(p.source for p in row.published)
        count = "" if row.images is None else row.images
        texts = (csv_cell(text) for text in (row.data, row.model, row.scorer))
        writer.writerow([*texts, count, *numbers, csv_cell(published), csv_cell(sources)])
    return text.getvalue()


def to_markdown(rows: Sequence[Row], about: Mapping[str, Any], images: Mapping[str, Sequence[str]]) -> str:
    """Return a table a data set, with three decimals, and its images: paths relative to the page, by data set."""
    titles = [f"{c.group} {c.title}" for c in COLUMNS]
    lines = ["# Benchmark", "", *([NOTE, ""] if rows else [])]
    if about["left_out"]:
        lines += [f"Left out: {for_markdown('; '.join(about['left_out']))}.", ""]
    for data, card in about["data"].items():
        resized = f", resized to {card['resize'][0]}x{card['resize'][1]}" if card["resize"] else ""
        skipped = f", {len(card['skipped'])} skipped" if card["skipped"] else ""
        lines += [
            f"## {for_markdown(data)}",
            "",
            f"{for_markdown(card['name'])}, {card['images']} images{skipped}{resized}.",
            "",
        ]
        of_data = [row for row in rows if row.data == data]
        if not of_data:  # classes were learned on it, nothing else
            continue
        lines += [line(["model", "score", *titles, "published"])]
        lines += [line(["---", "---", *["---:"] * len(titles), "---"])]
        for row in of_data:
            published = "<br>".join(for_markdown(_cited(p)) for p in row.published) or DASH
            lines.append(line([for_markdown(row.model), for_markdown(row.scorer), *cells(row), published]))
        lines += ["", *(f"![{for_markdown(_stem(p))}]({quote(p)})" for p in images.get(data, ())), ""]
    return "\n".join(lines)


def to_latex(rows: Sequence[Row]) -> str:
    """Return a ``table*`` a data set for a paper that loads booktabs and graphicx."""
    groups = [c.group for c in COLUMNS]
    spans = [(g, groups.count(g)) for g in dict.fromkeys(groups)]
    over = " & ".join(rf"\multicolumn{{{n}}}{{c}}{{{for_latex(g)}}}" for g, n in spans)
    starts = np.cumsum([3, *(n for _, n in spans)]).tolist()
    rules = " ".join(rf"\cmidrule(lr){{{a}-{b - 1}}}" for a, b in pairwise(starts))
    titles = " & ".join(for_latex(c.title) for c in COLUMNS)
    lines = [r"% \usepackage{booktabs,graphicx}"]
    for data in dict.fromkeys(row.data for row in rows):
        body = [
            " & ".join([for_latex(row.model), for_latex(row.scorer), *cells(row, dash="--"), _all_cited(row)])
            for row in rows
            if row.data == data
        ]
        lines += [
            r"\begin{table*}", r"\centering", rf"\caption{{{for_latex(data)}. {for_latex(NOTE)}}}",
            r"\resizebox{\textwidth}{!}{%", rf"\begin{{tabular}}{{ll{'r' * len(COLUMNS)}l}}", r"\toprule",
            rf" & & {over} & \\", rules, rf"model & score & {titles} & published \\", r"\midrule",
            *(rf"{text} \\" for text in body), r"\bottomrule", r"\end{tabular}}", r"\end{table*}", "",
        ]  # fmt: skip
    return "\n".join(lines)


def _cited(p: Published) -> str:
    titles = {c.key: c.title if c.group == "pooled" else f"{c.group} {c.title}" for c in COLUMNS}
    return f"{', '.join(f'{titles[key]} {value:.3f}' for key, value in p.metrics.items())} ({p.source})"


def _all_cited(row: Row) -> str:
    return for_latex("; ".join(map(_cited, row.published)))


def _stem(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".png")


def line(cells: Iterable[str]) -> str:
    """Return a row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def for_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, in a table too."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def for_latex(text: str) -> str:
    """Return text that LaTeX shows as it is."""
    words = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}",
             "<": r"\textless{}", ">": r"\textgreater{}", DASH: "--"}  # fmt: skip
    return "".join(words.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in " ".join(text.split()))

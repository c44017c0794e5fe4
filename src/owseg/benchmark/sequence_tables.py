"""The results of sequences as CSV, Markdown and LaTeX: pure functions."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from owseg._files import csv_cell
from owseg.benchmark.sequences import COLUMNS, NOTE, SequenceResult
from owseg.benchmark.tables import DASH, for_latex, for_markdown, line

Table: TypeAlias = tuple[str, tuple[str, ...], list[tuple[str, ...]]]
"""(title, header, rows) of text, as ``SequenceResult.tables`` returns them."""


def sequences_to_csv(sequences: Iterable[SequenceResult]) -> str:
    """Return one line a run and step with all digits, then the IoU of the class learned in it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sequence", "network", "draw", "method", "shots", "seconds", "step", "class", "iou", *COLUMNS])
    for result in sequences:
        for run in result.runs:
            for step, (name, after) in enumerate(zip(result.sequence.order, run["steps"], strict=True), 1):
                values = ["" if (v := after.get(key)) is None else repr(v) for key in COLUMNS]
                of_run = (run["network"], run["draw"], csv_cell(run["learner"]), run["shots"], f"{run['seconds']:.3f}")
                iou = after["iou"][name]
                shown = "" if iou is None else repr(iou)
                writer.writerow([csv_cell(result.sequence.name), *of_run, step, csv_cell(name), shown, *values])
    return text.getvalue()


def sequences_to_markdown(tables: Sequence[Table]) -> str:
    """Return a table for each number of classes learned, or nothing without a sequence."""
    lines = ["", "## Learning", "", NOTE, ""] if tables else []
    for title, header, rows in tables:
        lines += [f"**{for_markdown(title)}**", "", line(map(for_markdown, header))]
        lines += [line(["---", *["---:"] * (len(header) - 1)])]
        lines += [*(line(map(for_markdown, row)) for row in rows), ""]
    return "\n".join(lines)


def sequences_to_latex(tables: Sequence[Table]) -> str:
    """Return a ``table*`` for each number of classes learned, for a paper that loads booktabs and graphicx."""
    lines: list[str] = []
    for title, header, rows in tables:
        body = [" & ".join(for_latex(cell).replace(DASH, "--").replace("±", r"$\pm$") for cell in row) for row in rows]
        lines += [
            r"\begin{table*}", r"\centering", rf"\caption{{{for_latex(title)}. {for_latex(NOTE)}}}",
            r"\resizebox{\textwidth}{!}{%", rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}", r"\toprule",
            " & ".join(map(for_latex, header)) + r" \\", r"\midrule",
            *(rf"{row} \\" for row in body), r"\bottomrule", r"\end{tabular}}", r"\end{table*}", "",
        ]  # fmt: skip
    return "\n".join(lines)

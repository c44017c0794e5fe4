"""The metrics of a table's rows: how they are kept, how long a score takes, and a line for several data sets."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isnan, nan
from pathlib import Path
from typing import Any

import torch

from owseg._files import write_whole
from owseg.data.dataset import DataSet, spread_over
from owseg.types import ImageScorer
from recipes.papers.table import Row, Table

Metrics = dict[str, float]
TITLES = {"ap": "AP", "auroc": "AUROC", "fpr95": "FPR95", "miou": "mIoU", "ms": "ms"}


def slug(name: str) -> str:
    """Return a name in the letters of a file's name: "MSP + CRF" is msp-crf."""
    return re.sub(r"\W+", "-", name.lower()).strip("-")


def read_metrics(folder: Path, row: Row) -> dict[str, Metrics]:
    """Return the metrics of a row by name of the data, none where they are not in ``folder``."""
    path = folder / f"{slug(row.name)}.json"
    found: dict[str, dict[str, float | None]] = json.loads(path.read_text()) if path.exists() else {}
    return {data: {k: nan if v is None else v for k, v in m.items()} for data, m in found.items()}


def write_metrics(folder: Path, row: Row, metrics: dict[str, Metrics]) -> None:
    """Keep the metrics of a row in ``folder``; what is undefined is null."""
    shown = {data: {k: None if isnan(v) else v for k, v in m.items()} for data, m in metrics.items()}
    write_json(folder / f"{slug(row.name)}.json", shown)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` into a file, in a folder that is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, f"{json.dumps(value, indent=1)}\n".encode())


@contextmanager
def core_minutes(path: Path) -> Iterator[None]:
    """Keep in ``path`` how many core-minutes of this process what is inside takes."""
    started = time.process_time()
    yield
    write_json(path, {"core_minutes": (time.process_time() - started) / 60})


def read_minutes(folder: Path) -> list[list[str]]:
    """Return what was trained, by name, and in how many core-minutes, as lines of text."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    return [[name, f"{value['core_minutes']:.1f}"] for name, value in found.items()]


def milliseconds(score: ImageScorer, data: DataSet, most: int = 5) -> float:
    """Return the median time in ms that ``score`` takes of one core of a CPU, for up to ``most`` images of ``data``.

    It is the processor's, not the clock's, so that what else runs there counts less.
    """
    threads, taken = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for sample in spread_over(data, most):
            started = time.process_time()
            score(sample.image)
            taken.append(1000 * (time.process_time() - started))
    finally:
        torch.set_num_threads(threads)
    return sorted(taken)[len(taken) // 2]


def side_by_side(table: Table, rows: Sequence[tuple[Row, dict[str, Metrics]]]) -> tuple[list[str], list[list[str]]]:
    """Return header and lines of a table without published metrics: one line a row, its metrics on each data set."""
    titles = " / ".join(TITLES.get(metric, metric) for metric in table.metrics)
    header = ["row", *(f"{data}: {titles}" for data in table.data), "trained"]
    lines = []
    for row, found in rows:
        name = f"{row.name} (needs {row.needs})" if row.needs and not found else row.name
        cells = (" / ".join(value_text(found.get(d, {}).get(m), m) for m in table.metrics) for d in table.data)
        lines.append([name, *cells, row.trained])
    return header, lines


def value_text(value: float | None, metric: str) -> str:
    """Return a metric in percent with one decimal, or whole milliseconds; a dash where there is none."""
    if value is None or isnan(value):
        return "–"
    return f"{value:.0f}" if metric == "ms" else f"{100 * value:.1f}"

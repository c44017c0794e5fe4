"""What the tests of benchmarks share."""

from __future__ import annotations

from collections.abc import Mapping

from owseg.benchmark.results import Results

NAMES = ("road", "sky")
"""The classes that the knowledge base knows."""


def rows_of(results: Results, data: str) -> dict[str, Mapping[str, float | None]]:
    """Return the metrics of a data set by the name of the score."""
    return {row.scorer: row.metrics for row in results.rows if row.data == data}

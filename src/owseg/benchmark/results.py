"""The results of a benchmark: a row for each model, score and data set, and the files they are written to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from owseg import __version__
from owseg._files import write_whole
from owseg.benchmark._kept import file_name, json_bytes
from owseg.benchmark.recipe import Recipe
from owseg.benchmark.sequence_tables import sequences_to_csv, sequences_to_latex, sequences_to_markdown
from owseg.benchmark.sequences import BRIEF as BRIEF_SEQUENCE
from owseg.benchmark.sequences import SequenceResult
from owseg.benchmark.tables import COLUMNS, Published, Row, cells, to_csv, to_latex, to_markdown

BRIEF = {"auroc": "AUROC", "ap": "AP", "fpr95": "FPR95", "f1": "F1", "open_miou_calibrated": "open-mIoU, calibrated"}
"""The columns of the tables for the terminal."""


@dataclass(frozen=True)
class Results:
    """The rows, data set by data set, ``about`` the models and data measured, as plain JSON, and the ``sequences``."""

    rows: tuple[Row, ...] = field(repr=False)
    about: dict[str, Any] = field(hash=False)
    sequences: tuple[SequenceResult, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON; what is undefined is null."""
        titles = {column.key: f"{column.group} {column.title}".strip() for column in COLUMNS}
        sequences = {"sequences": {s.sequence.name: s.to_json() for s in self.sequences}} if self.sequences else {}
        return {**self.about, "columns": titles, "rows": [asdict(row) for row in self.rows], **sequences}

    def tables(self) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
        """Return (title, header, rows) of text, for people: the main metrics of what was measured here."""
        tables = []
        for data in dict.fromkeys(row.data for row in self.rows):
            own = [row for row in self.rows if row.data == data and row.images]  # without what was only published
            rows = [(row.model, row.scorer, *cells(row, BRIEF)) for row in own]
            tables.append((data, ("model", "scorer", *BRIEF.values()), rows))
        return [*tables, *(table for sequence in self.sequences for table in sequence.tables(BRIEF_SEQUENCE, 2))]

    def write(self, out: Path) -> None:
        """Write results.json, .csv, .md and .tex into ``out``; the Markdown shows the plots that are there."""
        plots = {
            data: sorted(p.relative_to(out).as_posix() for p in (out / "images" / file_name(data)).glob("*.png"))
            for data in self.about["data"]
        }
        write_whole(out / "results.json", json_bytes(self.to_json()))
        write_whole(out / "results.csv", to_csv(self.rows).encode())
        learned = [table for sequence in self.sequences for table in sequence.tables()]
        page = to_markdown(self.rows, self.about, plots) + sequences_to_markdown(learned)
        write_whole(out / "results.md", page.encode())
        write_whole(out / "results.tex", (to_latex(self.rows) + sequences_to_latex(learned)).encode())
        if self.sequences:
            write_whole(out / "sequences.csv", sequences_to_csv(self.sequences).encode())


def published_for(recipe: Recipe, data: str, model: str, scorer: str) -> tuple[Published, ...]:
    """Return what was published of a model and a score on a data set, all by name."""
    return tuple(p for p in recipe.published if (p.data, p.model, p.scorer) == (data, model, scorer))


def published_only_rows(recipe: Recipe, rows: Iterable[Row]) -> list[Row]:
    """Return rows for published metrics of models and scores that were not measured."""
    shown = [p for row in rows for p in row.published]
    left = [p for p in recipe.published if p not in shown]
    return [Row(p.data, p.model, p.scorer, None, dict.fromkeys((c.key for c in COLUMNS), None), (p,)) for p in left]


def about(
    recipe: Recipe, data_cards: Mapping[str, Mapping[str, Any]], fingerprints: Mapping[str, str]
) -> dict[str, Any]:
    """Return what was measured, as plain JSON.

    ``data_cards`` says of each data set what it was when it was opened; ``fingerprints`` are those of the knowledge
    bases, both by name in the recipe.
    """
    data = {
        d.name: {"spec": d.spec, "split": d.split, "resize": d.resize, "track": d.track, **data_cards[d.name]}
        for d in recipe.data
        if d.name in data_cards
    }
    models = {
        m.name: {
            "kb": m.kb,
            "fingerprint": fingerprints[m.name],
            "fit_on": m.fit_on,
            "calibrate_on": m.calibrate_on,
            "options": m.options,
        }
        for m in recipe.models
        if m.name in fingerprints
    }
    return {
        "owseg": __version__,
        "seed": recipe.seed,
        "models": models,
        "data": data,
        "left_out": list(recipe.left_out),
    }

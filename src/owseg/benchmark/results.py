"""The results of a benchmark: rows, what was measured, and the files they are written to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from owseg import __version__
from owseg._files import write_whole
from owseg.benchmark._kept import _file, _json
from owseg.benchmark.recipe import Data, Model, Recipe
from owseg.benchmark.tables import COLUMNS, Published, Row, cells, to_csv, to_latex, to_markdown
from owseg.knowledge.base import KnowledgeBase
from owseg.openset import Threshold


@dataclass(frozen=True)
class Results:
    """The rows, data set by data set, and ``about``: what was measured, as plain JSON."""

    rows: tuple[Row, ...]
    about: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON; what is undefined is null."""
        titles = {column.key: f"{column.group} {column.title}".strip() for column in COLUMNS}
        return {**self.about, "columns": titles, "rows": [asdict(row) for row in self.rows]}

    def tables(self) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
        """Return (title, header, rows) of text, for people: the figures asked for most, of what was measured here."""
        titles = {"auroc": "AUROC", "ap": "AP", "fpr95": "FPR95", "f1": "F1"}
        titles["open_miou_calibrated"] = "open-mIoU, calibrated"
        tables = []
        for data in dict.fromkeys(row.data for row in self.rows):
            own = [row for row in self.rows if row.data == data and row.images]
            rows = [(row.model, row.scorer, *cells(row, titles)) for row in own]
            tables.append((data, ("model", "scorer", *titles.values()), rows))
        return tables


def _other(recipe: Recipe, data: Data, model: Model, scorer: str) -> tuple[Published, ...]:
    wanted = (data.name, model.name, scorer)
    return tuple(p for p in recipe.published if (p.data, p.model, p.scorer) == wanted)


def _strangers(recipe: Recipe, rows: Iterable[Row]) -> list[Row]:
    """Return rows for what was published of models and scores that were not measured."""
    shown = [p for row in rows for p in row.published]
    left = [p for p in recipe.published if p not in shown]
    return [Row(p.data, p.model, p.scorer, None, dict.fromkeys((c.key for c in COLUMNS), None), (p,)) for p in left]


def _about(
    recipe: Recipe, cards: dict[str, Any], ready: Mapping[str, tuple[KnowledgeBase, dict[str, Threshold]]]
) -> dict[str, Any]:
    settings = {
        d.name: {"spec": d.spec, "split": d.split, "resize": d.resize, "track": d.track, **cards[d.name]}
        for d in recipe.data
        if d.name in cards
    }
    models = {
        m.name: {
            "kb": m.kb,
            "fingerprint": ready[m.name][0].fingerprint(),
            "fit_on": m.fit_on,
            "calibrate_on": m.calibrate_on,
        }
        for m in recipe.models
        if m.name in ready
    }
    left_out = list(recipe.left_out)
    return {"owseg": __version__, "seed": recipe.seed, "models": models, "data": settings, "left_out": left_out}


def _write(results: Results, out: Path) -> None:
    images = {
        data: sorted(p.relative_to(out).as_posix() for p in (out / "images" / _file(data)).glob("*.png"))
        for data in results.about["data"]
    }
    write_whole(out / "results.json", _json(results.to_json()))
    write_whole(out / "results.csv", to_csv(results.rows).encode())
    write_whole(out / "results.md", to_markdown(results.rows, results.about, images).encode())
    write_whole(out / "results.tex", to_latex(results.rows).encode())

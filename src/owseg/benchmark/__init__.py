"""A benchmark: models x scorers x data sets, from a recipe to tables and pictures; it goes on where it was stopped.

    OUT/fitted/MODEL-DIGEST/        knowledge bases with what the recipe had fitted
    OUT/thresholds/MODEL-DIGEST.json
    OUT/maps/DATA/MODEL/            see ``owseg.maps``: these cost the time, all else is computed from them
    OUT/figures/DATA.MODEL.json     all figures of a folder of maps, those of every picture too
    OUT/pictures/DATA/MODEL.*.png   see ``owseg.benchmark.pictures``
    OUT/results.{json,csv,md,tex}   see ``owseg.benchmark.tables``

What is kept names the digests of what it was made from, so a change of model, data or recipe is noticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
from PIL import Image

from owseg import __version__, store
from owseg.baselines import dense_crf, mc_dropout
from owseg.benchmark.pictures import draw, missing
from owseg.benchmark.recipe import ALL, TRACKS, Data, Model, Recipe, read_recipe
from owseg.benchmark.tables import COLUMNS, Published, Row, cells, columns_of, to_csv, to_latex, to_markdown
from owseg.calibration import data_card, find_threshold, with_baselines
from owseg.data import DataSet, open_dataset, spread_over
from owseg.errors import OwsegError
from owseg.evaluation import store_maps
from owseg.files import write_whole
from owseg.knowledge import KnowledgeBase, load
from owseg.learners.shots import Look, remember
from owseg.measure import measure
from owseg.openset import Threshold
from owseg.types import Output, PictureScorer

__all__ = ["Data", "Model", "Recipe", "Results", "read_recipe", "run"]

BESIDE: dict[str, Callable[[KnowledgeBase, int], PictureScorer]] = {
    "mc_dropout": lambda kb, seed: mc_dropout(kb, seed=seed),
    "dense_crf": lambda kb, seed: dense_crf(kb),
}
"""Scores of pictures that a recipe may name besides a knowledge base's own; "all" leaves them out, they are slow."""

T = TypeVar("T")


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
            own = [row for row in self.rows if row.data == data and row.pictures]
            rows = [(row.model, row.scorer, *cells(row, titles)) for row in own]
            tables.append((data, ("model", "scorer", *titles.values()), rows))
        return tables


def run(recipe: Recipe, out: str | Path, workers: int = 1, say: Callable[[str], None] = lambda line: None) -> Results:
    """Measure what ``recipe`` asks for, write everything below ``out`` and return the results.

    What is there already is not redone. Metrics are taken in ``workers`` processes; ``say`` is told what comes next.
    The same recipe gives the same digits. Raises ``OwsegError`` for a model or data that cannot be opened, before
    anything is computed, and for maps in ``out`` of anything else.
    """
    out = Path(out)
    models = [(m, _told(f"models.{m.name}.kb", load, m.kb)) for m in recipe.models]
    for model, kb in models:
        _scorers(model, kb)
    pairs = [(d, m, kb, _opened(d, kb)) for d in recipe.data for m, kb in models if not m.data or d.name in m.data]
    if not pairs:
        raise OwsegError("the recipe pairs no model with any data; name data sets that it has in models.NAME.data.")
    ready: dict[str, tuple[KnowledgeBase, dict[str, Threshold]]] = {}
    rows: list[Row] = []
    cards: dict[str, Any] = {}
    for number, (data, model, base, frames) in enumerate(pairs, 1):
        say(f"{model.name} on {data.name} ({number} of {len(pairs)})")
        if warning := _squeezed(data, frames):
            say(warning)
        if model.name not in ready:
            fitted = _fitted(model, base, out)
            ready[model.name] = fitted, _thresholds(model, fitted, recipe.fpr, out)
        kb, thresholds = ready[model.name]
        figures = _measured(model, data, kb, frames, thresholds, recipe.seed, workers, out)
        card = {"pictures": len(frames), "name": frames.source.name, "fingerprints": {}}
        cards.setdefault(data.name, card)["fingerprints"][model.name] = figures["manifest"]["data"]
        for scorer in figures["manifest"]["scores"]:
            values = columns_of(figures, scorer)
            rows.append(Row(data.name, model.name, scorer, len(frames), values, _other(recipe, data, model, scorer)))
    results = Results((*rows, *_strangers(recipe, rows)), _about(recipe, cards, ready))
    _write(results, out)
    return results


def _told(key: str, work: Callable[..., T], *args: Any) -> T:
    """Return ``work(*args)``; what goes wrong is told with the key of the recipe."""
    try:
        return work(*args)
    except OwsegError as error:
        raise OwsegError(f"{key}: {error}") from None


def _scorers(model: Model, kb: KnowledgeBase) -> tuple[str, ...]:
    """Return the names of the scorers to ask for; refuse one that there is not."""
    own = [n for n in kb.scorers() if n not in model.fit] + list(model.fit)
    every = [n for name in model.scorers for n in (own if name == ALL else [name])]
    if strange := [n for n in every if n not in own and n not in BESIDE]:
        has = ", ".join([*own, *BESIDE])
        raise OwsegError(f"models.{model.name}.scorers: there is no score {strange[0]!r}; it has {has}.")
    return tuple(dict.fromkeys(every))


def _opened(data: Data, kb: KnowledgeBase) -> DataSet:
    key = f"data.{data.name}.spec"
    frames = _told(key, open_dataset, data.spec, data.split, kb.labels)
    if not len(frames):
        raise OwsegError(f"{key}: the split {data.split} of {data.spec} holds no picture.")
    return spread_over(frames, data.most) if data.most else frames


def _fitted(model: Model, kb: KnowledgeBase, out: Path) -> KnowledgeBase:
    if not model.fit:
        return kb
    key = f"models.{model.name}.fit_on"
    data = _told(key, partial(open_dataset, train=True), model.fit_on, "train", kb.labels)
    of = _digest(__version__, kb.fingerprint(True), data.fingerprint(), model.fit)
    place = out / "fitted" / f"{_file(model.name)}-{of}"
    if not store.holds(place):
        _told(key, with_baselines, kb, data, model.fit).save(place)
    return load(place)


def _thresholds(model: Model, kb: KnowledgeBase, fpr: float, out: Path) -> dict[str, Threshold]:
    """Return the thresholds of the scorers asked for that have one."""
    own = _scorers(replace(model, fit=()), kb)
    if not model.calibrate_on:
        return {kb.scorer: kb.threshold} if kb.threshold and kb.scorer in own else {}
    key = f"models.{model.name}.calibrate_on"
    data = _told(key, open_dataset, model.calibrate_on, "val", kb.labels)
    of = _digest(__version__, kb.fingerprint(), data.fingerprint(), own, fpr)
    place = out / "thresholds" / f"{_file(model.name)}-{of}.json"
    kept = _kept(place, of)
    if kept is None:
        look = remember(kb.forward)
        found = {n: _told(key, find_threshold, kb, data, fpr, "quantile", n, look) for n in own if n not in BESIDE}
        kept = {"on": data_card(data), "thresholds": {name: t.to_json() for name, t in found.items()}}
        write_whole(place, _json({"of": of, **kept}))
    return {name: Threshold.from_json(value) for name, value in kept["thresholds"].items()}


def _measured(
    model: Model,
    data: Data,
    kb: KnowledgeBase,
    frames: DataSet,
    thresholds: Mapping[str, Threshold],
    seed: int,
    workers: int,
    out: Path,
) -> dict[str, Any]:
    """Return all figures of a pair as JSON, having stored maps, figures and pictures."""
    names = _scorers(replace(model, fit=()), kb)
    look: Look = kb.forward if data.resize is None else partial(_looked, kb.forward, data.resize)
    beside = {name: _seen_at(data.resize, BESIDE[name](kb, seed)) for name in names if name in BESIDE}
    settings = {"resize": data.resize and list(data.resize), **({"seed": seed} if beside else {})}
    place = out / "maps" / _file(data.name) / _file(model.name)
    folder = store_maps(kb, frames, place, names, look, settings, beside)
    sizes = TRACKS[data.track]
    calibrated = {name: t.to_json() for name, t in thresholds.items()}
    of = _digest(__version__, folder.manifest.to_json(), calibrated, asdict(sizes))
    kept = out / "figures" / f"{_file(data.name)}.{_file(model.name)}.json"
    stem = out / "pictures" / _file(data.name) / _file(model.name)
    figures = _kept(kept, of)
    fresh = figures is None
    if figures is None:
        figures = measure(place, thresholds, sizes, workers).to_json()
    if fresh or missing(stem):
        draw(folder, frames, stem, f"{model.name} on {frames.source.name}", thresholds, seed)
    if fresh:  # last, as it says that all is done
        write_whole(kept, _json({"of": of, **figures}))
    return figures


def _squeezed(data: Data, frames: DataSet) -> str | None:
    """Return what is to be said where ``resize`` changes the shape of the pictures, going by the first."""
    if data.resize is None:
        return None
    (height, width), (high, wide) = frames[0].image.shape[1:], data.resize
    if abs(np.log(wide / high * height / width)) < 0.05:
        return None
    return (
        f"  data.{data.name}.resize: pictures of {height}x{width} are squeezed into {high}x{wide} (height x width); "
        "another size would keep their shape."
    )


def _looked(look: Look, size: tuple[int, int], image: np.ndarray) -> Output:
    return look(_scaled(image, size))


def _seen_at(size: tuple[int, int] | None, scorer: PictureScorer) -> PictureScorer:
    """Return the scorer of the picture brought to ``size``."""
    return scorer if size is None else lambda image: scorer(_scaled(image, size))


def _scaled(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a picture (3, H, W) uint8 at ``size``: bilinear, over the area that a pixel covers."""
    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    scaled = np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


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
    pictures = {
        data: sorted(p.relative_to(out).as_posix() for p in (out / "pictures" / _file(data)).glob("*.png"))
        for data in results.about["data"]
    }
    write_whole(out / "results.json", _json(results.to_json()))
    write_whole(out / "results.csv", to_csv(results.rows).encode())
    write_whole(out / "results.md", to_markdown(results.rows, results.about, pictures).encode())
    write_whole(out / "results.tex", to_latex(results.rows).encode())


def _kept(path: Path, of: str) -> dict[str, Any] | None:
    """Return what a file holds; None if there is none, or it was made of anything else."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and value.pop("of", None) == of else None


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def _file(name: str) -> str:
    return quote(name, safe=" ")

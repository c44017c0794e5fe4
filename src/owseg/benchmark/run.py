"""A benchmark: models x scorers x data sets, from a recipe to tables and images; it goes on where it was stopped.

    OUT/fitted/MODEL-DIGEST/        knowledge bases with what the recipe had fitted
    OUT/thresholds/MODEL-DIGEST.json
    OUT/maps/DATA/MODEL/            see ``owseg.maps``: these cost the time, all else is computed from them
    OUT/figures/DATA.MODEL.json     all figures of a folder of maps, those of every image too
    OUT/images/DATA/MODEL.*.png   see ``owseg.benchmark.images``
    OUT/results.{json,csv,md,tex}   see ``owseg.benchmark.tables``

What is kept names the digests of what it was made from, so a change of model, data or recipe is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from owseg import __version__
from owseg._files import write_whole
from owseg.benchmark._kept import _digest, _file, _json, _kept
from owseg.benchmark.plots import draw, missing
from owseg.benchmark.recipe import ALL, TRACKS, Data, Model, Recipe
from owseg.benchmark.results import Results, _about, _other, _strangers, _write
from owseg.benchmark.tables import Row, columns_of
from owseg.data.dataset import DataSet, spread_over
from owseg.data.datasets import open_dataset
from owseg.errors import OwsegError
from owseg.evaluation.measure import measure
from owseg.evaluation.store_maps import store_maps
from owseg.image_scorers import IMAGE_SCORERS
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import data_card, find_threshold, fit_scorers
from owseg.knowledge.load import load
from owseg.knowledge.versions import has_version
from owseg.models.engine import CachedForward
from owseg.openset import Threshold
from owseg.types import Forward, ImageScorer, Output

T = TypeVar("T")


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
        card = {"images": len(frames), "name": frames.source.name, "fingerprints": {}}
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
    own = [n for n in kb.scorers if n not in model.fit] + list(model.fit)
    every = [n for name in model.scorers for n in (own if name == ALL else [name])]
    if strange := [n for n in every if n not in own and n not in IMAGE_SCORERS]:
        has = ", ".join([*own, *IMAGE_SCORERS])
        raise OwsegError(f"models.{model.name}.scorers: there is no score {strange[0]!r}; it has {has}.")
    return tuple(dict.fromkeys(every))


def _opened(data: Data, kb: KnowledgeBase) -> DataSet:
    key = f"data.{data.name}.spec"
    frames = _told(key, open_dataset, data.spec, data.split, kb.labels)
    if not len(frames):
        raise OwsegError(f"{key}: the split {data.split} of {data.spec} holds no image.")
    return spread_over(frames, data.most) if data.most else frames


def _fitted(model: Model, kb: KnowledgeBase, out: Path) -> KnowledgeBase:
    if not model.fit:
        return kb
    key = f"models.{model.name}.fit_on"
    data = _told(key, partial(open_dataset, train=True), model.fit_on, "train", kb.labels)
    of = _digest(__version__, kb.fingerprint(True), data.fingerprint(), model.fit)
    place = out / "fitted" / f"{_file(model.name)}-{of}"
    if not has_version(place):
        _told(key, fit_scorers, kb, data, model.fit).save(place)
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
        forward = CachedForward(kb.forward)
        found = {
            n: _told(key, find_threshold, kb, data, fpr, "quantile", n, forward) for n in own if n not in IMAGE_SCORERS
        }
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
    """Return all figures of a pair as JSON, having stored maps, figures and images."""
    names = _scorers(replace(model, fit=()), kb)
    forward: Forward = kb.forward if data.resize is None else partial(_looked, kb.forward, data.resize)
    beside = {
        name: _seen_at(data.resize, IMAGE_SCORERS[name].make(kb, seed)) for name in names if name in IMAGE_SCORERS
    }
    settings = {"resize": data.resize and list(data.resize), **({"seed": seed} if beside else {})}
    place = out / "maps" / _file(data.name) / _file(model.name)
    folder = store_maps(kb, frames, place, names, forward, settings, beside)
    sizes = TRACKS[data.track]
    calibrated = {name: t.to_json() for name, t in thresholds.items()}
    of = _digest(__version__, folder.manifest.to_json(), calibrated, asdict(sizes))
    kept = out / "figures" / f"{_file(data.name)}.{_file(model.name)}.json"
    stem = out / "images" / _file(data.name) / _file(model.name)
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
    """Return what is to be said where ``resize`` changes the shape of the images, going by the first."""
    if data.resize is None:
        return None
    (height, width), (high, wide) = frames[0].image.shape[1:], data.resize
    if abs(np.log(wide / high * height / width)) < 0.05:
        return None
    return (
        f"  data.{data.name}.resize: images of {height}x{width} are squeezed into {high}x{wide} (height x width); "
        "another size would keep their shape."
    )


def _looked(forward: Forward, size: tuple[int, int], image: np.ndarray) -> Output:
    return forward(_scaled(image, size))


def _seen_at(size: tuple[int, int] | None, scorer: ImageScorer) -> ImageScorer:
    """Return the scorer of the image brought to ``size``."""
    return scorer if size is None else lambda image: scorer(_scaled(image, size))


def _scaled(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return an image (3, H, W) uint8 at ``size``: bilinear, over the area that a pixel covers."""
    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    scaled = np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))

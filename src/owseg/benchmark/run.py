"""A benchmark: models x scorers x data sets, from a recipe to tables and plots. A run that was stopped is resumed.

    OUT/fitted/MODEL-DIGEST/        knowledge bases with the scorers that the recipe had fitted
    OUT/thresholds/MODEL-DIGEST.json
    OUT/maps/DATA/MODEL/            see ``owseg.evaluation.maps``: nearly all of the time goes into these
    OUT/metrics/DATA.MODEL.json     all metrics of a folder of maps, with those of each image
    OUT/images/DATA/MODEL.*.png     see ``owseg.benchmark.plots``
    OUT/sequences/NAME/             see ``owseg.benchmark.sequences``
    OUT/results.{json,csv,md,tex}   see ``owseg.benchmark.tables``

Each file names the digest of what it was computed from, so a change of model, data or recipe is detected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from owseg import __version__
from owseg.benchmark._checked import ALL, with_key
from owseg.benchmark._kept import digest_of, file_name, read_kept, write_kept
from owseg.benchmark.options import digests_of_files
from owseg.benchmark.plots import draw, plots_missing
from owseg.benchmark.recipe import TRACKS, Data, Model, Recipe
from owseg.benchmark.resizing import AtSize, at_size, distorts
from owseg.benchmark.results import Results, about, published_for, published_only_rows
from owseg.benchmark.sequences import measure_sequence, networks_of
from owseg.benchmark.tables import Row, bounds_of, columns_of
from owseg.data.cached import cached
from owseg.data.dataset import DataSet, Source, spread_over
from owseg.data.datasets import open_dataset
from owseg.data.points import points_to_sample
from owseg.errors import OwsegError, meant
from owseg.evaluation.histograms import score_histograms
from owseg.evaluation.maps import MapFolder
from owseg.evaluation.measure import measure
from owseg.evaluation.skipped import measured, unreadable, without
from owseg.evaluation.store_maps import make_scorers, store_maps
from owseg.image_scorers import IMAGE_SCORERS
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import data_card, find_threshold, fit_scorers
from owseg.knowledge.load import load
from owseg.knowledge.versions import has_version
from owseg.labels import IGNORE
from owseg.models.cache import CachedForward
from owseg.openset import Threshold
from owseg.scorers import plain_name
from owseg.types import ImageScorer

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Ready:
    """A model of the recipe ready to be measured: fitted, with the names of its scorers and the thresholds found.

    ``image_scorers`` are those of the scorers that read images, ``settings`` what they depend on.
    """

    kb: KnowledgeBase
    scorers: tuple[str, ...]
    thresholds: dict[str, Threshold]
    image_scorers: dict[str, ImageScorer]
    settings: dict[str, Any]


def run(
    recipe: Recipe,
    out: str | Path,
    workers: int = 1,
    report: Callable[[str], None] = lambda line: None,
    load: Callable[[str], KnowledgeBase] = load,
) -> Results:
    """Measure what ``recipe`` asks for, write everything below ``out`` and return the results.

    What is there already is not computed again. Metrics are computed by ``workers`` processes; ``report`` gets a line
    for each step and for each image that is skipped, as it or its mask cannot be read; ``load`` loads models. The same
    recipe gives the same digits. Raises ``OwsegError`` for a model or data that cannot be opened, data of which no
    image can be read, and a scorer that cannot be made, before anything is computed, and for maps in ``out`` of
    anything else.
    """
    out = Path(out)
    models = [(m, with_key(f"models.{m.name}.kb", load, m.kb)) for m in recipe.models]
    for model, kb in models:
        _check_scorers(model, kb, recipe.seed)  # what cannot be made is an error now, not when its turn comes
    learning = [(sequence, *networks_of(sequence, load)) for sequence in recipe.sequences]
    sources: Sources = {}
    skipped: dict[str, dict[str, str]] = {}
    pairs = [
        (data, model, kb, _opened(data, kb, sources, skipped))
        for data in recipe.data
        for model, kb in models
        if not model.data or data.name in model.data
    ]
    named = {data.name: data for data in recipe.data}
    tests = [_opened(named[sequence.data], kbs[0], sources, skipped) for sequence, kbs, _ in learning]
    if not pairs and not learning:
        raise OwsegError("the recipe pairs no model with any data; name data sets that it has in models.NAME.data.")
    ready: dict[str, Ready] = {}
    rows: list[Row] = []
    cards: dict[str, Any] = {}
    for why in (why for of_data in skipped.values() for why in of_data.values()):
        report(f"skipped: {why}")
    for number, (data, model, kb, images) in enumerate(pairs, 1):
        report(f"{model.name} on {data.name} ({number} of {len(pairs)})")
        if warning := _distortion(data, images):
            report(warning)
        if model.name not in ready:  # fitted and calibrated once for all data sets, and not before it is needed
            ready[model.name] = _prepared(model, kb, recipe, out, sources)
        metrics = _measured(model.name, data, ready[model.name], images, recipe.seed, workers, out)
        card = cards.setdefault(data.name, _card(images, skipped[data.name]))
        card["fingerprints"][model.name] = metrics["manifest"]["data"]
        for scorer in metrics["manifest"]["scores"]:
            published = published_for(recipe, data.name, model.name, scorer)
            values, bounds = columns_of(metrics, scorer), bounds_of(metrics, scorer)
            rows.append(Row(data.name, model.name, scorer, len(images), values, published, bounds))
    learned = []
    for (sequence, kbs, joint), images in zip(learning, tests, strict=True):
        cards.setdefault(sequence.data, _card(images, skipped[sequence.data]))
        shots = DataSet(_source(sequence.shots_data, sequence.shots_split, sources), kbs[0].labels)
        learned.append(measure_sequence(sequence, kbs, joint, shots, images, out, report))
    fingerprints = {name: model.kb.fingerprint() for name, model in ready.items()}
    results = Results((*rows, *published_only_rows(recipe, rows)), about(recipe, cards, fingerprints), tuple(learned))
    results.write(out)
    return results


def _card(images: DataSet, skipped: dict[str, str]) -> dict[str, Any]:
    return {"images": len(images), "skipped": skipped, "name": images.source.name, "fingerprints": {}}


def _scorers(model: Model, kb: KnowledgeBase) -> tuple[str, ...]:
    """Return the names of the scorers to measure; refuse one that ``kb`` will not have once the model is fitted.

    Options may follow a name; of all scorers the one in use has those that it is used with.
    """
    own = [name for name in kb.scorers if name not in model.fit] + list(model.fit)
    every = [n for name in model.scorers for n in ([*own, kb.scorer] if name == ALL else [name])]
    if wrong := [name for name in every if plain_name(name) not in own and name not in IMAGE_SCORERS]:
        names = [*own, *IMAGE_SCORERS]
        hint = meant(wrong[0], names, f"it has {', '.join(names)}.")
        raise OwsegError(f"models.{model.name}.scorers: there is no score {wrong[0]!r}; {hint}")
    return tuple(dict.fromkeys(every))


def _check_scorers(model: Model, kb: KnowledgeBase, seed: int) -> None:
    """Make each scorer that the model names but those to fit; raise ``OwsegError`` for one that cannot be made."""
    names = _scorers(model, kb)
    _image_scorers(model, kb, names, seed)
    own = [name for name in names if plain_name(name) not in model.fit and name not in IMAGE_SCORERS]
    with_key(f"models.{model.name}.scorers", make_scorers, kb, own)


def _image_scorers(model: Model, kb: KnowledgeBase, names: Iterable[str], seed: int) -> dict[str, ImageScorer]:
    made = {}
    for name in (n for n in names if n in IMAGE_SCORERS):
        key = f"options.{name}" if name in model.options else "scorers"
        make = partial(IMAGE_SCORERS.make, name, kb, seed, **model.options.get(name, {}))
        made[name] = with_key(f"models.{model.name}.{key}", make)
    return made


Sources: TypeAlias = dict[tuple[str, str], Source]
"""What a run has opened, by data set and split."""

GIGABYTES = 1
"""The memory that the decoded images of a split may take; those that do not fit are decoded each time."""


def _source(spec: str, split: str, sources: Sources) -> Source:
    """Return a split of a data set, the same for all that read it, so that images are decoded once."""
    if (spec, split) not in sources:
        sources[spec, split] = cached(open_dataset(spec, split), GIGABYTES << 30).source
    return sources[spec, split]


def _opened(data: Data, kb: KnowledgeBase, sources: Sources, skipped: dict[str, dict[str, str]]) -> DataSet:
    """Return the images that ``data`` names, without those that cannot be read, which are in ``skipped`` then."""
    key = f"data.{data.name}.spec"
    images = DataSet(with_key(key, _source, data.spec, data.split, sources), kb.labels)
    if not len(images):
        raise OwsegError(f"{key}: the split {data.split} of {data.spec} holds no image.")
    images = spread_over(images, data.most) if data.most else images
    if data.name not in skipped:  # by now, as whatever reads them later would end the run
        skipped[data.name] = unreadable(images)
    with_key(key, measured, images, skipped[data.name])
    return without(images, skipped[data.name])


def _distortion(data: Data, images: DataSet) -> str | None:
    """Return a warning where ``resize`` changes the aspect ratio of the first image."""
    if data.resize is None or not distorts(image := images[0].image, data.resize):
        return None
    old, new = (f"{height}x{width}" for height, width in (image.shape[1:], data.resize))
    return (
        f"  data.{data.name}.resize: images of {old} are squeezed into {new} (height x width); "
        "another size would keep their shape."
    )


def _prepared(model: Model, kb: KnowledgeBase, recipe: Recipe, out: Path, sources: Sources) -> Ready:
    fitted = _fitted(model, kb, out, sources)
    scorers = _scorers(replace(model, fit=()), fitted)  # what was fitted is the knowledge base's own now
    image_scorers = _image_scorers(model, fitted, scorers, recipe.seed)
    settings: dict[str, Any] = {"seed": recipe.seed} if image_scorers else {}  # nothing else is random
    if options := {name: model.options[name] for name in image_scorers if name in model.options}:
        settings |= {"options": options, "files": digests_of_files(options)}
    return Ready(
        fitted, scorers, _thresholds(model, fitted, scorers, recipe.fpr, out, sources), image_scorers, settings
    )


def _fitted(model: Model, kb: KnowledgeBase, out: Path, sources: Sources) -> KnowledgeBase:
    if not model.fit:
        return kb
    key = f"models.{model.name}.fit_on"
    data = DataSet(with_key(key, _source, model.fit_on, "train", sources), kb.labels, IGNORE)
    # With the version, as the code of a scorer may change; and with what decides, as fitting keeps the threshold.
    options = {name: model.options[name] for name in model.fit if name in model.options}
    digest = digest_of(
        __version__, kb.fingerprint(True), data.fingerprint(), model.fit, *([options] if options else [])
    )
    place = out / "fitted" / f"{file_name(model.name)}-{digest}"
    if has_version(place):  # a folder alone may be what a kill during the first commit left
        return load(place).to(kb.engine().device, **kb.how)
    fitted = with_key(key, partial(fit_scorers, options=options), kb, data, model.fit)
    fitted.save(place)
    return fitted


def _thresholds(
    model: Model, kb: KnowledgeBase, scorers: tuple[str, ...], fpr: float, out: Path, sources: Sources
) -> dict[str, Threshold]:
    """Return the thresholds of those of ``scorers`` that have one."""
    if not model.calibrate_on:
        return {kb.scorer: kb.threshold} if kb.threshold and kb.scorer in scorers else {}
    key = f"models.{model.name}.calibrate_on"
    data = DataSet(with_key(key, _source, model.calibrate_on, "val", sources), kb.labels)
    digest = digest_of(__version__, kb.fingerprint(), data.fingerprint(), scorers, fpr)
    place = out / "thresholds" / f"{file_name(model.name)}-{digest}.json"
    kept = read_kept(place, digest)
    if kept is None:
        forward = CachedForward(kb.engine())  # every scorer reads the same outputs
        found = {
            name: with_key(key, find_threshold, kb, data, fpr, "quantile", name, forward)
            for name in scorers
            if name not in IMAGE_SCORERS  # which read images; thresholds are found on outputs
        }
        kept = {"on": data_card(data), "thresholds": {name: t.to_json() for name, t in found.items()}}
        write_kept(place, digest, kept)
    return {name: Threshold.from_json(value) for name, value in kept["thresholds"].items()}


def _measured(
    name: str, data: Data, model: Ready, images: DataSet, seed: int, workers: int, out: Path
) -> dict[str, Any]:
    """Return all metrics of a model on a data set as JSON, having stored maps, metrics and plots."""
    folder = _mapped(data, model, images, out / "maps" / file_name(data.name) / file_name(name))
    sizes = TRACKS[data.track]
    thresholds = {scorer: t.to_json() for scorer, t in model.thresholds.items()}
    digest = digest_of(__version__, folder.manifest.to_json(), thresholds, asdict(sizes))
    path = out / "metrics" / f"{file_name(data.name)}.{file_name(name)}.json"
    stem = out / "images" / file_name(data.name) / file_name(name)
    metrics = read_kept(path, digest)
    if metrics is not None and not plots_missing(stem):
        return metrics
    points, title = points_to_sample(images, seed), f"{name} on {images.source.name}"
    if metrics is not None:  # the first pass is all that plots need
        draw(folder, images, stem, title, model.thresholds, score_histograms(folder, workers, points=points))
        return metrics
    measured = measure(folder.path, model.thresholds, sizes, workers, points=points)
    draw(folder, images, stem, title, model.thresholds, measured.histograms)
    metrics = measured.to_json()
    write_kept(path, digest, metrics)  # last, so that a run that is stopped before draws the plots anew
    return metrics


def _mapped(data: Data, model: Ready, images: DataSet, place: Path) -> MapFolder:
    # A network with a working size resizes images itself: twice would lose what the first size lacks.
    size = data.resize if model.kb.network.size is None else None
    image_scorers = {name: at_size(scorer, size) for name, scorer in model.image_scorers.items()}
    settings = {"resize": size and list(size), **model.settings}
    engine = model.kb.engine()
    forward = engine if size is None else AtSize(engine, size)
    return store_maps(model.kb, images, place, model.scorers, forward, settings, image_scorers)

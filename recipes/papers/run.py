"""Running a table: each model is trained once, each row measured, and the published metrics stand beside."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from owseg.cli._help import setting_text
from owseg.data.dataset import DataSet, spread_over
from owseg.data.datasets import open_dataset
from owseg.data.outliers import open_outliers
from owseg.data.unlabeled import open_inliers
from owseg.errors import OwsegError
from owseg.evaluation.evaluate import evaluate, evaluate_image_scorers
from owseg.image_scorers import IMAGE_SCORERS
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.knowledge.versions import has_version
from owseg.learners.auto import learner_named
from owseg.learners.sequence import learn_sequence, sample_classes
from owseg.metrics.pixel import PerImage, PixelMetrics
from owseg.models.backbones.base import Backbone, build
from owseg.training.baselines import fit_baseline, open_known
from owseg.training.build import build_knowledge_base
from owseg.training.presets import RESIDUAL, TRAIN, configured, preset_named
from owseg.training.residual import train_residual
from owseg.types import ImageScorer
from recipes.papers.stored import Metrics, core_minutes, milliseconds, read_metrics, slug, value_text, write_metrics
from recipes.papers.table import Data, Model, Row, Table
from recipes.papers.trees import write_trees

DRY_TRAIN: dict[str, Any] = {"epochs": 1, "batch": 4, "crop": (64, 96), "views": 1}
DRY_RESIDUAL: dict[str, Any] = {"epochs": 1, "batch": 3, "crop": (64, 64), "width": 8, "rates": (1, 2), "contrast": 8}
DRY_SIDES, DRY_SHORT_SIDES = (48, 64), (48, 64)
"""What ``--dry`` has in place of sizes and schedule of the paper: two steps, each of a few small images."""

DRY_BASELINES: dict[str, dict[str, str]] = {
    "autoencoder": {"epochs": "1", "batch": "4", "crop": "64,96", "width": "4"},
    "rbm": {"epochs": "1", "batch": "4", "patches": "16"},
    "duir": {"generator": "none", "epochs": "1", "batch": "4", "crop": "64,96", "widths": "4,8,8",
             "label_widths": "4,8,8"},
    "synthcp": {"generator_epochs": "1", "generator_batch": "4", "generator_crop": "64,64", "generator_width": "4",
                "generator_blocks": "1", "generator_side": "64"},
}  # fmt: skip
DRY_LEARNERS = {"plm": {"steps": 2}, "finetune": {"steps": 2}}


@dataclass(eq=False)
class Run:
    """A run of ``table`` in the folder ``runs``: what is in it is not made again. ``dry`` is a run in small."""

    table: Table
    runs: Path
    dry: bool = False
    seed: int = 0
    trees: Mapping[str, str] = field(default_factory=dict)
    _made: dict[str, KnowledgeBase] = field(default_factory=dict)
    _scores: dict[tuple[str, str], dict[str, Metrics]] = field(default_factory=dict)

    def rows(self) -> list[tuple[Row, dict[str, Metrics]]]:
        """Return each row with its metrics by name of the data; none where it says why it has no scorer or method."""
        if self.dry:
            self.trees = write_trees(self._variables(), self.runs / "trees")
        return [(row, self._measured(row)) for row in self.table.rows]

    def _variables(self) -> list[str]:
        """Return the variables in the places of the table's models and data."""
        models = self.table.models.values()
        places = [place for m in models for place in (m.train_on, m.inliers, m.outliers, m.context)]
        places += [data.spec for data in self.table.data.values()]
        return sorted({name for place in places for name in re.findall(r"\$(\w+)", place)})

    def place(self, text: str) -> str:
        """Return ``text`` with the variables in it expanded; raise ``OwsegError`` for one that is not set."""
        for name in re.findall(r"\$(\w+)", text):
            value = self.trees.get(name) or os.environ.get(name)
            if not value:
                raise OwsegError(f"the variable {name} is not set; export the folder of that data set, or the file.")
            text = text.replace(f"${name}", value)
        return text

    def kb(self, name: str, unknown: Sequence[str] = ()) -> KnowledgeBase:
        """Return the model ``name`` without the classes ``unknown``: given, of an earlier run, or trained now."""
        model, key = self.table.models[name], full_name(name, unknown)
        folder = self.runs / key
        if key not in self._made:
            if model.kb and not self.dry:
                made = load(self.place(model.kb))
            elif has_version(folder):
                made = load(folder)
            else:
                with self._timed(key):
                    make = self._residual if model.base else self._trained
                    made = make(model, self.runs / f"{key}.run", unknown)
                made.save(folder)
            self._made[key] = made
        return self._made[key]

    def _timed(self, what: str) -> AbstractContextManager[None]:
        """Keep how many core-minutes the training of ``what`` takes; of a resumed one, those of its last part."""
        return core_minutes(self.runs / "metrics" / "trained" / f"{what}.json")

    def _trained(self, model: Model, run: Path, unknown: Sequence[str]) -> KnowledgeBase:
        preset, network, seed = preset_named(TRAIN, model.preset), self.table.network, self.seed + model.seed
        config = configured(preset.config, _texts(model.settings), seed=seed)
        backbone: str | Backbone = "" if self.dry else self.place(network.backbone)
        torch.manual_seed(seed)
        if self.dry:
            sides = DRY_SHORT_SIDES if config.short_sides else ()
            config = replace(config, **DRY_TRAIN, short_sides=sides)
            backbone = build({"config": dict(network.stand_in), "mean": [0.5] * 3, "std": [0.5] * 3})
        return build_knowledge_base(
            self.place(model.train_on), backbone, (*model.unknown, *unknown), config, run,
            decoder=network.decoder or preset.decoder, width=network.width if self.dry else preset.width,
            members=model.members or preset.members, classifier=model.classifier, scales=preset.scales,
            fpr=self.table.fpr, scorer=model.scorer, resume=any(run.rglob("last.ckpt")),
        )  # fmt: skip

    def _residual(self, model: Model, run: Path, unknown: Sequence[str]) -> KnowledgeBase:
        base = self.kb(model.base, unknown)
        config = configured(preset_named(RESIDUAL, model.preset), _texts(model.settings), seed=self.seed)
        if self.dry:
            config = replace(config, **DRY_RESIDUAL)
        inliers, val = (open_inliers(self.place(model.inliers), split, base.labels) for split in ("train", "val"))
        val = spread_over(val, 32)  # AP is exact over all pixels, which of 500 images would not fit into memory
        objects = open_outliers(self.place(model.outliers)).unknown_to(base.labels)
        context = objects if objects.in_context else None
        if model.context:
            context = open_outliers(self.place(model.context)).unknown_to(base.labels)
        resume = (run / "last.ckpt").exists()
        return train_residual(base, inliers, val, objects, context, config, run, resume)

    def _measured(self, row: Row) -> dict[str, Metrics]:
        """Return the metrics of a row, which are stored as soon as they are known."""
        folder = self.runs / "metrics"
        found = read_metrics(folder, row)
        if found or not row.model or (row.needs and find_spec(row.needs) is None):
            return found
        metrics = self._learned(row) if row.learn else {n: self._scored(row, n) for n in self.table.data}
        write_metrics(folder, row, metrics)
        return metrics

    def _scored(self, row: Row, name: str) -> Metrics:
        """Return the metrics of a row on the data ``name``."""
        given = self.table.data[name]
        kb = self.kb(row.model, given.unknown)
        data = self._opened(given, kb)
        score = self.image_scorer(row, given.unknown)
        if row.scorer in IMAGE_SCORERS:
            metric = PerImage if self.table.per_image else None
            found = _pixel(evaluate_image_scorers({row.scorer: score}, data, metric)[row.scorer])
        else:
            found = dict(self._of_all(row.model, name, kb, data)[row.scorer or kb.scorer])
        return {**found, **({"ms": milliseconds(score, data)} if "ms" in self.table.metrics else {})}

    def _of_all(self, model: str, name: str, kb: KnowledgeBase, data: DataSet) -> dict[str, Metrics]:
        """Return the metrics of each score of a model in the table on the data ``name``, of one pass."""
        if (model, name) not in self._scores:
            metric = PerImage if self.table.per_image else None
            rows = [row for row in self.table.rows if row.model == model and not row.learn]
            wanted = list(dict.fromkeys(row.scorer or kb.scorer for row in rows if row.scorer not in IMAGE_SCORERS))
            result = evaluate(kb, data, wanted, metric, partial(kb.forward, sides=self._sides))
            summary = result.summary()
            self._scores[model, name] = {n: {**_pixel(found), **summary} for n, found in result.scores.items()}
        return self._scores[model, name]

    @property
    def _sides(self) -> tuple[int, ...]:
        return (DRY_SIDES if self.dry else self.table.sides) if self.table.sides else ()

    def _opened(self, given: Data, kb: KnowledgeBase) -> DataSet:
        data = open_dataset(self.place(given.spec), given.split, kb.labels)
        return spread_over(data, 2) if self.dry else data

    def _of_network(self, kb: KnowledgeBase, scorer: str, image: np.ndarray) -> np.ndarray:
        size = image.shape[1], image.shape[2]
        return kb.assess(kb.forward(image, sides=self._sides), size, (scorer,)).scores[scorer]

    def image_scorer(self, row: Row, unknown: Sequence[str] = ()) -> ImageScorer:
        """Return the score of a row where the classes ``unknown`` are not known, image -> map."""
        kb, options = self.kb(row.model, unknown), dict(row.options)
        if row.scorer not in IMAGE_SCORERS:
            return partial(self._of_network, kb, row.scorer or kb.scorer)
        if row.fit:
            options["weights"] = str(self.fitted(row, unknown))
        if "members" in options:  # models of the table, by name
            for name in options["members"]:
                self.kb(name, unknown)
            options["members"] = tuple(str(self.runs / full_name(name, unknown)) for name in options["members"])
        return IMAGE_SCORERS.make(row.scorer, kb, self.seed, **options)

    def fitted(self, row: Row, unknown: Sequence[str] = ()) -> Path:
        """Return the file of what a row trains for its scorer, trained now where it is not there.

        A ``generator`` in its settings may be the name of another row, whose file has it.
        """
        kb, name = self.kb(row.model, unknown), full_name(slug(row.name), unknown)
        file, settings = self.runs / f"{name}.safetensors", {**row.settings}
        if file.exists():
            return file
        preset = "light" if self.dry else row.preset
        of = {other.name: other for other in self.table.rows}.get(settings.get("generator", ""))
        drawn = {} if of is None else {"generator": str(self.fitted(of, unknown))}
        settings = {**_texts(settings), **(DRY_BASELINES[row.scorer] if self.dry else {}), **drawn}
        spec = self.place(self.table.models[row.model].train_on)
        with self._timed(name):
            return fit_baseline(row.scorer, kb, *open_known(spec, kb), file, preset, settings, self.seed)

    def _learned(self, row: Row) -> dict[str, Metrics]:
        """Return the metrics after the classes of a row were learned one after another."""
        base = self.kb(row.model)
        ((name, given),) = self.table.data.items()
        source = open_dataset(self.place(self.table.models[row.model].train_on), "train")
        shots = sample_classes(source, row.learn, row.shots, self.seed, 1.0 if self.dry else 0.2)
        options = {**row.options, **(DRY_LEARNERS.get(row.method, {}) if self.dry else {})}
        stages = learn_sequence(base, shots, method=learner_named(row.method, _texts(options)))
        data = open_dataset(self.place(given.spec), given.split, stages[-1].labels)
        data = spread_over(data, 2) if self.dry else data
        return {name: evaluate(stages[-1], data).summary()}


def full_name(name: str, unknown: Sequence[str]) -> str:
    """Return the name of what is trained for data in which the classes ``unknown`` are not known."""
    return "-".join([name, "without", *unknown]) if unknown else name


def _pixel(metrics: PixelMetrics) -> Metrics:
    return {"ap": metrics.ap, "auroc": metrics.auroc, "fpr95": metrics.fpr95}


def _texts(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return settings as ``--set`` has them."""
    return {name: setting_text(tuple(v) if isinstance(v, list) else v) for name, v in settings.items()}


def lines(table: Table, rows: Sequence[tuple[Row, dict[str, Metrics]]]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the lines of the table, in percent: each metric as measured, and as published."""
    several = len(table.data) > 1
    header = ["row", *(["data"] if several else []), *(part for name in table.metrics for part in (name, "published"))]
    body = []
    for row, found in rows:
        for data in table.data:
            line = [row.name, *([data] if several else [])]
            for metric in table.metrics:
                line += [value_text(found.get(data, {}).get(metric), metric), published_text(row, data, metric)]
            body.append(line)
    return header, body


def published_text(row: Row, data: str, metric: str) -> str:
    """Return a published metric, in percent, as a table has it."""
    value = row.published.get(data, {}).get(metric)
    return "–" if value is None else f"{value:.4g}"

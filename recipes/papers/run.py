"""Running a table: each model is trained once, each row measured, and the published metrics stand beside."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import isnan, nan
from pathlib import Path
from typing import Any

import torch

from owseg._files import write_whole
from owseg.cli._help import setting_text
from owseg.data.dataset import spread_over
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
from recipes.papers.table import Model, Row, Table
from recipes.papers.trees import write_trees

Metrics = dict[str, float]

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

    def rows(self) -> list[tuple[Row, dict[str, Metrics]]]:
        """Return each row with its metrics by name of the data; none where it says why it has no scorer or method."""
        if self.dry:
            self.trees = write_trees(self._variables(), self.runs / "trees")
        return [(row, self._measured(i, row)) for i, row in enumerate(self.table.rows)]

    def _variables(self) -> list[str]:
        """Return the variables in the places of the table's models and data."""
        models = self.table.models.values()
        places = [place for m in models for place in (m.train_on, m.inliers, m.outliers)]
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

    def kb(self, name: str) -> KnowledgeBase:
        """Return the model ``name``: given, of an earlier run, or trained now and stored."""
        model, folder = self.table.models[name], self.runs / name
        if name not in self._made:
            if model.kb and not self.dry:
                made = load(self.place(model.kb))
            elif has_version(folder):
                made = load(folder)
            else:
                made = self._residual(name, model) if model.base else self._trained(name, model)
                made.save(folder)
            self._made[name] = made
        return self._made[name]

    def _trained(self, name: str, model: Model) -> KnowledgeBase:
        preset, network = preset_named(TRAIN, model.preset), self.table.network
        config = configured(preset.config, _texts(model.settings), seed=self.seed)
        data = self.place(model.train_on)
        backbone: str | Backbone = "" if self.dry else self.place(network.backbone)
        torch.manual_seed(self.seed)
        if self.dry:
            sides = DRY_SHORT_SIDES if config.short_sides else ()
            config = replace(config, **DRY_TRAIN, short_sides=sides)
            backbone = build({"config": dict(network.stand_in), "mean": [0.5] * 3, "std": [0.5] * 3})
        return build_knowledge_base(
            data, backbone, model.unknown, config, self.runs / f"{name}.run",
            decoder=network.decoder or preset.decoder, width=network.width if self.dry else preset.width,
            members=preset.members, classifier=model.classifier, scales=preset.scales, fpr=self.table.fpr,
            resume=any((self.runs / f"{name}.run").rglob("last.ckpt")),
        )  # fmt: skip

    def _residual(self, name: str, model: Model) -> KnowledgeBase:
        base = self.kb(model.base)
        config = configured(preset_named(RESIDUAL, model.preset), _texts(model.settings), seed=self.seed)
        if self.dry:
            config = replace(config, **DRY_RESIDUAL)
        inliers, val = (open_inliers(self.place(model.inliers), split, base.labels) for split in ("train", "val"))
        val = spread_over(val, 32)  # AP is exact over all pixels, which of 500 images would not fit into memory
        objects = open_outliers(self.place(model.outliers)).unknown_to(base.labels)
        run = self.runs / f"{name}.run"
        resume = (run / "last.ckpt").exists()
        return train_residual(base, inliers, val, objects, objects if objects.in_context else None, config, run, resume)

    def _measured(self, number: int, row: Row) -> dict[str, Metrics]:
        """Return the metrics of a row, which are stored as soon as they are known."""
        path = self.runs / "metrics" / f"{number}.json"
        if path.exists() and (found := json.loads(path.read_text()))["row"] == row.name:
            metrics: dict[str, Metrics] = found["metrics"]
            return {data: {k: nan if v is None else v for k, v in m.items()} for data, m in metrics.items()}
        if not row.model:
            return {}
        started = time.perf_counter()
        metrics = self._learned(row) if row.learn else self._scored(row)
        path.parent.mkdir(parents=True, exist_ok=True)
        shown = {data: {k: None if isnan(v) else v for k, v in m.items()} for data, m in metrics.items()}
        seconds = time.perf_counter() - started
        write_whole(path, json.dumps({"row": row.name, "metrics": shown, "seconds": seconds}, indent=1).encode())
        return metrics

    def _scored(self, row: Row) -> dict[str, Metrics]:
        kb, metric = self.kb(row.model), PerImage if self.table.per_image else None
        found: dict[str, Metrics] = {}
        scorer = self._image_scorer(row, kb) if row.scorer in IMAGE_SCORERS else None
        for name, given in self.table.data.items():
            data = open_dataset(self.place(given.spec), given.split, kb.labels)
            data = spread_over(data, 2) if self.dry else data
            if scorer is not None:
                found[name] = _pixel(evaluate_image_scorers({row.scorer: scorer}, data, metric)[row.scorer])
                continue
            sides = (DRY_SIDES if self.dry else self.table.sides) if self.table.sides else ()
            result = evaluate(kb, data, [row.scorer or kb.scorer], metric, partial(kb.forward, sides=sides))
            found[name] = {**_pixel(next(iter(result.scores.values()))), **result.summary()}
        return found

    def _image_scorer(self, row: Row, kb: KnowledgeBase) -> Any:
        options = dict(row.options)
        if row.fit:
            file = self.runs / f"{row.scorer}-{row.model}.safetensors"
            if not file.exists():
                spec = self.place(self.table.models[row.model].train_on)
                preset, settings = ("light", DRY_BASELINES[row.scorer]) if self.dry else ("paper", {})
                fit_baseline(row.scorer, kb, *open_known(spec, kb), file, preset, settings, self.seed)
            options["weights"] = str(file)
        if "members" in options:  # models of the table, by name
            for name in options["members"]:
                self.kb(name)
            options["members"] = tuple(str(self.runs / name) for name in options["members"])
        return IMAGE_SCORERS.make(row.scorer, kb, self.seed, **options)

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
                line += [_percent(found.get(data, {}).get(metric)), published_text(row, data, metric)]
            body.append(line)
    return header, body


def published_text(row: Row, data: str, metric: str) -> str:
    """Return a published metric, in percent, as a table has it."""
    value = row.published.get(data, {}).get(metric)
    return "–" if value is None else f"{value:.4g}"


def _percent(value: float | None) -> str:
    return "–" if value is None or isnan(value) else f"{100 * value:.1f}"

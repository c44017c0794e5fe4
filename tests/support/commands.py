"""Stand-ins for all that commands call: functions of the same signature that note their arguments in ``noted``.

What they return names the arguments, so that the next function's show which value was handed on.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer.main

from owseg.cli import app
from owseg.cli._compute import Compute
from owseg.data.lazy import Lazy
from owseg.data.search import ImageFiles
from owseg.discovery.discover import DiscoveryResult
from owseg.inference.predict import Result
from owseg.inference.video import VideoResult
from owseg.knowledge.event import Event
from owseg.labels import LabelSpace

TRAIN, IMPORT = "train K --data folder:D --backbone B", "import rpl:F -o O --data folder:D"
RESIDUAL = "train-residual K --inliers folder:I --outliers O"
NEGATIVE = "train-negative K --inliers folder:I --outliers O"
BASELINE, LEARN = "fit-baseline duir K --data folder:D -o O", "learn K cow --data folder:D"
"""Command lines with all that is asked for."""
CALIBRATE = "knowledge.calibration:calibrate"


class FakeKB:
    """A knowledge base of which only the name matters."""

    labels = LabelSpace.of(("road", "sky"))
    scorers = ("msp", "joint")
    scorer, threshold, obstacles, learned_classes = "joint", None, None, ()
    network, working_size = SimpleNamespace(backbone="the backbone of KB", size=None), None
    history = (Event("train", "made", {"val": {"calibrated_apart": True}}),)

    def __init__(self, name):
        self.name = name

    def forward(self, image):
        raise AssertionError

    def engine(self, **options):
        return partial(self.forward, **options)

    def to(self, device, **how):
        noted.append(("to", {"kb": self.name, "device": str(device), **how}))
        return self

    def save(self, directory, slim=False):
        noted.append(("save", {"kb": self.name, "directory": str(directory), "slim": slim}))
        return 1


class FakeShot(str):
    """A shot of which its name matters."""

    size = (48, 64)


class FakeOutliers:
    def __init__(self, place):
        self.name, self.in_context = f"outliers in {place}", "cutouts" not in str(place)

    def unknown_to(self, labels):
        assert labels is FakeKB.labels
        return self


def table_of(name):
    nothing = {"skipped": {}, "splits": (), "stages": (SimpleNamespace(skipped={}),), "about": {"data": {}}}
    return SimpleNamespace(name=name, to_json=lambda: {"of": name}, tables=lambda: [], text=lambda: name, **nothing)


def drawn(name):
    return SimpleNamespace(name=name, shots=[FakeShot("drawn")])


def wrote(arguments):
    list(arguments["annotations"])
    return Path("there.json")


def found(arguments):
    names = arguments["names"]
    return ImageFiles(tuple(map(Path, names)), tuple(f"name of {name}" for name in names))


def exported(path):
    return SimpleNamespace(compared=(), thresholds=(0.0, 1.0), path=path, bytes=5, to_json=dict)


noted: list[tuple[str, dict]] = []
STUBS = {
    "knowledge.load:load": lambda a: FakeKB(a["directory"]),
    "knowledge.load:load_stages": lambda a: [FakeKB(f"stage of {a['directory']}")],
    "data.datasets.folder:read_names": lambda a: FakeKB.labels,
    "_files:read_json": lambda a: [],
    "knowledge.imported:import_network": lambda a: FakeKB(f"imported {a['spec']}"),
    "knowledge.pretrained:writable": lambda a: a["out"] or a["kb"],
    "knowledge.pretrained:resolve": lambda a: Path("place of", a["name"]),
    "knowledge.pretrained:stored_version": lambda a: 3,
    "knowledge.upload:push": lambda a: f"https://hub/{a['repository']}",
    "knowledge.upload:write": lambda a: None,
    "knowledge.editing:forget": lambda a: FakeKB(f"{a['kb'].name} without {a['name']}"),
    "knowledge.editing:rename": lambda a: FakeKB(f"{a['kb'].name} with {a['new']}"),
    "knowledge.editing:merge": lambda a: FakeKB(f"{a['kb'].name} with {a['name']}"),
    "knowledge.commit:check_place": lambda a: None,
    "knowledge.commit:rollback_version": lambda a: 7,
    "knowledge.versions:has_version": lambda a: "new" not in str(a["directory"]),
    "knowledge.versions:version_history": lambda a: [SimpleNamespace(number=7, parent=None, written="", message="made",
                                                                     current=True)],
    "knowledge.calibration:calibrate": lambda a: FakeKB(f"calibrated {a['kb'].name}"),
    "knowledge.calibration:fit_scorers": lambda a: FakeKB(f"fitted {a['kb'].name}"),
    "knowledge.calibration:in_own_labels": lambda a: a["images"],
    "knowledge.calibration:divide_val": lambda a: (f"half of {a['val']}", f"other half of {a['val']}"),
    "_files:check_writable": lambda a: None,
    "data.search:search_images": found,
    "data.datasets:open_dataset": lambda a: f"{a['spec']}/{a['split']}{', to train' if a['train'] else ''}",
    "data.datasets:open_source": lambda a: SimpleNamespace(name=a["split"], ids=("a", "b")),
    "cli._training:enough_epochs": lambda a: a["config"],
    **{f"cli.{name}:check_run": lambda a: None for name in ("train", "train_residual", "train_negative",
                                                            "fit_baseline")},
    **{f"cli.{name}:on_newest": lambda a: a["step"](a["base"]) for name in ("calibrate", "learn", "correct",
                                                                            "_editing")},
    "data.outliers:open_outliers": lambda a: FakeOutliers(a["place"]),
    "data.outliers:leave_out": lambda a: (a["objects"], a["context"]),
    "data.unlabeled:open_inliers": lambda a: f"{a['spec']}/{a['split']}",
    "data.unlabeled:unlabeled_images": lambda a: SimpleNamespace(name=f"photos {[str(p) for p in a['paths']]}"),
    "data.unlabeled:hold_out": lambda a: (f"most of {a['data']}", f"rest of {a['data']}"),
    "data.check:check": lambda a: [],
    "data.cached:cached": lambda a: a["data"],
    "models.backbones.reference:reference_to": lambda a: {},
    "models.backbones.base:from_pretrained": lambda a: f"backbone {a['name']}",
    "inference.predict:predict_files": lambda a: [a["on_result"](Result(p, 0.5)) for p in a["paths"]],
    "inference.predict:shift_of": lambda a: None,
    "inference.export:check_asked": lambda a: None,
    "inference.export:read_some": lambda a: [f"read {path}" for path in a["paths"]],
    "inference.export:export": lambda a: exported(a["path"]),
    "knowledge.tasks:for_task": lambda a: FakeKB(a["kb"].name + f" for {a['task']}" * (a["task"] != "unknown")),
    "knowledge.adaptation:adapt": lambda a: FakeKB(f"{a['kb'].name} adapted"),
    "knowledge.adaptation:adapt_to_some": lambda a: FakeKB(f"{a['kb'].name} adapted"),
    "data.frames:open_frames": lambda a: SimpleNamespace(name=f"frames of {a['place']}"),
    "inference.video:label_video": lambda a: VideoResult(2, 1, 1.0),
    "inference.submit:submit": lambda a: ([], ""),
    "inference.annotate:predicted_annotations": lambda a: [],
    "exchange.shots:read_shots": lambda a: [FakeShot(f"shot of {a['name']} in {a['path']}")],
    "data.shots:read_counterexamples": lambda a: [FakeShot(f"not it in {a['folder']}")],
    "discovery.queue_shots:shots_to_correct": lambda a: [FakeShot(f"{a['name']} in {a['queue']}")],
    "discovery.queue_shots:shots_to_learn": lambda a: [FakeShot(f"{a['name']} in {a['queue']}")],
    "learners.learn:correct": lambda a: FakeKB(f"{a['kb'].name} with {a['name']}"),
    "exchange.formats:read": lambda a: [],
    "exchange.formats:write": wrote,
    "training.build:train_and_val": lambda a: (f"{a['data']}/train", f"{a['data']}/val"),
    "training.build:build_knowledge_base": lambda a: FakeKB("trained"),
    "training.consolidate:consolidate": lambda a: FakeKB("trained"),
    "training.baselines:open_known": lambda a: (f"{a['spec']}/train", f"{a['spec']}/val"),
    "training.baselines:fit_baseline": lambda a: Path(a["out"]),
    "training.processes:is_first_process": lambda a: True,
    "training.residual:train_residual": lambda a: FakeKB(f"{a['kb'].name} with a residual"),
    "training.negative:train_negative": lambda a: FakeKB(f"{a['kb'].name} with a negative class"),
    "evaluation.outlier_audit:audit": lambda a: table_of("audit"),
    "evaluation.outlier_audit:backbone_engine": lambda a: f"runs {a['backbone'] or 'the backbone'} of {a['kb'].name}",
    "evaluation.outlier_audit:summary": lambda a: [],
    "evaluation.diagnostics:of_training": lambda a: [],
    "evaluation.diagnostics:of_calibration": lambda a: [],
    "evaluation.diagnostics:of_evaluation": lambda a: [],
    "evaluation.diagnostics:of_measured": lambda a: [],
    "evaluation.diagnostics:of_sizes": lambda a: [],
    "evaluation.diagnostics:of_fit": lambda a: [],
    "evaluation.diagnostics:of_adaptation": lambda a: [],
    "evaluation.diagnostics:of_histogram": lambda a: [],
    "evaluation.diagnostics:of_shots": lambda a: [],
    "evaluation.diagnostics:sizes_of": lambda a: [],
    "learners.leave_one_out:left_out_iou": lambda a: {},
    "evaluation.evaluate:evaluate": lambda a: table_of("evaluation"),
    "evaluation.crosswise:evaluate_crosswise": lambda a: table_of("crosswise"),
    "evaluation.sequence:evaluate_sequence": lambda a: table_of("sequence"),
    "report.sequence:write_sequence_report": lambda a: a["path"],
    "report.demo:run": lambda a: {"summary": "done"},
    "benchmark.recipe:read_recipe": lambda a: SimpleNamespace(left_out=(), name=f"recipe {a['path']}"),
    "benchmark.run:run": lambda a: table_of("benchmark"),
    "learners.auto:learner_named": lambda a: f"{a['method']} with {a['options']}",
    "learners.sequence:learn_sequence": lambda a: [FakeKB(f"{c.name} learned") for c in a["classes"]],
    "learners.sequence:sample_classes": lambda a: [drawn(name) for name in a["names"]],
    "learners.sequence:save_stages": lambda a: [],
    "learners.sequence:write_manifest": lambda a: None,
    "review.serve:serve": lambda a: None,
    "serve.run:serve": lambda a: None,
    "discovery.known_regions:known_regions": lambda a: f"regions of {a['folder']}",
    "discovery.discover:discover": lambda a: (SimpleNamespace(folder=a["folder"]), DiscoveryResult(1, 2, 0, 1)),
}  # fmt: skip


def commands(group=None, path=()):
    """Every command by its words: ("data", "check") and so on."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def plain(value):
    """A value as rows write it: fakes by their names, paths as text, options that a partial function carries."""
    if isinstance(value, FakeKB | FakeOutliers | SimpleNamespace) and hasattr(value, "name"):
        return value.name
    if isinstance(value, partial):
        bound = isinstance(getattr(value.func, "__self__", None), Compute)
        return {**(plain(value.func) if bound else {}), **value.keywords}
    if isinstance(getattr(value, "__self__", None), Compute):  # what loads a knowledge base, and how that is run
        return asdict(value.__self__)
    if isinstance(value, Path):
        return str(value)
    if type(value).__name__ == "ClassShots":
        return value.name, plain(value.shots)
    return [plain(v) for v in value] if isinstance(value, list | tuple | Lazy) else value


def flat(arguments):
    """Arguments by name, those of a configuration as ``config.NAME``."""
    found = {}
    for name, value in arguments.items():
        found[name] = plain(value)
        if is_dataclass(value) and not isinstance(value, type) and name == "config":
            found |= {f"{name}.{field.name}": getattr(value, field.name) for field in fields(value)}
    return found


def replace_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a stub in the place of everything in ``STUBS``."""
    noted.clear()
    # All are imported before the first is replaced: a module imported later would keep the stubs for good.
    modules = {target: importlib.import_module(f"owseg.{target.split(':')[0]}") for target in STUBS}
    for target, answer in STUBS.items():
        module, name = modules[target], target.split(":")[1]
        monkeypatch.setattr(module, name, _noting(target, inspect.signature(getattr(module, name)), answer))


def _noting(target: str, signature: inspect.Signature, answer: Callable[[Any], Any]) -> Callable[..., Any]:
    def stub(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        noted.append((target, flat(bound.arguments)))
        return answer(bound.arguments)

    return stub


def calls(target: str) -> list[dict[str, Any]]:
    """The arguments of every call of ``target``, in order."""
    return [arguments for name, arguments in noted if name == target]

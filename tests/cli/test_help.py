"""Help: the names that it lists are those of the registries (that it needs no torch: tests/test_public.py)."""

import re
from dataclasses import replace

import pytest
import typer.main

from owseg.cli import app
from owseg.cli._help import filled, names_of, unwrapped
from owseg.data.datasets import DATASETS
from owseg.exchange import FORMATS
from owseg.inference.submissions import SUBMISSIONS
from owseg.knowledge.pretrained import shipped_names
from owseg.learners import LEARNERS
from owseg.models.backbones import example_names
from owseg.models.decoders import DECODERS
from owseg.models.published import NETWORKS
from owseg.scorers import SCORERS
from owseg.training import BASELINES
from owseg.training.config import PRECISIONS, ResidualConfig, TrainConfig
from owseg.training.presets import RESIDUAL, TRAIN, configured

COMMANDS = (
    "demo", "list", "doctor", "predict", "video", "serve", "calibrate", "adapt", "export", "discover", "review",
    "learn", "correct", "annotate", "train", "train-negative", "train-residual", "fit", "fit-baseline", "import",
    "evaluate", "benchmark", "submit", "audit", "exchange", "info", "history", "rollback", "forget", "rename", "merge",
    "push", "data",
)  # fmt: skip


def test_every_command_is_listed_and_has_help(run_cli):
    assert tuple(typer.main.get_command(app).commands) == COMMANDS
    _, out, _ = run_cli("--help")
    assert all(re.search(rf"\b{name}\b", out) for name in COMMANDS)
    titles = re.findall(r"─ ([A-Z][a-z ]+) ─", out)
    assert titles == ["Options", "Start", "Predict", "Learn from people", "Train", "Measure", "Data", "Versions"]


KINDS = {
    "backbones": (["train --backbone"], set(example_names())),
    "baselines": (["fit-baseline BASELINE"], set(BASELINES)),
    "datasets": (["train --data", "evaluate --data", "data check DATA"], set(DATASETS)),
    "decoders": (["train --decoder"], {n for n, e in DECODERS.entries.items() if "width" in e.options}),
    "fitted": (["fit --scorers"], {n for n, e in SCORERS.entries.items() if e.facts.get("needs") == "fit"}),
    "formats": (["exchange --from", "learn --shots"], set(FORMATS)),
    "methods": (["learn --method"], set(LEARNERS)),
    "networks": ([], set(NETWORKS)),
    "residual_presets": (["train-residual --preset"], set(RESIDUAL)),
    "train_presets": (["train --preset"], set(TRAIN)),
    "precisions": (["train --precision", "train-residual --precision"], set(PRECISIONS)),
    "scorers": (["evaluate --scorers", "calibrate --scorer"], set(SCORERS)),
    "shipped": (["predict --kb", "info KB"], set(shipped_names())),
    "submissions": (["submit --format"], set(SUBMISSIONS)),
    "writable": (
        ["exchange --to", "annotate --format"],
        {n for n, e in FORMATS.entries.items() if "suffix" in e.facts},
    ),
}
"""For each kind of name: options and arguments whose help lists them, and the names that the registry has."""


@pytest.mark.parametrize("kind", KINDS)
def test_the_names_in_help_are_those_of_the_registry(kind):
    places, names = KINDS[kind]
    assert names and set(names_of(kind)) == names
    assert filled(f"one of {{{kind}}}.") == f"one of {', '.join(names_of(kind))}."
    app_ = typer.main.get_command(app)
    assert places or f"{{{kind}}}" in app_.epilog
    for place in places:
        *path, option = place.split()
        command = app_
        for name in path:
            command = command.commands[name]
        (found,) = (p for p in command.params if option in (*p.opts, p.metavar))
        assert f"{{{kind}}}" in found.help, place


@pytest.mark.parametrize("place", ["predict --kb", "fit --scorers", "exchange --to", "evaluate --scorers",
                                   "train --decoder", "learn --method", "train --precision"])  # fmt: skip
def test_a_page_of_help_shows_the_names(place, run_cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    kind = next(kind for kind, (places, _) in KINDS.items() if place in places)
    command, option = place.split()
    _, out, _ = run_cli(command, "--help")
    text = " ".join(out.replace("│", " ").split())
    assert f"{option} " in text and f"{', '.join(names_of(kind))}" in text


def test_the_settings_in_help_are_the_defaults():
    """As ``--set`` reads them: what help shows gives the same settings again."""
    shown = [text.split("=", 1) for text in names_of("residual_settings")]
    assert ["rates", "3,6,12"] in shown and ["lr", "0.001"] in shown
    assert configured(ResidualConfig(), dict(shown)) == ResidualConfig()
    same = configured(TrainConfig(), dict(text.split("=", 1) for text in names_of("train_settings")))
    assert same == replace(TrainConfig(), scale=(0.666667, 1.5))  # six digits of 2/3
    assert "variance_weight=0.01" in names_of("train_settings") and "smoothing=0.05" in names_of("negative_settings")


def parameters(group=None):
    for command in (group or typer.main.get_command(app)).commands.values():
        yield from parameters(command) if hasattr(command, "commands") else ((command, p) for p in command.params)


def test_every_option_has_help_that_can_be_filled():
    for command, parameter in parameters():
        text = getattr(parameter, "help", None)
        assert text, (command.name, parameter.name)
        assert "{" not in filled(text) and filled(text).endswith("."), (command.name, parameter.name)


def test_paragraphs_are_unwrapped_but_not_what_is_set_out():
    assert unwrapped("a\nb\n\nc\n  d\n\n\b\n  x\n  y") == "a b\n\nc d\n\n\b\n  x\n  y"
    assert unwrapped(None) is None and filled(None) is None

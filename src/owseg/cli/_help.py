"""Help that lists names: of scorers, methods, data sets and so on, read from the registries when help is shown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields
from importlib import import_module
from typing import Any

from typer.core import TyperCommand, TyperGroup

NAMES = {
    "backbones": "owseg.models.backbones:example_names",
    "baselines": "owseg.training:BASELINES",
    "datasets": "owseg.data.datasets:DATASETS",
    "fitted": "owseg.scorers:fitted_names",
    "formats": "owseg.exchange:FORMATS",
    "methods": "owseg.learners:LEARNERS",
    "residual_presets": "owseg.training.presets:RESIDUAL",
    "train_presets": "owseg.training.presets:TRAIN",
    "networks": "owseg.models.published:NETWORKS",
    "precisions": "owseg.training.config:PRECISIONS",
    "scorers": "owseg.scorers:SCORERS",
    "shipped": "owseg.knowledge.pretrained:shipped_names",
    "submissions": "owseg.inference.submissions:SUBMISSIONS",
}
"""Where the names of each kind are: a registry, a tuple, or a function that returns one. None of these needs torch."""

SETTINGS = {
    "train_settings": "TrainConfig",
    "residual_settings": "ResidualConfig",
    "negative_settings": "NegativeConfig",
}
"""The classes of ``owseg.training.config`` whose fields ``--set`` of a training may set."""


class Command(TyperCommand):
    """A command in whose help ``{scorers}`` stands for the names of all scorers, and so on (see ``names_of``).

    They are read only when help is shown: every other command starts without reading the cards of all plug-ins.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page."""
        self.help = unwrapped(filled(self.help))
        for parameter in self.params:
            if hasattr(parameter, "help"):
                parameter.help = filled(parameter.help)
        super().format_help(ctx, formatter)


class Group(TyperGroup):
    """A group of commands whose epilog may list names in the same way."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page."""
        self.epilog = filled(self.epilog)
        super().format_help(ctx, formatter)


def filled(text: str | None) -> str | None:
    """Return help with the names in place of each ``{kind}``."""
    return None if text is None else re.sub(r"\{(\w+)\}", lambda found: ", ".join(names_of(found[1])), text)


def setting_text(value: Any) -> str:
    """Return a setting as ``--set`` reads it: the parts of a tuple with commas."""
    if isinstance(value, tuple):
        return ",".join(setting_text(part) for part in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def unwrapped(text: str | None) -> str | None:
    """Return help with each paragraph on one line, as it is wrapped when it is shown; not those that begin with \\b."""
    if text is None:
        return None
    paragraphs = text.split("\n\n")
    return "\n\n".join(p if p.startswith("\b") else " ".join(p.split()) for p in paragraphs)


def names_of(kind: str) -> Iterable[str]:
    """Return the names of a kind of thing: one of ``NAMES``, ``decoders`` to train, ``writable`` formats.

    ``method_options``, ``format_options``, ``baseline_options`` and ``submission_options`` are what ``--set`` may set,
    ``scorer_options`` what may follow the name of a score, and ``train_settings`` and so on are NAME=VALUE with the
    defaults.
    """
    if kind in SETTINGS:
        config = getattr(import_module("owseg.training.config"), SETTINGS[kind])
        return [f"{field.name}={setting_text(field.default)}" for field in fields(config)]
    if kind == "baseline_options":
        from owseg.training import BASELINES

        return [f"{name} ({', '.join(entry.options)})" for name, entry in BASELINES.entries.items()]
    if kind == "method_options":
        from owseg.learners import LEARNERS

        return [f"{option} ({name})" for name, entry in LEARNERS.entries.items() for option in entry.options]
    if kind == "format_options":
        from owseg.exchange import FORMATS

        return [f"{o} ({name}: {text})" for name, entry in FORMATS.entries.items() for o, text in entry.options.items()]
    if kind == "scorer_options":
        from owseg.scorers import configurable

        return [f"{name}:{'=N:'.join(options)}=N" for name, options in configurable().items()]
    if kind == "submission_options":
        from owseg.inference.submissions import SUBMISSIONS

        entries = SUBMISSIONS.entries.items()
        return [f"{o} ({name}: {text})" for name, entry in entries for o, text in entry.options.items()]
    if kind == "decoders":
        from owseg.models.decoders import DECODERS

        return [name for name, entry in DECODERS.entries.items() if "width" in entry.options]
    if kind == "writable":
        from owseg.exchange import FORMATS

        return [name for name, entry in FORMATS.entries.items() if "suffix" in entry.facts]
    module, _, name = NAMES[kind].partition(":")
    value = getattr(import_module(module), name)
    names: Iterable[str] = value() if callable(value) else value
    return names

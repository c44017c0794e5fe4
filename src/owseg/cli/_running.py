"""What every command has beside its own options: the log, a configuration, and words where it is stopped."""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, get_type_hints

import typer

from owseg import __version__
from owseg._progress import logger
from owseg.cli._cluster import CLUSTER_OPTIONS, ClusterCompute
from owseg.cli._compute import OPTIONS, Compute
from owseg.cli._config import FOLDERS, SETTINGS, folder_of, use_config, write_settings
from owseg.cli._log import choose_log
from owseg.cli._printing import print_error, print_json, print_note
from owseg.cli._stopping import Stopped, sentence
from owseg.errors import shown

PANEL = "Log"

SHARED = {
    "quiet": Annotated[
        bool, typer.Option("--quiet", help="On standard error print errors alone.", rich_help_panel=PANEL)
    ],
    "verbose": Annotated[
        bool,
        typer.Option("--verbose", help="On standard error print more, and where errors are.", rich_help_panel=PANEL),
    ],
    "log_file": Annotated[
        Path | None,
        typer.Option("--log-file", help="Add all of it, with the time, to this file as well.", rich_help_panel=PANEL),
    ],
}
"""The options of every command."""

CONFIG = Annotated[
    Path | None,
    typer.Option(
        is_eager=True, callback=use_config, rich_help_panel=PANEL,
        help="Take options from this TOML file, by their names (size = 720); those given here win.",
    ),
]  # fmt: skip


def command_name(command: Callable[..., None]) -> str:
    """Return what the function of a command is called on the command line."""
    return command.__name__.strip("_").replace("_", "-")


def runnable(command: Callable[..., None]) -> Callable[..., None]:
    """Return ``command`` with the options that every command has.

    One that ``--config`` is for stores its options beside its result. One that is stopped says what is done and how to
    go on, with ``--json`` on standard output, too, and ends with the exit code of the signal.
    """
    name = command_name(command)
    hints, own = get_type_hints(command, include_extras=True), inspect.signature(command).parameters.values()
    kinds: dict[Any, dict[str, Any]] = {Compute: OPTIONS, ClusterCompute: CLUSTER_OPTIONS}
    computes = next((n for n, hint in hints.items() if hint in kinds), None)
    options = kinds[hints[computes]] if computes else {}
    shared = {**options, **SHARED, **({"config": CONFIG} if name in FOLDERS else {})}

    @wraps(command)
    def run(ctx: typer.Context, **given: Any) -> None:
        choose_log(*(given.pop(option) for option in SHARED))
        given.pop("config", None)
        if computes:
            given[computes] = hints[computes](**{option: given.pop(option) for option in options})
        logger.debug("owseg %s: %s", __version__, shown(shlex.join(sys.argv[1:])))
        started, folder = monotonic(), folder_of(name, given)
        code = 0
        try:
            command(**given)
        except typer.Exit as end:  # of a command that did what it could
            code = end.exit_code
        except Stopped as stop:
            said = sentence(name, folder, given.get("out") is not None)
            if given.get("as_json") and not stop.is_printed:
                print_json({"stopped": said})
            print_error(said)
            code = stop.exit_code
        if folder is not None and folder.is_dir() and write_settings(ctx, folder) is None:
            print_note(f"Note: {folder / SETTINGS} is of another program and stays; the options are not stored.")
        logger.debug("ended with exit code %d after %.1f s", code, monotonic() - started)
        if code:
            raise typer.Exit(code)

    more = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS.get(n), annotation=a)
            for n, a in shared.items()]  # fmt: skip
    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    typed = [parameter.replace(annotation=hints[parameter.name]) for parameter in own if parameter.name != computes]
    run.__signature__ = inspect.Signature([context, *typed, *more])  # type: ignore[attr-defined]
    run.__annotations__ = {"ctx": typer.Context, **{n: hint for n, hint in hints.items() if n != computes}, **shared}
    return run


_DEFAULTS = {"quiet": False, "verbose": False, **{f.name: f.default for f in fields(ClusterCompute)}}

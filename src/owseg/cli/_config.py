"""``--config FILE.toml``: options of a command from a file, and the file in which those of a run are stored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from owseg import __version__
from owseg._files import read_toml, write_whole
from owseg.errors import OwsegError, meant

SETTINGS, HEAD = "settings.toml", "# The options of owseg "

FOLDERS = {
    "train": "{out}.run",
    "train-residual": "{kb}.residual.run",
    "train-negative": "{kb}.negative.run",
    "fit-baseline": "{out}.run",
    "predict": "{out}",
    "discover": "{out}",
}
"""The commands that ``--config`` is for, and the folder in which each stores the options that it ran with."""

OF_A_CALL = ("config", "help", "json", "log-file", "quiet", "resume", "verbose")
"""Options of one call, which say nothing of the result."""


def folder_of(command: str, given: Mapping[str, Any]) -> Path | None:
    """Return the folder in which ``command`` stores the options ``given``, by parameter; None if it stores none."""
    if command not in FOLDERS:
        return None
    places = {"kb": given.get("out") or given.get("kb"), "out": given.get("out")}
    return Path(FOLDERS[command].format(**{name: Path(str(place)).resolve() for name, place in places.items()}))


def use_config(ctx: typer.Context, file: Path | None) -> Path | None:
    """Take the options in ``file`` as defaults of this call; those on the command line win.

    Raises ``OwsegError`` for a file that is not there or is not TOML, an option that the command does not have, and a
    value of another kind.
    """
    if file is None:
        return None
    if not file.is_file():
        raise OwsegError(f"{file} does not exist; --config takes a TOML file of options, such as size = 720.")
    there = {key: parameter for key, parameter in _options(ctx) if key not in ("config", "help")}
    found = {}
    for key, value in read_toml(file).items():
        if key not in there:
            hint = meant(key, there, f"it has {', '.join(there)}.")
            raise OwsegError(f"{file} sets {key!r}, which owseg {ctx.info_name} does not have; {hint}")
        found[there[key].name] = _value(file, key, value, there[key])
    ctx.default_map = found
    return file


def write_settings(ctx: typer.Context, folder: Path) -> Path | None:
    """Write the options of this call, defaults included, so that ``--config`` can read them; return the file.

    One of another program stays as it is, and None is returned.
    """
    file = folder / SETTINGS
    if file.is_file():
        with file.open("rb") as there:
            if there.read(len(HEAD)) != HEAD.encode():
                return None
    lines = [f"{HEAD}{ctx.info_name}, version {__version__}; --config takes them again."]
    for key, parameter in _options(ctx):
        value = ctx.params.get(parameter.name)
        if key not in OF_A_CALL and value is not None:
            lines.append(f"{key} = {_toml(value)}")
    return write_whole(file, ("\n".join(lines) + "\n").encode())


def _options(ctx: typer.Context) -> Iterator[tuple[str, Any]]:
    """Yield each option and argument of the command by the name that it has on the command line."""
    for parameter in ctx.command.params:
        names = [name for name in parameter.opts if name.startswith("--")]
        yield names[0][2:] if names else str(parameter.metavar or parameter.name).strip("[]").lower(), parameter


def _value(file: Path, key: str, value: Any, parameter: Any) -> Any:
    """Return a value of the file as the command line would give it."""
    is_list, is_flag = (
        parameter.nargs == -1 or getattr(parameter, "multiple", False),
        getattr(parameter, "is_flag", False),
    )
    parts = value if isinstance(value, list) else [value]
    if any(isinstance(part, (dict, list)) or isinstance(part, bool) != is_flag for part in parts):
        wanted = "true or false" if is_flag else "text or a number"
        raise OwsegError(f"{file} sets {key} to {value!r}; write {wanted}.")
    if is_flag:
        return value
    # As text: the command line knows no other values, and reads no 2.5 as 2.
    return [str(part) for part in parts] if is_list else ",".join(str(part) for part in parts)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(part) for part in value)}]"
    # TOML's strings are JSON's, but for the escapes of half a character and a bare DEL.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")

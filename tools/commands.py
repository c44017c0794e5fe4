"""Write docs/commands.md, the reference of the command line, from the commands themselves.

python -m tools.commands
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from owseg.cli import app
from owseg.cli._help import filled, unwrapped

PAGE = Path(__file__).resolve().parents[1] / "docs" / "commands.md"
HEAD = """\
# Command line

Every command with its arguments and options, as `--help` shows them. The exit status is 0; 1 where something went
wrong; 2 where the command line cannot be read; 3 where some images could not be read; 130 after Ctrl-C.
[messages.md](messages.md) has the answers to the likeliest mistakes.

`owseg --install-completion` lets the shell complete commands and options. `python -m tools.commands` writes this page.
"""


def page() -> str:
    """Return the page as Markdown: a table of all commands, and a section for each."""
    found = list(_below(typer.main.get_command(app), "owseg"))
    rows = [f"| [{name}](#{name.replace(' ', '-')}) | {_cell(_text(command.help))} |" for name, command in found]
    parts = [HEAD, "\n".join(("| command | what it does |", "|---|---|", *rows, ""))]
    return "\n".join((*parts, *(_section(name, command) for name, command in found)))


def _below(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the commands of a group, and of the groups in it, in the order of help."""
    for child, found in getattr(command, "commands", {}).items():
        if not hasattr(found, "commands"):
            yield f"{name} {child}", found
        yield from _below(found, f"{name} {child}")


def _section(name: str, command: Any) -> str:
    """Return the section of a command: what it does, how it is called, its arguments and options."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    usage = " ".join([name, *(_argument(p) for p in arguments), *(["[OPTIONS]"] if options else [])])
    parts = [f"## {name}\n", f"{_text(command.help)}\n", f"```text\n{usage}\n```\n"]
    for title, rows in (("argument", arguments), ("option", options)):
        if rows:
            lines = [f"| {_names(p)} | {_cell(_text(p.help))}{_default(p)} |" for p in rows]
            parts.append("\n".join((f"| {title} | |", "|---|---|", *lines, "")))
    return "\n".join(parts)


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    name += "..." if parameter.nargs == -1 else ""
    return name if parameter.required else f"[{name}]"


def _names(parameter: Any) -> str:
    """Return the names of an option with what it takes, as code."""
    if parameter.param_type_name == "argument":
        return f"`{_argument(parameter)}`"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if parameter.is_flag:
        return names
    return f"{names} {parameter.metavar or parameter.name.upper()}"


def _default(parameter: Any) -> str:
    value = getattr(parameter.default, "value", parameter.default)  # an Enum's
    shown = isinstance(value, str | int | float | Path) and not isinstance(value, bool) and str(value) != ""
    return f" Default: `{value}`." if shown else ""


def _text(text: str | None) -> str:
    """Return help as Markdown: rich's markup of bold words goes, a paragraph stays on its line."""
    plain = re.sub(r"\[/?(?:bold|dim|italic)\]", "", unwrapped(filled(text)) or "")
    return re.sub(r"(?<![`\w])(--[a-z][a-z-]*)", r"`\1`", plain).replace("\b\n", "").strip()


def _cell(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())

"""What is wrong with a command line that cannot be read, in one sentence."""

from __future__ import annotations

import re
from typing import Any

import typer

from owseg.errors import meant

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""click's, which typer has in a module of its own, by version."""


def usage_sentence(error: Any) -> str:
    """Return what is wrong and where help is; "" where help was asked for, by a command without arguments."""
    command, name = _command(error.ctx), _name(getattr(error, "param", None))
    options = [option for p in getattr(error.ctx, "command", typer).params for option in p.opts] if error.ctx else []
    message, help_is = str(error.message), f"see {command} --help."
    match type(error).__name__:
        case "NoArgsIsHelpError":
            return ""
        case "NoSuchOption":
            return f"{command} has no option {error.option_name}; {meant(error.option_name, options, help_is)}"
        case "BadOptionUsage":
            return f"{error.option_name} needs a value; write it behind the option."
        case "MissingParameter":
            return f"{command} needs {name}; {help_is}"
        case "BadParameter":
            return f"{name} is {_kind(message)}; {help_is}"
    if found := re.match(r"No such command '(.*?)'", message):
        return f"there is no command {found[1]!r}; {meant(found[1], error.ctx.command.commands, help_is)}"
    if found := re.match(r"Got unexpected extra argument.* \((.*)\)", message):
        return f"{command} has no place for {found[1]!r}; leave it out, or {help_is}"
    return f"{message[:1].lower()}{message[1:].rstrip('.')}; {help_is}"


def _command(ctx: Any) -> str:
    words: list[str] = []
    while ctx is not None and ctx.parent is not None:
        words.insert(0, ctx.info_name)
        ctx = ctx.parent
    return " ".join(("owseg", *words))


def _name(parameter: Any) -> str:
    """Return what an option or an argument is called in help; "" for None."""
    if parameter is None:
        return ""
    long = [name for name in parameter.opts if name.startswith("--")]
    return long[0] if long else str(parameter.metavar or parameter.name).strip("[]").upper()


def _kind(message: str) -> str:
    """Return what values an option takes, from what click or pydantic says of another value."""
    if least := re.search(r"(?:greater than or equal to |x>=)([\d.]+)", message):
        return f"{least[1]} or more"
    return "a whole number" if "integer" in message else "a number"

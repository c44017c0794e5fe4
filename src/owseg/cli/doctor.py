"""``owseg doctor``: what this installation has, and what to do where it lacks something."""

from __future__ import annotations

from dataclasses import asdict

import typer

from owseg.cli._options import Json
from owseg.cli._printing import next_command, print_json, say


def doctor(as_json: Json = False) -> None:
    """Look at this installation: versions, devices, cores, memory, disk, extras; say what is wrong and what mends it.

    A line marked [bold]![/bold] is something that only some need, such as an extra; one marked [bold]x[/bold] keeps
    owseg from working, and the exit code is then 1. Nothing is changed, and nothing is sent to anyone: copy the output
    into a report of a fault.
    """
    from owseg.report.environment import checks

    found = []
    for check in checks():
        found.append(check)
        if not as_json:
            say(f"{ {'ok': ' ', 'note': '!', 'wrong': 'x'}[check.state] } {check.name:18} {check.found}")
            if check.advice and check.state != "ok":
                say(f"  {'':18} {check.advice}")
    wrong = [check.name for check in found if check.state == "wrong"]
    if as_json:
        print_json({"ok": not wrong, "checks": [asdict(check) for check in found]})
    elif not wrong:
        say(next_command("demo"))
    if wrong:
        raise typer.Exit(1)

"""``owseg data``: the data sets that can be opened, and checks of your own."""

from __future__ import annotations

from typing import Annotated

import typer

from owseg.cli._help import Command
from owseg.cli._options import Json, data_spec
from owseg.cli._printing import print_error, print_json, print_notes, print_table, say
from owseg.cli._running import runnable

app = typer.Typer(no_args_is_help=True, help="Data sets: list those that can be opened, and check your own.")


@app.command("list", cls=Command)
@runnable
def list_kinds(as_json: Json = False) -> None:
    """List the kinds of data set that can be opened: what each is, its layout on disk, its source."""
    from owseg.data.datasets import DATASETS

    entries = DATASETS.entries
    if as_json:
        print_json({kind: {"what": e.help, "source": e.source, **e.facts} for kind, e in entries.items()})
        return
    for kind, entry in entries.items():
        facts = entry.facts
        say(f"{kind if facts.get('generated') else f'{kind}:DIR'}  {entry.help}")
        for name, text in (
            ("classes", facts.get("classes", "")),
            ("layout", facts.get("layout", "")),
            ("splits", ", ".join(facts.get("splits", ()))),
            ("from", f"{entry.source} (licence: {facts.get('licence', 'not stated')})"),
        ):
            say(f"    {name:8} {text}")
    say("Next: owseg data check KIND:DIR")


@app.command("check", cls=Command)
@runnable
def check_data(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="DATA", callback=data_spec, help="The data set, KIND:DIR or synthetic; kinds: {datasets}."
        ),
    ],
    split: Annotated[str | None, typer.Option(help="One split; by default every split there is.")] = None,
    as_json: Json = False,
) -> None:
    """Read every image and mask of a data set, and report its contents and errors. Exit code 1 if there are errors.

    The fingerprint is the same wherever the same images and masks are opened.
    """
    from owseg.data.check import absent_classes, check

    found = check(spec, split)
    notes = absent_classes(found)
    if as_json:
        print_json({"spec": spec, "splits": [checked.to_json() for checked in found], "notes": notes})
    else:
        for checked in found:
            rows = [(n, f"{checked.pixels[n]:,}", f"{share:.3%}") for n, share in checked.shares().items()]
            sizes = "; ".join(f"{count} of {size}" for size, count in checked.sizes.items())
            fingerprint = checked.fingerprint or "none, because of the errors below"
            say(f"{checked.name}: {checked.frames} images; {sizes or 'none could be read'}.")
            names = ", ".join(checked.unlabeled) + ", ..." * (checked.without_ground_truth > len(checked.unlabeled))
            say(f"Without ground truth: {checked.without_ground_truth}{f' ({names})' if names else ''}.")
            say(f"Fingerprint: {fingerprint}.")
            print_table("", ("class", "pixels", "share"), rows)
            for line in checked.errors:
                print_error(f"error: {line}")
        print_notes(notes)
    if any(checked.errors for checked in found):
        # For scripts and CI: the report is printed, and the run fails all the same.
        raise typer.Exit(1)

"""Data sets: naming and checking them."""

from __future__ import annotations

from typing import Annotated

import typer

from owseg.cli._options import Json
from owseg.cli._printing import complain, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="Data sets: which ones can be opened, and whether yours is whole.")


@app.command("list")
def list_kinds(as_json: Json = False) -> None:
    """List the data sets that can be opened: what each is, how it must lie on disk, where it is from."""
    from owseg.data.datasets import DATASETS

    entries = DATASETS.entries
    if as_json:
        print_json({kind: {"what": e.help, "source": e.source, **e.facts} for kind, e in entries.items()})
        return
    for kind, entry in entries.items():
        facts = entry.facts
        print(f"{kind if kind == 'synthetic' else f'{kind}:DIR'}  {entry.help}")
        print(
            f"    classes  {facts['classes']}\n    layout   {facts['layout']}\n    splits   {', '.join(facts['splits'])}"
        )
        print(f"    from     {entry.source} (licence: {facts['licence']})")
    print("Next: owseg data check KIND:DIR")


@app.command("check")
def check_data(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="The data set: KIND:DIR or synthetic.")],
    split: Annotated[str | None, typer.Option(help="One split; by default every split there is.")] = None,
    as_json: Json = False,
) -> None:
    """Read every image and mask of a data set, and say what is in it and what is wrong. Exit code 1 if anything is.

    The fingerprint is the same wherever the same images and masks are opened.
    """
    from owseg.data.check import check

    found = check(spec, split)
    if as_json:
        print_json({"spec": spec, "splits": [checked.to_json() for checked in found]})
    else:
        for checked in found:
            rows = [(n, f"{checked.pixels[n]:,}", f"{share:.3%}") for n, share in checked.shares().items()]
            sizes = "; ".join(f"{count} of {size}" for size, count in checked.sizes.items())
            print(f"{checked.name}: {checked.frames} images; {sizes or 'none could be read'}.")
            print(f"Without ground truth: {checked.without_ground_truth}.")
            print(f"Fingerprint: {checked.fingerprint or 'none, see below'}.")
            print_table("", ("class", "pixels", "share"), rows)
            for line in checked.errors:
                complain(f"wrong: {line}")
    if any(checked.errors for checked in found):
        raise typer.Exit(1)

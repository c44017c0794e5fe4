"""``owseg import``: the network of others as a knowledge base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._options import Fpr, Json, OptionalData, parse_names
from owseg.cli._printing import next_command, save_version


def import_(
    network: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK",
            help="dmlnet:FILE (DeepLabV3+), dmlnet:ENCODER,DECODER or dmlnet:FOLDER (PSPNet), rpl:FILE: what the "
            "papers' authors give away. Or KIND:PLACE of a published network: {networks}.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Store the knowledge base in this directory.")],
    classes: Annotated[
        Path | None,
        typer.Option(help="JSON with the names of all its classes, in their order. Default: those of its data set."),
    ] = None,
    data: OptionalData = None,
    scorers: Annotated[
        str, typer.Option(help="With --data: what is fitted on its split train, with commas: {fitted}.")
    ] = "joint",
    scorer: Annotated[
        str | None,
        typer.Option(help="With --data: the score to calibrate on its split val. Default: that of the authors."),
    ] = None,
    fpr: Fpr = 0.05,
    as_json: Json = False,
) -> None:
    """Open a network that others trained, and store it as a knowledge base.

    Only tensors are read from their files. All of them have to be there, and none may be left over. With --data the
    scorers are fitted and the threshold is calibrated at once; the split val is divided, one half for each.
    """
    from owseg.data.datasets import open_dataset
    from owseg.data.datasets.folder import read_names
    from owseg.knowledge.calibration import calibrate, divide_val, fit_scorers
    from owseg.knowledge.commit import check_place
    from owseg.knowledge.imported import import_network

    check_place(out)
    names = None if classes is None else read_names(classes)
    kb = import_network(network, names)
    if data is None:
        save_version(kb, str(out), as_json, next_command("calibrate", out, "--data", "SET"))
        return
    choose, rest = divide_val(open_dataset(data, "val", kb.labels))
    kb = fit_scorers(kb, open_dataset(data, "train", kb.labels, train=True), parse_names(scorers), choose)
    kb = calibrate(kb, rest, fpr, scorer=scorer)
    note = "Note: val is too small to be divided: all of it fitted and calibrated.\n" if choose is rest else ""
    save_version(kb, str(out), as_json, f"{note}{next_command('evaluate', out, '--data', data)}")

"""``owseg fit-baseline``: an image scorer that is trained on known images, such as an autoencoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli._options import KB, Data, Json, Resume, Seed, parse_settings
from owseg.cli._printing import print_json
from owseg.errors import OwsegError

if TYPE_CHECKING:
    from owseg.data.dataset import DataSet
    from owseg.labels import LabelSpace

PRESETS = ("light", "paper")


def fit_baseline(
    kind: Annotated[str, typer.Argument(metavar="BASELINE", help="Which: {baselines}.")],
    kb: KB,
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="Store it in this file.")],
    preset: Annotated[
        str, typer.Option(help="light, for a CPU, or paper: the sizes and the schedule of the paper.")
    ] = "light",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An option: {baseline_options}.")
    ] = None,
    seed: Seed = 0,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Train a baseline of the papers' tables on known images: an image scorer that is a network of its own.

    It learns from the split train, of the classes that the network of KB was trained for, and is validated on val, or
    on an eighth of train where there is none. KB stays as it is. A recipe of owseg benchmark names the file.
    """
    from owseg._registry import read_options
    from owseg.knowledge.load import load
    from owseg.training import BASELINES
    from owseg.training.processes import is_first_process

    if preset not in PRESETS:
        raise OwsegError(f"there is no preset {preset!r}; it is {' or '.join(PRESETS)}.")
    card = BASELINES[kind]
    options = read_options(card, {**(card.facts["paper"] if preset == "paper" else {}), **parse_settings(settings)})
    base = load(kb)
    train, val = _opened(data, base.labels.without(base.learned_classes))
    run = Path(f"{out.resolve()}.run")
    path = BASELINES.make(kind, base, train, val, out, run, resume, seed, **options)
    if not is_first_process():
        return
    if as_json:
        return print_json({"baseline": kind, "file": path, "images": len(train), "options": options})
    print(f"{path} holds {kind}, trained on {len(train)} images of {train.source.name}.")
    print(f'Measure it with owseg benchmark: scorers = ["{kind}"] and options.{kind}.weights = "{path}".')


def _opened(spec: str, labels: LabelSpace) -> tuple[DataSet, DataSet]:
    """Return the images to train on and those to validate on; classes that ``labels`` does not have are void."""
    from owseg.data.datasets import open_dataset
    from owseg.data.unlabeled import hold_out
    from owseg.errors import NoSuchSplit

    data = open_dataset(spec, "train", labels, train=True)
    try:
        return data, open_dataset(spec, "val", labels, train=True)
    except NoSuchSplit:
        return hold_out(data)

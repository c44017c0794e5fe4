"""``owseg fit``: further scorers, fitted on labelled images."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli._compute import Compute
from owseg.cli._data import decoded_once
from owseg.cli._images import given_images
from owseg.cli._options import KB, Json, OptionalData, Out, Recursive, Slim, parse_names
from owseg.cli._printing import next_command, save_version
from owseg.errors import OwsegError

if TYPE_CHECKING:
    from owseg.data.dataset import DataSet
    from owseg.knowledge.base import KnowledgeBase


def fit(
    kb: KB,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGES", help="Without --data: images of known classes. The network labels them itself."
        ),
    ] = None,
    data: OptionalData = None,
    scorers: Annotated[
        str, typer.Option(help="Which, with commas: {fitted}. Default: knn,sml, and joint for IMAGES.")
    ] = "",
    split: Annotated[str, typer.Option(help="The split that the network was trained on.")] = "train",
    unlabeled: Annotated[
        str | None,
        typer.Option(
            help="With --data: a folder of photos of other cameras and places as well, which the network labels itself."
        ),
    ] = None,
    recursive: Recursive = False,
    out: Out = None,
    slim: Slim = False,
    as_json: Json = False,
    compute: Compute = Compute(),  # noqa: B008
) -> None:
    """Fit further scorers, such as knn (k nearest features) or sml (standardized max logits), on labelled images.

    joint, which includes mahalanobis, is part of what owseg train stores. Fit it for a network from elsewhere, on
    IMAGES without labels: that network can then learn classes by the probe, too. With --data its scales are fitted on
    the split val, where there is one. The score in use does not change; use another with owseg calibrate --scorer
    NAME, or compare them with owseg evaluate.
    """
    from owseg.evaluation import diagnostics
    from owseg.knowledge.calibration import fit_scorers, in_own_labels
    from owseg.knowledge.pretrained import writable

    if bool(images) == (data is not None):
        raise OwsegError("scorers are fitted on labelled images, --data SET, or on IMAGES without labels: give either.")
    if unlabeled is not None and data is None:
        raise OwsegError("--unlabeled adds photos to labelled images, --data SET; without them give the photos alone.")
    if recursive and not (images or unlabeled):
        raise OwsegError("--recursive is for images without labels: IMAGES, or --unlabeled FOLDER.")
    target, base, held_out = writable(kb, out), compute.load(kb), None
    wanted = parse_names(scorers) or (("joint",) if images else ("knn", "sml"))
    if data is None:
        new = fit_scorers(base, labelled := in_own_labels(base, _photos(base, images or [], recursive)), wanted)
        hint = next_command("calibrate", target, "--data", "SET", "--scorer", wanted[0])
    else:
        photos = None if unlabeled is None else _photos(base, [unlabeled], recursive)
        labelled, held_out = _labelled(base, data, split, wanted)
        new = fit_scorers(base, labelled, wanted, held_out, unlabeled=photos)
        hint = next_command("evaluate", target, "--data", data, "--scorers", "all")

    def check() -> list[str]:
        found = diagnostics.of_sizes(base.network.size, diagnostics.sizes_of(labelled))
        return found + (diagnostics.of_fit(wanted, held_out is not None) if data else [])

    save_version(new, target, as_json, hint, slim, check)


def _photos(kb: KnowledgeBase, images: list[str], recursive: bool) -> DataSet:
    from owseg.data.unlabeled import unlabeled_images

    return decoded_once(unlabeled_images(given_images(images, recursive).paths, kb.labels))


def _labelled(kb: KnowledgeBase, data: str, split: str, scorers: tuple[str, ...]) -> tuple[DataSet, DataSet | None]:
    from owseg.data.datasets import open_dataset
    from owseg.errors import NoSuchSplit

    held_out = None
    if "joint" in scorers:
        with suppress(NoSuchSplit):
            # joint alone reads held-out images: its scales should come from images that the network was not trained on.
            held_out = decoded_once(open_dataset(data, "val", kb.labels, train=True))
    # train=True: classes that the knowledge base does not know are void in a fit.
    return decoded_once(open_dataset(data, split, kb.labels, train=True)), held_out

"""``owseg train``: a network, and the knowledge base around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from owseg.cli._help import names_of
from owseg.cli._images import given_images
from owseg.cli._options import (
    Data,
    Fpr,
    Json,
    Recursive,
    Resume,
    Slim,
    parse_names,
    parse_scales,
)
from owseg.cli._printing import next_command, save_version
from owseg.cli._training import (
    Batch,
    Crop,
    Devices,
    Epochs,
    Members,
    Overwrite,
    Precision,
    Seed,
    check_run,
    config_of,
    epochs_unless_given,
)
from owseg.errors import NoSuchSplit, OwsegError
from owseg.training.config import CLASSIFIER, DEFAULT_BACKBONE, PROTOTYPE_SCALE
from owseg.training.presets import TRAIN, preset_named

if TYPE_CHECKING:
    from owseg.knowledge.base import KnowledgeBase
    from owseg.models.backbones.base import Backbone as BackboneModule

NewKB = Annotated[Path, typer.Argument(metavar="KB", help="Directory for the new knowledge base.")]


Backbone = Annotated[
    str,
    typer.Option(
        help="A backbone: a name of the hub (OWNER/NAME), a folder of transformers, or a name of owseg, with FILE for "
        "its ImageNet weights. One of each family: {backbones}."
    ),
]


Preset = Annotated[
    str,
    typer.Option(
        help="Settings of training and network by name: {train_presets}. Any option that is given wins over them."
    ),
]


Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting; may be repeated. In light: {train_settings}."),
]


Mode = Annotated[
    str | None,
    typer.Option(
        help="frozen: the backbone stays as it is, decoder and classifier learn on its features; minutes on a CPU. "
        "tuned: it learns, too."
    ),
]


Val = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Where the data set has no split val: this share of its training images, such as 0.2, drawn with --seed.",
    ),
]


Unknown = Annotated[str, typer.Option(help="Classes to treat as unknown, by name: car,pedestrian.")]


Decoder = Annotated[str | None, typer.Option(help="Decoder of the network: {decoders}.")]


Width = Annotated[int | None, typer.Option(min=8, help="Channels of each decoder.")]


Classifier = Annotated[
    str, typer.Option(help="prototype: DMLNet's metric space, for its scores (EDS, MMSP) and NPM; or linear.")
]


Scale = Annotated[
    float, typer.Option(help="T, the distance of the prototypes from the origin; 3 in DMLNet and by default.")
]


Size = Annotated[
    int | None,
    typer.Option(
        min=32,
        help="Working size: the shorter side to which images are resized, here and whenever the "
        "network is used; by default that of the training images.",
    ),
]


Scales = Annotated[
    str | None,
    typer.Option(
        help="Factors of the working size at which the trained network looks at each image; what it finds is averaged. "
        "1 alone is a third faster."
    ),
]


OutlierFolder = Annotated[
    Path | None,
    typer.Option(
        "--outliers",
        help="Folder of objects of unknown classes (RGBA cut-outs, images/ and masks/, or COCO): the trained "
        "network gets a class for what they show, which scores alone read (see train-negative).",
    ),
]


Exclude = Annotated[
    str, typer.Option(help="Categories of outliers to leave out, besides the known classes: cow,sheep.")
]


Unlabeled = Annotated[
    str | None,
    typer.Option(
        help="Folder of photos of other cameras and places, which show known classes and need no labels: so that "
        "another place is less unknown. Scores alone read them."
    ),
]


From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="KB",
        help="Begin with this knowledge base: one network of all classes that it has and has learned. Where masks say "
        "nothing, and for the classes of --unknown, the labels are what it predicts.",
    ),
]


Background = Annotated[
    bool, typer.Option("--background", help="A baseline: train void as a class; its probability is the score.")
]


def train(
    out: NewKB,
    data: Data,
    backbone: Backbone = DEFAULT_BACKBONE,
    preset: Preset = "light",
    mode: Mode = None,
    val: Val = None,
    unknown: Unknown = "",
    start: From = None,
    decoder: Decoder = None,
    width: Width = None,
    members: Members = None,
    classifier: Classifier = CLASSIFIER,
    scale: Scale = PROTOTYPE_SCALE,
    epochs: Epochs = None,
    batch: Batch = None,
    size: Size = None,
    scales: Scales = None,
    crop: Crop = None,
    seed: Seed = None,
    precision: Precision = None,
    devices: Devices = None,
    settings: Settings = None,
    fpr: Fpr = 0.05,
    outliers: OutlierFolder = None,
    exclude: Exclude = "",
    unlabeled: Unlabeled = None,
    recursive: Recursive = False,
    background: Background = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    slim: Slim = False,
    as_json: Json = False,
) -> None:
    """Train a network on the train split of a data set, and store it as a knowledge base.

    Half of the val split chooses the weights and fits the score, the other half calibrates the threshold. Logs (CSV,
    TensorBoard) and the checkpoint for --resume are in KB.run beside it.

    With --from OLD what OLD learned from a few images becomes part of the network, once there is more to train on: such
    as the images that were predicted since, without masks of the new classes.
    """
    from owseg.data.outliers import leave_out, open_outliers
    from owseg.training.build import build_knowledge_base
    from owseg.training.consolidate import consolidate
    from owseg.training.processes import is_first_process

    given = {"backbone": backbone != DEFAULT_BACKBONE, "decoder": decoder, "width": width, "members": members,
             "classifier": classifier != CLASSIFIER, "scale": scale != PROTOTYPE_SCALE, "size": size, "scales": scales,
             "background": background}  # fmt: skip
    base = None if start is None else begun_with(start, given)
    chosen = preset_named(TRAIN, preset)
    config = config_of(chosen.config, settings, epochs, batch, crop, seed, precision, devices, mode=mode)
    check_parts(decoder or chosen.decoder, classifier, scale)
    if slim:
        check_slim(backbone if base is None else base.network.backbone, config.mode)
    run = run_beside(out, overwrite, resume)  # before hours of training, not after
    config = epochs_unless_given(config, image_count(data, val), epochs, settings)
    objects = None if outliers is None else leave_out(parse_names(exclude), open_outliers(outliers))[0]
    photos = photos_in(unlabeled, recursive)
    shared: dict[str, Any] = {
        "fpr": fpr, "outliers": objects, "unlabeled": photos, "resume": resume, "val_share": val,
    }  # fmt: skip
    if base is not None:
        kb = consolidate(base, data, config, run, unknown=parse_names(unknown), **shared)
    else:
        kb = build_knowledge_base(
            data, backbone, parse_names(unknown), config, run, decoder=decoder or chosen.decoder,
            width=width or chosen.width, members=members or chosen.members, classifier=classifier, scale=scale,
            size=size, scales=chosen.scales if scales is None else parse_scales(scales), background=background,
            **shared,
        )  # fmt: skip
    # With several devices every process arrives here with the same weights; one stores them.
    if is_first_process():
        finish(kb, out, data, val, config.seed, slim, as_json)


def begun_with(name: str, given: Mapping[str, object]) -> KnowledgeBase:
    """Return the knowledge base to begin with; raise ``OwsegError`` where parts of another network are ``given``."""
    from owseg.knowledge.load import load

    if wrong := [option for option, value in given.items() if value]:
        raise OwsegError(f"the network is that of --from {name}; leave --{wrong[0]} out.")
    return load(name)


def finish(kb: KnowledgeBase, out: Path, data: str, val: float | None, seed: int, slim: bool, as_json: bool) -> None:
    """Store the knowledge base, evaluate it on val, and print what is wrong and what to do next."""
    from owseg.evaluation.diagnostics import of_training
    from owseg.training.build import train_and_val

    split = () if has_split(data, "test") else ("--split", "val")  # what can be measured, as evaluate reads test
    hint = f"{note_on_val(kb, data, val)}{next_command('evaluate', out, '--data', data, *split)}"
    save_version(kb, str(out), as_json, hint, slim, lambda: of_training(kb, *train_and_val(data, kb.labels, val, seed)))


def photos_in(folder: str | None, recursive: bool) -> Sequence[Path]:
    """Return the images in a folder without labels; raise ``OwsegError`` for --recursive without one."""
    if folder is None:
        if recursive:
            raise OwsegError("--recursive is for the images of --unlabeled FOLDER; give it, or leave --recursive out.")
        return ()
    return given_images([folder], recursive).paths


def run_beside(out: Path, overwrite: bool, resume: bool) -> Path:
    """Return the folder of the run; raise ``OwsegError`` where nothing can be stored, or something is there already."""
    from owseg.knowledge.commit import check_place
    from owseg.knowledge.versions import has_version

    check_place(out)
    run = Path(f"{out.resolve()}.run")
    check_run(run, out, has_version(out), overwrite, resume)
    return run


def image_count(data: str, val_share: float | None) -> int:
    """Return how many training images a data set has, besides the share that is kept to validate."""
    from owseg.data.datasets import open_source

    return round((1 - (val_share or 0)) * len(open_source(data, "train").ids))


def has_split(data: str, split: str) -> bool:
    """Return whether a data set has a split of this name."""
    from owseg.data.datasets import open_source

    try:
        open_source(data, split)
    except NoSuchSplit:
        return False
    return True


def note_on_val(kb: KnowledgeBase, data: str, val_share: float | None) -> str:
    """Return a line that says where one set of images had to do for two uses; "" where each had its own."""
    from owseg.data.datasets import open_source

    if val_share is None and open_source(data, "train").name == open_source(data, "val").name:
        return (
            f"Note: {data} has no val/, so its training images also chose the weights and the threshold; --val 0.2 "
            "keeps a fifth of them for that, and lists of names, train.txt and val.txt, say which are which.\n"
        )
    if not kb.history[0].details["val"]["calibrated_apart"]:
        return "Note: val is too small to be divided: all of it chose the weights and the threshold.\n"
    return ""


def check_slim(backbone: str | BackboneModule, mode: str) -> None:
    """Raise ``OwsegError`` for a backbone that cannot be named instead of being stored."""
    from owseg.models.backbones.base import from_pretrained
    from owseg.models.backbones.reference import reference_to

    if mode != "frozen":
        raise OwsegError(f"--slim names a backbone that stays as it is; with --mode {mode} it does not.")
    reference_to(from_pretrained(backbone) if isinstance(backbone, str) else backbone)


def check_parts(decoder: str, classifier: str, scale: float) -> None:
    """Raise ``OwsegError`` for a decoder that cannot be trained, as those of published networks, and a scale alone."""
    if decoder not in (names := list(names_of("decoders"))):
        raise OwsegError(f"there is no decoder {decoder!r} to train; it is one of {', '.join(names)}.")
    if scale != PROTOTYPE_SCALE and classifier != "prototype":
        raise OwsegError(f"--scale is that of prototypes; a {classifier} classifier has none.")

"""``owseg train``: a network, and the knowledge base around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from owseg.cli._train_options import (
    Backbone,
    Background,
    Classifier,
    Decoder,
    Exclude,
    From,
    Mode,
    NewKB,
    OutlierFolder,
    Preset,
    Scale,
    Scales,
    Settings,
    Size,
    Unknown,
    Unlabeled,
    Val,
    Width,
)
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
from owseg.training.config import CLASSIFIER, DEFAULT_BACKBONE, PROTOTYPE_SCALE, TrainConfig
from owseg.training.presets import TRAIN, TrainPreset, preset_named

if TYPE_CHECKING:
    from owseg.knowledge.base import KnowledgeBase
    from owseg.models.backbones.base import Backbone as BackboneModule


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
    """
    from owseg.data.outliers import leave_out, open_outliers
    from owseg.training.processes import is_first_process

    parts = Parts(backbone, decoder, width, members, classifier, scale, size, scales, background)
    base = None if start is None else begun_with(start, parts)
    chosen = preset_named(TRAIN, preset)
    config = config_of(chosen.config, settings, epochs, batch, crop, seed, precision, devices, mode=mode)
    check_parts(decoder or chosen.decoder, classifier, scale)
    if slim:
        check_slim(backbone if base is None else base.network.backbone, config.mode)
    run = run_beside(out, overwrite, resume)  # before hours of training, not after
    config = epochs_unless_given(config, image_count(data, val), epochs, settings)
    objects = None if outliers is None else leave_out(parse_names(exclude), open_outliers(outliers))[0]
    kb = trained(
        base, data, parse_names(unknown), config, run, parts, chosen,
        fpr=fpr, outliers=objects, unlabeled=photos_in(unlabeled, recursive), resume=resume, val_share=val,
    )  # fmt: skip
    # With several devices every process arrives here with the same weights; one stores them.
    if is_first_process():
        finish(kb, out, data, val, config.seed, slim, as_json)


@dataclass(frozen=True)
class Parts:
    """What the network is made of, as it was given; the defaults are those of the options."""

    backbone: str = DEFAULT_BACKBONE
    decoder: str | None = None
    width: int | None = None
    members: int | None = None
    classifier: str = CLASSIFIER
    scale: float = PROTOTYPE_SCALE
    size: int | None = None
    scales: str | None = None
    background: bool = False


def trained(
    base: KnowledgeBase | None, data: str, unknown: Sequence[str], config: TrainConfig, run: Path, parts: Parts,
    chosen: TrainPreset, **more: Any,
) -> KnowledgeBase:  # fmt: skip
    """Return the knowledge base of a new network of these ``parts``, or of that of ``base`` with all of its classes."""
    from owseg.training.build import build_knowledge_base
    from owseg.training.consolidate import consolidate

    if base is not None:
        return consolidate(base, data, config, run, unknown=unknown, **more)
    return build_knowledge_base(
        data, parts.backbone, unknown, config, run, decoder=parts.decoder or chosen.decoder,
        width=parts.width or chosen.width, members=parts.members or chosen.members, classifier=parts.classifier,
        scale=parts.scale, size=parts.size, background=parts.background,
        scales=chosen.scales if parts.scales is None else parse_scales(parts.scales), **more,
    )  # fmt: skip


def begun_with(name: str, parts: Parts) -> KnowledgeBase:
    """Return the knowledge base to begin with; raise ``OwsegError`` where parts of another network are given."""
    from owseg.knowledge.load import load

    usual = Parts()
    if given := [field.name for field in fields(Parts) if getattr(parts, field.name) != getattr(usual, field.name)]:
        raise OwsegError(f"the network is that of --from {name}; leave --{given[0]} out.")
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

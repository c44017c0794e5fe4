"""``owseg learn``: a new class from annotated images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli._compute import Compute
from owseg.cli._data import decoded_once
from owseg.cli._options import KB, Json, Out, Slim, data_spec, parse_names, parse_settings
from owseg.cli._printing import next_command, save_version
from owseg.cli._rebase import Rebase, on_newest
from owseg.errors import OwsegError

if TYPE_CHECKING:
    from owseg.knowledge.base import KnowledgeBase
    from owseg.learners.base import Learner
    from owseg.learners.sequence import ClassShots
    from owseg.types import Forward

MANY = 10
"""The sizes of so many shots tell whether they are those of the training."""


Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The new class. Several with commas are learned one after another.")
]


Shots = Annotated[
    Path | None,
    typer.Option(
        help="Annotated images: a folder with images/ and masks/ of the same names (0 is not the class), or "
        "annotations: {formats}."
    ),
]


ImageFolder = Annotated[
    Path | None,
    typer.Option("--images", help="Folder of the annotated images; by default the one that the annotations are in."),
]


ShotData = Annotated[
    str | None,
    typer.Option("--data", callback=data_spec, help="Instead of --shots: a labelled data set to draw the shots from."),
]


FromQueue = Annotated[
    Path | None,
    typer.Option(
        "--queue",
        help="Instead of --shots: a queue in which regions were accepted as the class (owseg review). Learned from are "
        "the images that were chosen there, or the first five; what was rejected are counterexamples.",
    ),
]


ShotSplit = Annotated[
    str, typer.Option(help="With --data: the split to draw from (synthetic has one that is called shots).")
]


Not = Annotated[
    Path | None,
    typer.Option(
        "--not",
        metavar="FOLDER",
        help="Counterexamples: a folder with images/ and masks/, which mark what is not the class; all else is void.",
    ),
]


Count = Annotated[int, typer.Option(help="With --data: how many shots, one or more.")]


Seed = Annotated[int, typer.Option(help="With --data: seed of the draw.")]


Top = Annotated[
    float, typer.Option(help="With --data: draw from this share of the images, those in which the class is largest.")
]


Manifest = Annotated[
    Path | None,
    typer.Option(help="With --data: record the shots in this file; if it exists, learn from the shots it records."),
]


Method = Annotated[
    str, typer.Option(help="{methods}. Default: probe, or npm for a network without fitted feature scorers.")
]


Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="An option of the method; may be repeated: {method_options}."),
]


Known = Annotated[
    str | None,
    typer.Option(
        callback=data_spec,
        help="Labelled data set on whose val split the threshold is calibrated again; by default that of --data.",
    ),
]


def learn(
    kb: KB,
    name: Name,
    shots: Shots = None,
    images: ImageFolder = None,
    data: ShotData = None,
    queue: FromQueue = None,
    split: ShotSplit = "train",
    count: Count = 5,
    seed: Seed = 0,
    top: Top = 0.2,
    manifest: Manifest = None,
    not_: Not = None,
    method: Method = "",
    settings: Settings = None,
    known: Known = None,
    rebase: Rebase = True,
    out: Out = None,
    slim: Slim = False,
    as_json: Json = False,
    compute: Compute = Compute(),  # noqa: B008
) -> None:
    """Learn a class from a few annotated images, or many, without forgetting the others. Undo with owseg rollback.

    For a class that is known already see owseg correct.
    """
    from owseg.data.datasets import open_dataset
    from owseg.knowledge.pretrained import writable
    from owseg.learners.sequence import learn_sequence, save_stages
    from owseg.models.cache import CachedForward

    check_sources(shots, data, queue, images, manifest)
    target, base, learner = writable(kb, out), compute.load(kb), chosen_learner(method, settings)
    names = new_classes(name, base.labels.names, one=not_ is not None)
    if shots is not None:
        to_learn = annotated_shots(names, shots, images)
    elif queue is not None:
        to_learn = accepted_shots(names, queue)
    else:
        to_learn = drawn_shots(names, data or "", split, count, seed, top, manifest)
    if not_ is not None:
        to_learn = with_counterexamples(to_learn, not_)
    spec, left = known or data, list(to_learn)
    hint = next_command("predict", "--kb", target, "IMAGES")
    if not spec and base.threshold:
        hint = f"The threshold was not changed; --known KIND:DIR would calibrate it again.\n{hint}"

    def step(base: KnowledgeBase) -> None:
        forward = CachedForward(base.engine())  # what the shots leave is read again where they are checked
        calibration = decoded_once(open_dataset(spec, "val", base.labels)) if spec else None
        stages, learned = learn_sequence(base, left, calibration, learner, forward), list(left)
        # A version for each class, so that each can be undone; the last one is stored and reported below.
        save_stages(base, [], target, slim)
        for stage in stages[:-1]:
            stage.save(target, slim)
            del left[0]  # stored: not to be learned again
        diagnosed = partial(diagnosis, (base, *stages), learned, learner, forward, spec is not None)
        save_version(stages[-1], target, as_json, hint, slim, diagnosed)

    on_newest(step, kb, target, base, rebase, compute.load)


def diagnosis(
    stages: Sequence[KnowledgeBase],
    learned: list[ClassShots],
    learner: Learner | None,
    forward: Forward,
    calibrated: bool,
) -> list[str]:
    """Return what is wrong with the shots of each class, and with the threshold where it was ``calibrated`` again.

    ``stages`` begin before the first class.
    """
    from owseg.evaluation import diagnostics
    from owseg.learners.leave_one_out import left_out_iou

    sizes = [shot.size for new in learned for shot in islice(new.shots, MANY)]
    found = diagnostics.of_sizes(stages[0].network.size, sizes)
    for before, new in zip(stages, learned, strict=False):
        found += diagnostics.of_shots(new.name, left_out_iou(before, new.name, new.shots, learner, forward))
    return found + (diagnostics.of_histogram(stages[-1].threshold) if calibrated else [])


def chosen_learner(method: str, settings: list[str] | None) -> Learner | None:
    """Return the learner called ``method`` with its ``settings``, None for the default; settings alone are refused."""
    from owseg.learners.auto import learner_named

    if not method and settings:
        raise OwsegError("--set changes an option of a method; name it with --method.")
    return learner_named(method, parse_settings(settings)) if method else None


def with_counterexamples(to_learn: Sequence[ClassShots], folder: Path) -> list[ClassShots]:
    """Return what to learn with the images of ``folder``, whose masks mark what is not the class."""
    from owseg.data.lazy import joined
    from owseg.data.shots import read_counterexamples
    from owseg.learners.sequence import ClassShots

    return [ClassShots(new.name, joined(new.shots, read_counterexamples(folder))) for new in to_learn]


def check_sources(
    shots: Path | None, data: str | None, queue: Path | None, images: Path | None, manifest: Path | None
) -> None:
    """Raise ``OwsegError`` unless the shots come from just one place."""
    from owseg.data.datasets import DATASETS

    given = sum(source is not None for source in (shots, data, queue))
    if not given:
        raise OwsegError("give --shots FOLDER, --data KIND:DIR or --queue QUEUE: images to learn from.")
    if given > 1:
        raise OwsegError(
            "give one of --shots, --data and --queue; to calibrate the threshold again on a data set, use --known."
        )
    if shots is not None and not shots.exists() and (spec := str(shots)).partition(":")[0] in DATASETS:
        raise OwsegError(f"{spec} is a data set; give it as --data.")
    if images is not None and shots is None:
        raise OwsegError("--images says where the images of --shots are; leave it out.")
    if manifest is not None and data is None:
        raise OwsegError("--manifest records shots that are drawn; give --data KIND:DIR, or leave it out.")


def new_classes(text: str, known: Sequence[str], one: bool = False) -> tuple[str, ...]:
    """Return the classes to learn, from names with commas.

    Raises ``OwsegError`` for none, several where there is to be ``one``, a bad and a known name.
    """
    from owseg.labels import check_class_names

    names = parse_names(text)
    if not names:
        raise OwsegError("name the class to learn, or several with commas.")
    if one and len(names) > 1:
        raise OwsegError("--not says what one class is not; learn one at a time.")
    check_class_names(names)
    if taken := sorted(set(names) & set(known)):
        raise OwsegError(
            f"{taken[0]!r} is known already; owseg correct extends it, or give the new class another name."
        )
    return names


def annotated_shots(names: Sequence[str], shots: Path, images: Path | None) -> list[ClassShots]:
    """Return the shots of each class from annotations; masks in a folder are of one class only."""
    from owseg.exchange.shots import read_shots
    from owseg.learners.sequence import ClassShots

    if len(names) != 1 and (shots / "masks").is_dir():
        raise OwsegError(f"the masks in {shots} show one class, not {', '.join(names)}; learn one at a time.")
    return [ClassShots(name, read_shots(shots, name, images)) for name in names]


def accepted_shots(names: Sequence[str], queue: Path) -> list[ClassShots]:
    """Return the shots of each class from the decisions in a queue."""
    from owseg.discovery.queue_shots import shots_to_learn
    from owseg.learners.sequence import ClassShots

    return [ClassShots(name, shots_to_learn(queue, name)) for name in names]


def drawn_shots(
    names: Sequence[str], data: str, split: str, count: int, seed: int, top: float, manifest: Path | None
) -> list[ClassShots]:
    """Return the shots of each class from a data set: those that ``manifest`` records, or drawn and then recorded."""
    from owseg.data.datasets import open_dataset
    from owseg.learners.sequence import read_manifest, sample_classes, write_manifest

    source = decoded_once(open_dataset(data, split))
    if manifest is None or not manifest.exists():
        drawn = sample_classes(source, names, count, seed, top)
        if manifest is not None:
            write_manifest(manifest, drawn, source, count=count, seed=seed, top=top)
        return drawn
    recorded = read_manifest(manifest, source)
    if (listed := tuple(c.name for c in recorded)) != tuple(names):
        raise OwsegError(f"{manifest} lists {','.join(listed)}, not {','.join(names)}; name those, or another file.")
    return recorded

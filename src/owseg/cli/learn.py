"""``owseg learn``: a new class from annotated images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._options import KB, Json, Out, Settings, names, parse_settings
from owseg.cli._printing import save
from owseg.errors import OwsegError


def learn(
    kb: KB,
    name: Annotated[
        str, typer.Argument(help="The new class; of several with commas, each is learned in its turn and stored.")
    ],
    shots: Annotated[
        Path | None,
        typer.Option(
            help="Folder with images/ and masks/ of the same names (0 in a mask is off the class); "
            "or annotations: COCO, CVAT, Label Studio, LabelMe."
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Where the annotated images are; by default beside the annotations.")
    ] = None,
    data: Annotated[str | None, typer.Option("--data", help="Or draw the shots from a labelled data set.")] = None,
    split: Annotated[
        str, typer.Option(help="Which split to draw from; the synthetic streets have one named shots.")
    ] = "train",
    count: Annotated[int, typer.Option(help="How many to draw (1 to 5).")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    top: Annotated[float, typer.Option(help="Draw among this share of the frames: those that show it best.")] = 0.2,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Write down here which frames were drawn; if the file exists, learn from those again."),
    ] = None,
    method: Annotated[
        str, typer.Option(help="probe (the default), npm or plm (DMLNet's), or finetune (the baseline that forgets).")
    ] = "",
    settings: Settings = None,
    known: Annotated[
        str | None,
        typer.Option(help="Labelled data set whose val split re-calibrates the threshold; by default that of --data."),
    ] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Learn a class from one to five annotated images, without forgetting the others. Undo with owseg rollback."""
    from owseg.data.datasets import open_dataset
    from owseg.exchange.shots import read_shots
    from owseg.knowledge.load import load
    from owseg.knowledge.pretrained import writable
    from owseg.learners.auto import learner_named
    from owseg.learners.sequence import (
        ClassShots,
        learn_sequence,
        read_manifest,
        sample_classes,
        save_stages,
        write_manifest,
    )

    if (shots is None) == (data is None):
        raise OwsegError("give either --shots FOLDER or --data SET, so that there are images to learn from.")
    if images is not None and shots is None:
        raise OwsegError("--images says where the images of --shots are; with --data leave it out.")
    target, base, classes = writable(kb, out), load(kb), names(name)
    how = learner_named(method, parse_settings(settings)) if method else None
    if how is None and settings:
        raise OwsegError("--set changes an option of a method; name it with --method.")
    if not classes:
        raise OwsegError("name the class to learn, or several with commas.")
    if taken := sorted(set(classes) & set(base.labels.names)):
        raise OwsegError(f"{taken[0]!r} is known already; give the new class another name, or roll back first.")
    if shots is not None:
        if manifest is not None or (len(classes) != 1 and (shots / "masks").is_dir()):
            raise OwsegError("a folder of masks shows one class; for several or for a manifest give --data SET.")
        to_learn = [ClassShots(n, tuple(read_shots(shots, n, images))) for n in classes]
    else:
        source = open_dataset(data or "", split)
        if manifest is not None and manifest.exists():
            to_learn = read_manifest(manifest, source)
            if (listed := tuple(c.name for c in to_learn)) != classes:
                raise OwsegError(f"{manifest} lists {','.join(listed)}, not {name}; name those, or another file.")
        else:
            to_learn = sample_classes(source, classes, count, seed, top)
    calibration = open_dataset(known or data or "", "val", base.labels) if known or data else None
    stages = learn_sequence(base, to_learn, calibration, how)
    if manifest is not None and not manifest.exists():
        write_manifest(manifest, to_learn, source, count=count, seed=seed, top=top)
    save_stages(base, stages[:-1], target)
    hint = f"Next: owseg predict --kb {target} PICTURES"
    if calibration is None and base.threshold:
        hint = f"The threshold stayed as it was; --known SET would re-calibrate it.\n{hint}"
    save(stages[-1], target, as_json, hint)

"""The circle: find what is unknown, decide about it, learn it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from owseg.cli.options import KB, Json, Out, Pictures, names
from owseg.cli.printing import complain, print_json, save
from owseg.errors import OwsegError
from owseg.files import write_whole


def discover(
    kb: KB,
    pictures: Pictures,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the queue; where there is one, go on with it.")],
    min_area: Annotated[
        float, typer.Option(help="The smallest region: below 1 a share of the picture, from 1 on pixels.")
    ] = 0.002,
    split_at: Annotated[
        float, typer.Option(help="Touching things are told apart below this cosine, from -1 (never) to 1.")
    ] = 0.5,
    as_json: Json = False,
) -> None:
    """Find what is unknown in many pictures and put it into groups: a queue to decide about.

    Writes a folder with every unknown region, the groups in the order in which to look at them, and an overview,
    groups.jpg. A run that was stopped goes on where it was. Exit code 1 if any picture could not be read.
    """
    from owseg.discover import discover as look_for
    from owseg.knowledge import load
    from owseg.predict import find

    queue, found = look_for(load(kb), find(pictures), out, kb, min_area, split_at)
    if as_json:
        print_json({"queue": str(queue.folder), **vars(found)})
    else:
        for reason in found.skipped:
            complain(f"skipped: {reason}")
        copies = f" ({found.copies} of them repeat others)" if found.copies else ""
        print(f"{found.regions} unknown regions{copies} in {found.groups} groups, from {found.pictures} pictures.")
        print(f"Look at {out / 'groups.jpg'}. Next: owseg review {kb} {out}")
    if found.skipped:
        raise typer.Exit(1)


def review(
    kb: KB,
    queue: Annotated[Path, typer.Argument(metavar="QUEUE", help="The folder that owseg discover made.")],
    out: Out = None,
    port: Annotated[int, typer.Option(help="Where the page is served.")] = 8765,
    host: Annotated[
        str, typer.Option(help="The address to serve at; any but this computer's own makes a token part of the URL.")
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
) -> None:
    """Decide about the unknown regions in a browser: accept, reject, correct, name them, and learn the class.

    Every action is on the disk at once; stop with Ctrl-C, and go on later where you were.
    """
    from owseg.review.serve import serve
    from owseg.shipped import writable

    serve(kb, writable(kb, out), queue, host, port, browser)


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
        Path | None, typer.Option(help="Where the annotated pictures are; by default beside the annotations.")
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
    radius: Annotated[
        float | None, typer.Option(help="npm: lambda_novel, a squared distance; by default from the shots.")
    ] = None,
    heads: Annotated[str, typer.Option(help="plm: all heads answer, or only the latest.")] = "all",
    known: Annotated[
        str | None,
        typer.Option(help="Labelled data set whose val split re-calibrates the threshold; by default that of --data."),
    ] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Learn a class from one to five annotated pictures, without forgetting the others. Undo with owseg rollback."""
    from owseg import store
    from owseg.data import open_dataset
    from owseg.exchange import shots_at
    from owseg.knowledge import load
    from owseg.learners import learner_named
    from owseg.learners.stream import Lesson, draw, from_manifest, learn_stream
    from owseg.learners.stream import manifest as described
    from owseg.shipped import writable

    if (shots is None) == (data is None):
        raise OwsegError("give either --shots FOLDER or --data SET, so that there are pictures to learn from.")
    if images is not None and shots is None:
        raise OwsegError("--images says where the pictures of --shots are; with --data leave it out.")
    target, base, classes = writable(kb, out), load(kb), names(name)
    how = learner_named(method, radius, heads)
    if not classes:
        raise OwsegError("name the class to learn, or several with commas.")
    if taken := sorted(set(classes) & set(base.labels.names)):
        raise OwsegError(f"{taken[0]!r} is known already; give the new class another name, or roll back first.")
    if shots is not None:
        if manifest is not None or (len(classes) != 1 and (shots / "masks").is_dir()):
            raise OwsegError("a folder of masks teaches one class; for a stream or a manifest give --data SET.")
        lessons = [Lesson(n, tuple(shots_at(shots, n, images))) for n in classes]
    else:
        source = open_dataset(data or "", split)
        if manifest is not None and manifest.exists():
            lessons = from_manifest(manifest, source)
            if (told := tuple(lesson.name for lesson in lessons)) != classes:
                raise OwsegError(f"{manifest} teaches {','.join(told)}, not {name}; name those, or another file.")
        else:
            lessons = draw(source, classes, count, seed, top)
    calibration = open_dataset(known or data or "", "val", base.labels) if known or data else None
    stages = learn_stream(base, lessons, calibration, how)
    if manifest is not None and not manifest.exists():
        rule = {"count": count, "seed": seed, "top": top}
        write_whole(manifest, json.dumps(described(lessons, source, **rule), indent=1).encode() + b"\n")
    if not store.holds(target):
        base.save(target)  # so that what was learned can be undone there, too
    for stage in stages[:-1]:
        stage.save(target)
    hint = f"Next: owseg predict --kb {target} PICTURES"
    if calibration is None and base.threshold:
        hint = f"The threshold stayed as it was; --known SET would re-calibrate it.\n{hint}"
    save(stages[-1], target, as_json, hint)

"""``owseg predict``: images in, label maps and anomaly scores out."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli._images import given_images
from owseg.cli._options import FullResolution, Images, Json, MultiScale, Recursive, Size, Task, Tile
from owseg.cli._printing import command, print_json, print_note
from owseg.errors import OwsegError

if TYPE_CHECKING:
    from owseg.inference.predict import Result
    from owseg.knowledge.base import KnowledgeBase


def predict(
    images: Images,
    kb: Annotated[
        str, typer.Option("--kb", help="Directory of a knowledge base, or the name of a shipped one: {shipped}.")
    ] = "street",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the maps.")] = Path("predictions"),
    npy: Annotated[bool, typer.Option("--npy", help="Write scores as float32 .npy instead of 16-bit PNG.")] = False,
    full_resolution: FullResolution = False,
    multi_scale: MultiScale = False,
    size: Size = None,
    tile: Tile = False,
    adapt: Annotated[
        bool,
        typer.Option(
            "--adapt", help="Move the threshold to these images first: an estimate, which owseg adapt would store."
        ),
    ] = False,
    task: Task = "unknown",
    recursive: Recursive = False,
    as_json: Json = False,
    as_lines: Annotated[
        bool, typer.Option("--jsonl", help="Print one line of JSON for each image, as soon as it is done.")
    ] = False,
) -> None:
    """Label every pixel of images, and mark those that are unknown.

    Writes, for each image NAME: NAME.labels.png (class ids, with a palette), NAME.score.png (anomaly score),
    NAME.open.jpg (the image tinted with its classes, the unknown hatched in magenta, unknown things in boxes) and
    NAME.regions.json (these things: boxes, scores, masks); and beside them classes.json and legend.png, the classes and
    their colours. Of a folder, NAME is the path below it. Says so where the images are of another place than those that
    the threshold was found on. Exit code 1 if any image could not be read.
    """
    from owseg._files import check_writable
    from owseg.inference.predict import predict_files
    from owseg.knowledge.adaptation import adapt_to_some
    from owseg.knowledge.load import load
    from owseg.knowledge.pretrained import stored_version
    from owseg.knowledge.tasks import for_task

    if as_json and as_lines:
        raise OwsegError("--json prints one object at the end and --jsonl a line for each image; give either.")
    check_writable(out)  # before the network is loaded
    found, base = given_images(images, recursive, out), for_task(load(kb), task)
    forward = partial(base.forward, full_resolution=full_resolution, multi_scale=multi_scale, size=size, tile=tile)
    if adapt:
        base = adapt_to_some(base, found.paths, forward)
    about: dict[str, object] = {"kb": kb, "version": stored_version(kb), "task": task}
    tell = partial(_print_line, about) if as_lines else _ignore
    results = predict_files(base, found.paths, out, npy, forward, found.names, tell)
    if as_json:
        print_json({**about, "out": str(out), **_decision(base, results), "results": [r.to_json() for r in results]})
    elif note := _shift_note(base, results, kb):
        print_note(note)
    if not (as_json or as_lines):
        if adapt:
            print(f"A pixel is unknown where {base.scorer} > {base.threshold}.")
        _print_results(results, out, None if size or tile else base.network.size)
    if any(r.error for r in results):
        # All that could be labelled is on the disk; the exit code tells scripts that some could not.
        raise typer.Exit(1)


def _decision(base: KnowledgeBase, results: list[Result]) -> dict[str, object]:
    from owseg.inference.predict import shift_of

    threshold, shift = base.threshold, shift_of(base, results)
    return {"threshold": threshold and threshold.to_json(), "shift": shift and shift.to_json()}


def _print_line(about: dict[str, object], result: Result) -> None:
    print(json.dumps({**about, **result.to_json()}, default=str), flush=True)


def _ignore(result: Result) -> None:
    pass


def _print_results(results: list[Result], out: Path, working: int | None) -> None:
    """Print what was skipped, how many images are labelled, and which is the most unknown.

    For the last, images are left out that are too small, or much smaller than the ``working`` size.
    """
    failed = [r for r in results if r.error]
    for result in failed:
        print_note(f"skipped: {result.error}")
    print(f"{len(results) - len(failed)} of {len(results)} images labelled; the maps are in {out}/.")
    done = [r for r in results if r.unknown is not None and not r.is_small]
    if small := sum(r.is_small for r in results):
        print_note(f"Note: {small} of the images have a side below 32 pixels; that is too small for the network.")
    if far := [r for r in done if working and r.is_far]:
        print_note(_far_note(far, working))
    if fine := [r for r in done if not working or (r.factor or 1) <= 2]:
        most = max(fine, key=lambda r: r.unknown or 0.0)
        print(f"Most unknown: {most.path} ({most.unknown:.1%} of its pixels); see its .open.jpg.")


def _shift_note(base: KnowledgeBase, results: list[Result], kb: str) -> str:
    from owseg.inference.predict import shift_of

    threshold, shift = base.threshold, shift_of(base, results)
    if threshold is None or shift is None or not shift.significant:
        return ""
    found = "estimated" if threshold.estimated else "calibrated"
    target = () if Path(kb).is_dir() else ("--out", "NEW_KB")  # a shipped knowledge base is not changed
    return (
        f"Note: these images differ from those that the threshold was {found} on: an estimated {shift.lost:.0%} of the "
        f"known pixels are called unknown ({threshold.target_fpr:.0%} asked); --adapt moves the threshold to them, "
        f"{command('adapt', kb, 'IMAGES', *target)} stores it."
    )


def _far_note(far: list[Result], size: int | None) -> str:
    smaller = sum((r.factor or 1) < 1 for r in far)
    what = (
        f"{smaller} of the images are more than twice as large as" if smaller else "some images are less than half of"
    )
    which = "small things in them may be missed" if smaller else "they were enlarged, which adds no detail"
    ways = "--size N asks for another size, --tile for tiles"
    return f"Note: {what} the working size ({size} pixels, shorter side): {which}; {ways}."

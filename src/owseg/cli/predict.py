"""``owseg predict``: images in, label maps and anomaly scores out."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli._options import FullResolution, Images, Json, MultiScale, Size, Task, Tile
from owseg.cli._printing import command, print_error, print_json, print_note
from owseg.cli._stopping import caught

if TYPE_CHECKING:
    from owseg.inference.predict import Result
    from owseg.knowledge.adaptation import Shift
    from owseg.openset import Threshold


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
    as_json: Json = False,
) -> None:
    """Label every pixel of images, and mark those that are unknown.

    Writes, for each image NAME: NAME.labels.png (class ids, with a palette), NAME.score.png (anomaly score),
    NAME.open.jpg (the image tinted with its classes, the unknown in magenta, unknown things in boxes) and
    NAME.regions.json (these things: boxes, scores, masks). Says so where the images are of another place than those
    that the threshold was found on. Exit code 1 if any image could not be read.
    """
    from owseg.data.images import find_image_files
    from owseg.inference.predict import predict_files, shift_of
    from owseg.knowledge.adaptation import adapt_to_some
    from owseg.knowledge.load import load
    from owseg.knowledge.tasks import for_task

    base, paths = for_task(load(kb), task), find_image_files(images)
    forward = partial(base.forward, full_resolution=full_resolution, multi_scale=multi_scale, size=size, tile=tile)
    if adapt:
        base = adapt_to_some(base, paths, forward)
    results: list[Result] = []
    # Where that is stopped, what is done is printed as ever.
    stopped = caught(lambda: predict_files(base, paths, out, npy, forward, results))
    failed, shift, threshold = [r for r in results if r.error], shift_of(base, results), base.threshold
    if as_json:
        decision = {"threshold": threshold and threshold.to_json(), "shift": shift and shift.to_json()}
        asked = {"kb": kb, "task": task, "out": str(out), "stopped": bool(stopped)}
        print_json({**asked, **decision, "results": [r.to_json() for r in results]})
    else:
        if adapt:
            print(f"A pixel is unknown where {base.scorer} > {threshold}.")
        if threshold and shift and shift.significant:
            print_note(_shift_note(shift, threshold, kb))
        for result in failed:
            print_error(f"skipped: {result.error}")
        print(f"{len(results) - len(failed)} of {len(paths)} images labelled; the maps are in {out}/.")
        _print_most(results, base.network.size if size is None and not tile else None)
    if stopped:
        stopped.is_printed = as_json
        raise stopped
    if failed:
        # All that could be labelled is on the disk; the exit code tells scripts that some could not.
        raise typer.Exit(1)


def _print_most(results: list[Result], size: int | None) -> None:
    if done := [r for r in results if r.unknown is not None]:
        most = max(done, key=lambda r: r.unknown or 0.0)
        if size is not None and (far := [r for r in done if r.is_far]):
            print_note(_far_note(far, size))
        print(f"Most unknown: {most.path} ({most.unknown:.1%} of its pixels); see its .open.jpg.")


def _shift_note(shift: Shift, threshold: Threshold, kb: str) -> str:
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

"""``owseg predict``: images in, label maps and anomaly scores out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from owseg.cli._cluster import ClusterCompute
from owseg.cli._compute import Compute, is_export
from owseg.cli._data import files_decoded_once
from owseg.cli._images import given_images
from owseg.cli._options import FullResolution, Images, Json, MultiScale, Recursive, Size, Task, Tile, parse_names
from owseg.cli._printing import command, exit_code, print_error, print_json, print_note, say
from owseg.cli._stopping import Stopped, caught
from owseg.errors import OwsegError

if TYPE_CHECKING:
    from owseg.inference.predict import Result
    from owseg.knowledge.adaptation import Shift
    from owseg.knowledge.base import KnowledgeBase
    from owseg.knowledge.model import Model
    from owseg.openset import Threshold


UsedKB = Annotated[
    str,
    typer.Option("--kb", help="Directory of a knowledge base, the name of a shipped one ({shipped}), or an export."),
]
Adapt = Annotated[
    bool,
    typer.Option(
        "--adapt", help="Move the threshold to these images first: an estimate, which owseg adapt would store."
    ),
]
JsonLines = Annotated[
    bool, typer.Option("--jsonl", help="Print one line of JSON for each image, as soon as it is done.")
]


Write = Annotated[
    str, typer.Option(help="What to write of each image: of labels, score, overlay, regions, with commas; or none.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Predict all images, also those that an earlier run predicted in this way.")
]


def predict(
    images: Images,
    kb: UsedKB = "street",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the maps.")] = Path("predictions"),
    write: Write = "labels,score,overlay,regions",
    npy: Annotated[bool, typer.Option("--npy", help="Write scores as float32 .npy instead of 16-bit PNG.")] = False,
    full_resolution: FullResolution = False,
    multi_scale: MultiScale = False,
    size: Size = None,
    tile: Tile = False,
    adapt: Adapt = False,
    overwrite: Overwrite = False,
    task: Task = "unknown",
    recursive: Recursive = False,
    as_json: Json = False,
    as_lines: JsonLines = False,
    compute: ClusterCompute = ClusterCompute(),  # noqa: B008
) -> None:
    """Label every pixel of images, and mark those that are unknown.

    Writes, for each image NAME: NAME.labels.png (class ids, with a palette), NAME.score.png (anomaly score),
    NAME.open.jpg (tinted with the classes, the unknown hatched, unknown things in boxes) and NAME.regions.json (boxes,
    scores, masks of these); beside them classes.json, legend.png and results.jsonl. Of a folder, NAME is the path below
    it. Says so where the images are of another place than those that the threshold was found on. The same command goes
    on where a run was stopped. Exit code 3 if some images could not be read (errors.csv names them), 1 if none could.
    """
    from owseg.inference.predict import check_names, predict_files, shift_of
    from owseg.knowledge.adaptation import adapt_to_some
    from owseg.knowledge.pretrained import stored_version

    (cluster, here), wanted = compute.shared(), _maps_in(write)
    if as_json and as_lines:
        raise OwsegError("--json prints one object at the end and --jsonl a line for each image; give either.")
    _check_out(out, images)  # before the network is loaded, as the names
    found = given_images(images, recursive, out)
    check_names(found.names, found.paths)
    base, paths, version = _opened(kb, task, adapt, here), found.paths, None if is_export(kb) else stored_version(kb)
    once = files_decoded_once()
    forward = base.engine(full_resolution=full_resolution, multi_scale=multi_scale, size=size, tile=tile)
    base = adapt_to_some(cast("KnowledgeBase", base), paths, forward, once.first) if adapt else base
    about: dict[str, object] = {"kb": kb, "version": version, "task": task}
    results: list[Result] = []

    def on_result(result: Result) -> None:
        results.append(result if as_json else _light(result, len(results), len(paths)))
        if as_lines:
            print(json.dumps({**about, **result.to_json()}, default=str), flush=True)

    how = (npy, forward, found.names, on_result, overwrite, wanted, False, cluster, once.second)
    stopped = caught(lambda: predict_files(base, paths, out, *how))
    shift = shift_of(base, results)
    if as_json:
        _print_all({**about, "out": str(out), "stopped": bool(stopped)}, base.threshold, shift, results)
    else:
        _print_shift(shift, base.threshold, kb)
    if not as_json and not as_lines:
        fixed = size or tile or is_export(kb)
        _print_results(results, len(paths), base, out, adapt, None if fixed else base.working_size)
    _end(results, stopped, as_json)


def _opened(kb: str, task: str, adapt: bool, here: Compute) -> Model:
    """Return the knowledge base with the threshold of a task, or the export, which has one of its own."""
    if adapt and is_export(kb):
        raise OwsegError("an export has one threshold; --adapt is for the knowledge base: export it again.")
    return here.open(kb, task)


def _print_all(
    about: dict[str, object], threshold: Threshold | None, shift: Shift | None, results: list[Result]
) -> None:
    """Print one object of JSON."""
    more = {"threshold": threshold and threshold.to_json(), "shift": shift and shift.to_json()}
    print_json({**about, **more, "results": [r.to_json() for r in results]})


def _check_out(out: Path, images: list[str]) -> None:
    """Raise ``OwsegError`` where nothing can be written, and where ``out`` is a folder of the images.

    The next run would read the maps as images there.
    """
    from owseg._files import check_writable

    check_writable(out)
    for name in images:
        if (folder := Path(name).expanduser()).is_dir() and folder.resolve() == out.expanduser().resolve():
            raise OwsegError(f"--out {out} is the folder of the images, among which the maps would lie; give another.")


def _end(results: list[Result], stopped: Stopped | None, is_printed: bool) -> None:
    """Raise what ended the command, if it was stopped, or the exit code: what is done is printed as ever by then."""
    if stopped:
        stopped.is_printed = is_printed
        raise stopped
    raise typer.Exit(exit_code(sum(r.error is not None for r in results), len(results)))


def _maps_in(text: str) -> tuple[str, ...]:
    """Return the maps that ``--write`` names; raise ``OwsegError`` for others."""
    from owseg.knowledge.prediction import MAPS

    names = () if text == "none" else parse_names(text)
    if unknown := [name for name in names if name not in MAPS]:
        raise OwsegError(f"--write takes {', '.join(MAPS)} or none, not {unknown[0]!r}.")
    return names


MOST_SCORES = 1000
"""Of so many images at most, evenly spread, the scores tell whether they are of another place."""


def _light(result: Result, number: int, count: int) -> Result:
    """Return the result of image ``number`` of ``count`` with what is needed at the end, and nothing else.

    Of a million images all that is known of each would take gigabytes.
    """
    size = {"size": result.summary["size"]} if "size" in result.summary else {}
    scores = result.scores if number % -(-count // MOST_SCORES) == 0 else None
    return replace(result, files=(), summary=size, scores=scores)


def _print_results(results: list[Result], count: int, kb: Model, out: Path, adapted: bool, working: int | None) -> None:
    if adapted:
        say(f"A pixel is unknown where {kb.scorer} > {kb.threshold}.")
    failed = [r for r in results if r.error]
    for result in failed:
        print_error(f"skipped: {result.error}")
    if len(failed) == len(results):
        return
    kept = sum(r.kept for r in results)
    there = f" ({kept} of them before)" if kept else ""
    say(f"{len(results) - len(failed)} of {count} images labelled{there}; the maps are in {out}/.")
    _print_most_unknown(results, working)


def _print_most_unknown(results: list[Result], working: int | None) -> None:
    """Print which image is the most unknown, of those that are not too small, nor much smaller than ``working``."""
    done = [r for r in results if r.unknown is not None and not r.is_small]
    if small := sum(r.is_small for r in results):
        print_note(f"Note: {small} of the images have a side below 32 pixels; too small for this network.")
    if far := [r for r in done if working and r.is_far]:
        print_note(_far_note(far, working))
    if fine := [r for r in done if not working or (r.factor or 1) <= 2]:
        most = max(fine, key=lambda r: r.unknown or 0.0)
        say(f"Most unknown: {most.path} ({most.unknown:.1%} of its pixels); see its .open.jpg.")


def _print_shift(shift: Shift | None, threshold: Threshold | None, kb: str) -> None:
    """Say that the images are of another place, if they are."""
    if threshold and shift and shift.significant:
        print_note(_shift_note(shift, threshold, kb))


def _shift_note(shift: Shift, threshold: Threshold, kb: str) -> str:
    found = "estimated" if threshold.estimated else "calibrated"
    target = () if Path(kb).is_dir() else ("--out", "NEW_KB")  # a shipped knowledge base is not changed
    way = f"--adapt moves the threshold to them, {command('adapt', kb, 'IMAGES', *target)} stores it."
    way = "adapt its knowledge base, and export that." if is_export(kb) else way
    return (
        f"Note: these images differ from those that the threshold was {found} on: an estimated {shift.lost:.0%} of the "
        f"known pixels are called unknown ({threshold.target_fpr:.0%} asked); {way}"
    )


def _far_note(far: list[Result], size: int | None) -> str:
    smaller = sum((r.factor or 1) < 1 for r in far)
    what = (
        f"{smaller} of the images are more than twice as large as" if smaller else "some images are less than half of"
    )
    which = "small things in them may be missed" if smaller else "they were enlarged, which adds no detail"
    ways = "--size N asks for another size, --tile for tiles"
    return f"Note: {what} the working size ({size} pixels, shorter side): {which}; {ways}."

"""``owseg video``: a video in, a video with tracked alarms out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli._compute import Compute
from owseg.cli._options import Json, KBOrExport, Size, Task
from owseg.cli._printing import SOME_SKIPPED, print_error, print_json, say
from owseg.errors import OwsegError

if TYPE_CHECKING:
    from owseg.inference.video import VideoResult

TRACKING = "Tracks and alarms"

In = Annotated[
    str,
    typer.Argument(
        metavar="IN",
        help="A video file, a camera (/dev/video0), an address (rtsp://..., http://...), a folder of images in the "
        "order of their names, or a quoted pattern of them.",
    ),
]
VideoOut = Annotated[Path, typer.Option("--out", "-o", help="The video to write: .mp4, .mov or .mkv, as H.264.")]
Regions = Annotated[
    Path | None, typer.Option(help="The file with a line of JSON for each frame; by default OUT.regions.jsonl.")
]
Every = Annotated[int, typer.Option(min=1, help="Label every N-th frame alone, and leave out the others.")]
MaxFps = Annotated[
    float | None, typer.Option(min=0.01, help="Label at most so many frames for each second of the video.")
]
Live = Annotated[
    bool | None,
    typer.Option(
        "--live/--no-live",
        help="Drop frames that come while the network is busy, instead of lagging. By default for cameras and "
        "addresses without an end; a file is then played at its own speed.",
    ),
]
Rate = Annotated[float, typer.Option(min=0.01, help="Frames a second that a folder or a pattern of images stands for.")]
Lasts = Annotated[
    int, typer.Option(min=1, rich_help_panel=TRACKING, help="A thing is an alarm once it is found in N frames.")
]
Overlap = Annotated[
    float, typer.Option(rich_help_panel=TRACKING, help="Least IoU of boxes for one thing in two frames.")
]
Smoothing = Annotated[
    float,
    typer.Option(rich_help_panel=TRACKING, help="Weight of a new frame in the score of a track; 1: no smoothing."),
]
AdaptHere = Annotated[
    bool, typer.Option("--adapt", help="Move the threshold as it goes, by the median score of the last frames.")
]


def video(
    kb: KBOrExport,
    place: In,
    out: VideoOut,
    regions: Regions = None,
    every: Every = 1,
    max_fps: MaxFps = None,
    live: Live = None,
    rate: Rate = 10.0,
    lasts: Lasts = 3,
    overlap: Overlap = 0.2,
    smoothing: Smoothing = 0.5,
    adapt: AdaptHere = False,
    task: Task = "unknown",
    size: Size = None,
    as_json: Json = False,
    compute: Compute = Compute(),  # noqa: B008
) -> None:
    """Label a video, track what is unknown in it, and raise an alarm for what lasts.

    Writes the frames tinted with their classes above a legend, at their own times. Each unknown thing has a number and
    an outline of one colour along the video: thin at first, thick and hatched once it is an alarm, with its number and
    its score (1 is the limit of alarms). OUT.regions.jsonl has the same for programs: frame, time, and for each track
    its number, box, mask (COCO's run lengths), score, and whether it is an alarm.

    Ctrl-C closes both files, and what is written plays. So it is where a file is cut off or a camera goes: exit code 3.
    Try it without a camera: --live on a file plays it at its own speed. Faster: --size 256, --every 2, or a threshold
    for the score joint without @segments (owseg calibrate --scorer joint).
    """
    from owseg.data.frames import open_frames
    from owseg.inference.tracks import TrackOptions
    from owseg.inference.video import VideoOptions, label_video

    tracks = TrackOptions(overlap=overlap, smoothing=smoothing, lasts=lasts)
    lines = regions or out.with_suffix(".regions.jsonl")
    _check_places(place, out, lines)
    frames = open_frames(place, rate)  # before the network is loaded
    base = compute.open(kb, task)
    options = VideoOptions(tracks, every, max_fps, live, adapt)
    result = label_video(base, frames, out, lines, options, base.engine(size=size))
    about = {"kb": kb, "in": frames.name, "out": out, "regions": lines, "task": task}
    if as_json:
        print_json({**about, **result.to_json()})
    else:
        _print(result, out, lines)
    if result.trouble:
        print_error(result.trouble)
        raise typer.Exit(SOME_SKIPPED)


def _print(result: VideoResult, out: Path, lines: Path) -> None:
    speed = result.frames / max(result.seconds, 1e-9)
    say(f"{result.frames} frames labelled, {speed:.1f} a second; {result.alarms} alarm{'s'[: result.alarms != 1]}.")
    say(f"The video is {out}, the tracks are in {lines}.")


def _check_places(place: str, out: Path, lines: Path) -> None:
    """Raise ``OwsegError`` where a file cannot be written, or would take the place of another."""
    from owseg._files import check_writable
    from owseg.data.video_writer import container_for

    container_for(out)
    if lines.resolve() == out.resolve():
        raise OwsegError(f"{lines} is the video; give another name for the regions.")
    for file in (out, lines):
        if file.resolve() == Path(place).expanduser().resolve():
            raise OwsegError(f"{file} is the video that is read; give another name.")
        check_writable(file.parent)

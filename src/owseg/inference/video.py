"""From a video to a video: labels, unknown things that are tracked, alarms, and a line of JSON for each frame."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import IO, Any

import numpy as np

from owseg._files import replacing
from owseg._progress import progress
from owseg.data.frames import Frame, Frames, newest, thinned
from owseg.data.masks import Rle
from owseg.data.render import Mark, bright_color, draw_marks, legend_strip, overlay, with_strip
from owseg.data.video_writer import VideoWriter, container_for
from owseg.errors import OwsegError
from owseg.inference.tracks import Detection, Track, TrackOptions, Tracks, detection_of, limit_of, lowered
from owseg.knowledge.adaptation import moved, quantiles_of
from owseg.knowledge.model import Model
from owseg.labels import UNKNOWN, LabelSpace
from owseg.models.over_images import FAILURES, threads_of
from owseg.models.threads import AHEAD, in_threads
from owseg.openset import NO_THRESHOLD, Threshold, open_set_map
from owseg.scorers import whole_image
from owseg.types import Forward, Sample

WINDOW = 64
"""With ``adapt`` the threshold is moved by the scores of so many frames, the last."""


@dataclass(frozen=True)
class VideoOptions:
    """What becomes of a video: every ``every``-th frame is labelled, at most ``max_fps`` for each second of it.

    With ``live`` frames that come while the network is busy are dropped, so that what is labelled is new; None: where
    they come whether they are read or not. With ``adapt`` the threshold moves with the last ``WINDOW`` frames.
    """

    tracks: TrackOptions = field(default_factory=TrackOptions)
    every: int = 1
    max_fps: float | None = None
    live: bool | None = None
    adapt: bool = False


@dataclass(frozen=True)
class VideoResult:
    """What was written: how many ``frames``, how many ``alarms``, the ``seconds`` of work, and what went wrong."""

    frames: int = 0
    alarms: int = 0
    seconds: float = 0.0
    trouble: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON; ``trouble`` is None where there was none."""
        return {**asdict(self), "seconds": round(self.seconds, 3), "trouble": self.trouble or None}


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """A frame, its closed map ``labels`` (H, W), and its ``regions`` as tracks read them.

    ``threshold`` is the one that they were found by, ``scores`` the quantiles of its score (see ``quantiles_of``).
    """

    frame: Frame
    labels: np.ndarray
    regions: tuple[Detection, ...]
    threshold: Threshold
    scores: np.ndarray | None


def label_video(
    model: Model,
    frames: Frames,
    out: Path,
    regions: Path,
    options: VideoOptions | None = None,
    forward: Forward | None = None,
) -> VideoResult:
    """Label ``frames``, and write them with tracks drawn over them to ``out``, and a line for each to ``regions``.

    Both files take their place when all frames are done. What went wrong with a frame ends it, as Ctrl-C does: what is
    labelled by then is kept. Raises ``OwsegError`` for a model without a threshold, where no frame could be
    labelled, and where the files cannot be written: then nothing is.
    """
    options = options or VideoOptions()
    if model.threshold is None:
        raise OwsegError(NO_THRESHOLD)
    container, begun = container_for(out), monotonic()
    done, stopped = VideoResult(), None
    with replacing(out) as video_aside, replacing(regions) as lines_aside:
        with (
            lines_aside.open("w") as lines,
            VideoWriter(video_aside, container, frames.rate) as video,
            progress("video", _expected(frames, options)) as tick,
        ):
            write = _Writer(video, lines, model.labels)
            try:
                for labelled, tracks in tracked(labelled_frames(model, frames, options, forward), options.tracks):
                    write(labelled, tracks)
                    done = replace(done, frames=done.frames + 1, alarms=len(write.alarms), seconds=monotonic() - begun)
                    tick(f"{done.frames / done.seconds:.1f} frames/s")
            except KeyboardInterrupt as stop:
                stopped = stop
            except FAILURES as error:
                done = replace(done, trouble=f"after frame {write.last}: {error}" if done.frames else str(error))
        if not done.frames:
            if stopped is not None:
                raise stopped
            raise OwsegError(done.trouble or frames.trouble or f"{frames.name} has no frame that can be read.")
    if stopped is not None:
        raise stopped
    return replace(done, trouble=done.trouble or frames.trouble)


def labelled_frames(
    model: Model, frames: Frames, options: VideoOptions | None = None, forward: Forward | None = None
) -> Iterator[LabelledFrame]:
    """Yield the frames that ``options`` choose with their regions, in order; several threads run the network.

    As many frames as ``in_threads`` reads ahead are on their way; the threshold of one is moved by those before it that
    are done, whichever thread was faster, so that the same video gives the same regions.
    """
    options, forward = options or VideoOptions(), forward or model.engine()
    live = frames.live if options.live is None else options.live
    source: Iterable[Frame] = frames
    if live:
        source = newest(frames, None if frames.live else lambda frame: frame.time)
    scores: deque[np.ndarray] = deque(maxlen=WINDOW)
    threshold = model.threshold
    assert threshold is not None

    def begun() -> Iterator[tuple[Frame, Threshold]]:
        for frame in thinned(source, options.every, options.max_fps):
            yield frame, moved(threshold, list(scores)) if scores else threshold

    label = partial(_labelled, model, forward, options)
    # Of a live video no frame waits for its turn: it would be old by then.
    for labelled in in_threads(label, begun(), threads_of(forward), 1 if live else AHEAD):
        if options.adapt and labelled.scores is not None:
            scores.append(labelled.scores)
        yield labelled


def tracked(
    labelled: Iterable[LabelledFrame], options: TrackOptions | None = None
) -> Iterator[tuple[LabelledFrame, Tracks]]:
    """Yield each frame with the tracks after it."""
    tracks = Tracks(options=options or TrackOptions())
    for one in labelled:
        tracks = tracks.after(one.regions, one.frame.time, limit_of(one.threshold))
        yield one, tracks


def open_set_of(labels: np.ndarray, tracks: Tracks) -> np.ndarray:
    """Return the closed map ``labels`` (H, W) with UNKNOWN where an alarm is: the decision for a frame of a video."""
    open_set: np.ndarray = labels.copy()
    for track in tracks.alarms:
        open_set[track.mask().mask()] = UNKNOWN
    return open_set


def drawn(labelled: LabelledFrame, tracks: Tracks, space: LabelSpace) -> np.ndarray:
    """Return a frame (H, W, 3) uint8 with its classes, alarms hatched, and tracks outlined in a colour of their own."""
    base = overlay(labelled.frame.image, open_set_of(labelled.labels, tracks), space)
    # What is no alarm, or not yet, has a thin outline and no text; one that was lost for a frame has none.
    shown = sorted((t for t in tracks.alive if t.alarm or not t.missed), key=lambda t: t.alarm)
    return draw_marks(base, [_mark(track) for track in shown])


def line_of(labelled: LabelledFrame, tracks: Tracks) -> dict[str, Any]:
    """Return what is written of a frame, as plain JSON: number, time, and each track with a region or an alarm."""
    height, width = labelled.labels.shape
    shown = [track for track in tracks.alive if track.alarm or not track.missed]
    return {
        "frame": labelled.frame.number,
        "time": round(labelled.frame.time, 6),
        "size": [height, width],
        "threshold": labelled.threshold.value,
        "tracks": [_track_json(track) for track in shown],
    }


def _track_json(track: Track) -> dict[str, Any]:
    mask = track.mask()
    return {
        "track": track.id,
        "alarm": track.alarm,
        "box": list(mask.box),
        "score": round(track.score, 6),
        "score_in_frame": None if track.missed else round(track.last.score, 6),
        "frames": track.found,
        "nearest": track.last.nearest,
        "mask": mask.to_json(),
    }


def _mark(track: Track) -> Mark:
    mask: Rle = track.mask()
    text = f"{track.id}: {track.score:.1f}" if track.alarm else ""
    return Mark(mask.mask(), mask.box, text, bright_color(track.id), track.alarm)


@dataclass
class _Writer:
    """Writes frames to the video and to the lines; ``alarms`` are the tracks that were alarms so far."""

    video: VideoWriter
    lines: IO[str]
    labels: LabelSpace
    alarms: set[int] = field(default_factory=set)
    last: int = 0
    strip: np.ndarray | None = None
    size: tuple[int, ...] = ()

    def __call__(self, labelled: LabelledFrame, tracks: Tracks) -> None:
        frame, size = labelled.frame, labelled.labels.shape
        if self.strip is None:
            self.strip, self.size = legend_strip(self.labels, (size[0], size[1])), size
        if size != self.size:
            (height, width), (h, w) = self.size, size
            raise OwsegError(f"the frames were {width}x{height} and are {w}x{h}; a video has one size.")
        now = [track.id for track in tracks.alarms]
        self.alarms.update(now)
        said = f"alarms: {', '.join(map(str, now))}" if now else "no alarm"
        pixels = with_strip(drawn(labelled, tracks, self.labels), self.strip, f"{frame.time:.1f} s   {said}")
        self.video.write(pixels, frame.time)
        self.lines.write(json.dumps(line_of(labelled, tracks), separators=(",", ":")) + "\n")
        self.last = frame.number


def _labelled(model: Model, forward: Forward, options: VideoOptions, job: tuple[Frame, Threshold]) -> LabelledFrame:
    frame, threshold = job
    output = forward(frame.image)
    prediction = model.decide(Sample(frame.image, None, str(frame.number)), output)
    # What is found once more, by another threshold, is only what is unknown and the regions of it.
    open_set = open_set_map(prediction.labels, prediction.decided, threshold.value)
    weak = replace(prediction, open_set=open_set, threshold=lowered(threshold, options.tracks))
    found = tuple(detection_of(region, threshold) for region in weak.regions)
    scores = None
    if options.adapt:
        # On the road a score says how much road there is; the shift is that of the whole image.
        name = whole_image(model.scorer)
        size = (frame.image.shape[1], frame.image.shape[2])
        score = prediction.score if name == model.scorer else model.assess(output, size, (name,)).scores[name]
        scores = quantiles_of(frame.image, score)
    return LabelledFrame(frame, prediction.labels, found, threshold, scores)


def _expected(frames: Frames, options: VideoOptions) -> int | None:
    """Return about how many frames will be labelled, None where nobody knows."""
    live = frames.live if options.live is None else options.live
    if frames.count is None or live:
        return None
    count = -(-frames.count // options.every)
    if options.max_fps and frames.rate:
        count = min(count, round(frames.count / frames.rate * options.max_fps) + 1)
    return count

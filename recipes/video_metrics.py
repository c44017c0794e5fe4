"""What alarms of a video are good for: false ones, things that are found, numbers that change, and flicker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from owseg.knowledge.regions import MIN_AREA
from owseg.labels import IGNORE, UNKNOWN

SOON = 5
"""A thing is found in time in so many frames after the one that first shows it, or that frame."""

OVERLAP = 0.25
"""An alarm finds a thing at this IoU."""


@dataclass(frozen=True, eq=False)
class Alarm:
    """An alarm in one frame: its ``mask`` (H, W) bool, and its ``track``, None where there are none."""

    mask: np.ndarray
    track: int | None = None


@dataclass(frozen=True, eq=False)
class Decided:
    """A frame: ``target`` (H, W) with UNKNOWN and IGNORE, ``things`` (H, W) their numbers or None, and what was said.

    ``unknown`` (H, W) bool is the decision of each pixel, ``alarms`` are those of the frame.
    """

    target: np.ndarray
    things: np.ndarray | None
    unknown: np.ndarray
    alarms: Sequence[Alarm]


@dataclass(frozen=True)
class VideoMetrics:
    """``false`` alarms, ``minutes`` of video, of ``frames``; those with a false one; pixels that ``flicker``.

    ``flicker`` is the share of pixels whose decision changes from one frame to the next where the ground truth does
    not. ``shown`` unknown things (in each frame: of at least 0.2 % of it), of which an alarm ``hit`` so many. Of things
    with numbers: how many there were to find in time, how many were, and how often the number of one changed.
    """

    false: int
    frames: int
    minutes: float
    frames_with_false: int
    flicker: float
    shown: int
    hit: int
    things: int | None = None
    soon: int | None = None
    switches: int | None = None


def measured(video: Iterable[Decided], rate: float) -> VideoMetrics:
    """Return the metrics of a video of ``rate`` frames a second.

    An alarm is false where at least half of its pixels are known (void counts for neither); with tracks it counts once,
    in the frame where it begins, and without them in each frame, as nothing says that it is the same.
    """
    frames = list(video)
    begun: set[int] = set()
    false = with_false = shown = hit = 0
    flicker: list[float] = []
    for before, frame in zip([None, *frames], frames, strict=False):
        wrong = [alarm for alarm in frame.alarms if _is_false(alarm.mask, frame.target)]
        with_false += bool(wrong)
        false += sum(alarm.track is None or alarm.track not in begun for alarm in wrong)
        begun |= {alarm.track for alarm in frame.alarms if alarm.track is not None}
        pieces = _pieces(frame)
        shown += len(pieces)
        hit += sum(bool(_best(piece, frame.alarms)[0] >= OVERLAP) for piece in pieces)
        if before is not None:
            flicker.append(_flicker(before, frame))
    numbered = all(frame.things is not None for frame in frames)
    return VideoMetrics(false, len(frames), len(frames) / rate / 60, with_false, float(np.mean(flicker)), shown, hit,
                        *(_of_things(frames) if numbered else ()))  # fmt: skip


def together(each: Sequence[VideoMetrics]) -> VideoMetrics:
    """Return the metrics of several videos: sums, and the mean of ``flicker``."""
    values = {}
    for name in VideoMetrics.__dataclass_fields__:
        of = [getattr(one, name) for one in each]
        values[name] = None if None in of else float(np.mean(of)) if name == "flicker" else sum(of)
    return VideoMetrics(**values)


def _is_false(mask: np.ndarray, target: np.ndarray) -> bool:
    counted = mask & (target != IGNORE)
    return bool(2 * (counted & (target != UNKNOWN)).sum() >= counted.sum())


def _pieces(frame: Decided) -> list[np.ndarray]:
    """Return the unknown things of a frame, (H, W) bool each: by number, or connected, from MIN_AREA on."""
    from scipy import ndimage

    numbers = frame.things if frame.things is not None else ndimage.label(frame.target == UNKNOWN)[0]
    large = np.flatnonzero(np.bincount(numbers.ravel())[1:] >= MIN_AREA * numbers.size) + 1
    return [numbers == number for number in large]


def _best(piece: np.ndarray, alarms: Sequence[Alarm]) -> tuple[float, int | None]:
    """Return the highest IoU of an alarm with a thing, and the alarm's track."""
    ious = [((a.mask & piece).sum() / max((a.mask | piece).sum(), 1), a.track) for a in alarms]
    return max(ious, key=lambda pair: pair[0], default=(0.0, None))


def _flicker(before: Decided, frame: Decided) -> float:
    counted = (before.target != IGNORE) & (frame.target != IGNORE)
    counted &= (before.target == UNKNOWN) == (frame.target == UNKNOWN)
    changed = counted & (before.unknown != frame.unknown)
    return float(changed.sum() / max(counted.sum(), 1))


def _of_things(frames: Sequence[Decided]) -> tuple[int, int, int]:
    """Return how many things there are to find in time, how many are found, and how often a number changes.

    A thing is to be found where it covers at least MIN_AREA in ``SOON`` frames after the first that shows it so.
    """
    things = soon = switches = 0
    numbers = sorted({int(n) for frame in frames for n in np.unique(frame.things)} - {0})  # type: ignore[arg-type]
    for number in numbers:
        masks = [frame.things == number for frame in frames]
        large = [i for i, mask in enumerate(masks) if mask.sum() >= MIN_AREA * mask.size]
        found = [(i, *_best(masks[i], frames[i].alarms)) for i in large]
        hits = [(i, track) for i, iou, track in found if iou >= OVERLAP]
        tracks = [track for _, track in hits]
        switches += sum(a != b for a, b in pairwise(tracks))
        if large and {*range(large[0], large[0] + SOON + 1)} <= {*large}:
            things += 1
            soon += any(i <= int(large[0]) + SOON for i, _ in hits)
    return things, soon, switches

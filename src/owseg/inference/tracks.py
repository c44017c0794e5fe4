"""Tracks: which unknown region of a frame is which of the frame before, and which of them are alarms.

Pure functions on values; nothing is read or written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import hypot

import numpy as np
from scipy.optimize import linear_sum_assignment

from owseg.data.masks import Rle, box_iou
from owseg.errors import OwsegError
from owseg.knowledge.regions import Region
from owseg.openset import Threshold

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class TrackOptions:
    """How regions become tracks and tracks become alarms.

    ``overlap`` in [0, 1] is the least IoU of the boxes of a track and a region, ``smoothing`` in (0, 1] the weight of a
    new frame in the score of a track (1: no smoothing), ``lasts`` in how many frames a thing is found before it is an
    alarm, ``patience`` for how many frames a track lives on without a region. Regions count from ``weak`` times the
    limit of evidence on, and an alarm ends below that. Above the cosine ``alike`` a region may lie beside the box of
    its track, up to its size away. Raises ``OwsegError`` for a value out of range.
    """

    overlap: float = 0.2
    smoothing: float = 0.5
    lasts: int = 3
    patience: int = 2
    weak: float = 0.5
    alike: float = 0.8

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= 1:
            raise OwsegError(f"the overlap of boxes is between 0 and 1, not {self.overlap:g}.")
        if not 0 < self.smoothing <= 1:
            raise OwsegError(f"the smoothing is above 0 and at most 1 (no smoothing), not {self.smoothing:g}.")
        if self.lasts < 1 or self.patience < 0:
            raise OwsegError("an alarm lasts 1 frame or more, and the patience is 0 frames or more.")


@dataclass(frozen=True, eq=False)
class Detection:
    """A region of one frame as tracks read it.

    ``box`` is x, y, width, height in pixels; ``score`` its evidence in multiples of the limit of regions (see
    ``detection_of``); ``embedding`` (C,) its mean feature, ``nearest`` the known class nearest to it.
    """

    box: Box
    mask: Rle
    score: float
    embedding: np.ndarray
    nearest: str = ""


@dataclass(frozen=True, eq=False)
class Track:
    """One unknown thing along a video; ``id`` is its number, from 1.

    ``last`` is its region in the last frame that had one, at ``time`` in seconds, and ``box`` where it is now: that of
    the region, moved by the ``velocity`` (x, y; pixels a second) where it is ``missed`` since as many frames.
    ``score`` is smoothed, ``embedding`` (C,) the smoothed feature, ``found`` counts the frames that had a region.
    """

    id: int
    last: Detection
    box: Box
    time: float
    score: float
    embedding: np.ndarray
    velocity: tuple[float, float] = (0.0, 0.0)
    found: int = 1
    missed: int = 0
    alarm: bool = False

    def box_at(self, time: float) -> Box:
        """Return where the box is at ``time``, by the velocity."""
        x, y, width, height = self.last.box
        passed = time - self.time
        return x + self.velocity[0] * passed, y + self.velocity[1] * passed, width, height

    def mask(self) -> Rle:
        """Return its mask now: that of its last region, moved as the box is."""
        dx, dy = (round(now - then) for now, then in zip(self.box[:2], self.last.box[:2], strict=True))
        return shifted(self.last.mask, dx, dy) if self.missed and (dx or dy) else self.last.mask


@dataclass(frozen=True)
class Tracks:
    """The tracks after a frame: those ``alive``, by number, and how many there were in all."""

    alive: tuple[Track, ...] = ()
    count: int = 0
    options: TrackOptions = field(default_factory=TrackOptions)

    @property
    def alarms(self) -> tuple[Track, ...]:
        """Those that are alarms."""
        return tuple(track for track in self.alive if track.alarm)

    def after(self, regions: Sequence[Detection], time: float, limit: float = 1.0) -> Tracks:
        """Return the tracks after a frame at ``time`` with these ``regions``; an alarm has a score above ``limit``.

        A track ends where it is missed in more than ``patience`` frames, or has left the image.
        """
        options = self.options
        of = dict(associate(self.alive, regions, time, options))
        alive = [_continued(t, regions[of[i]], time, options) if i in of else _missed(t, time, options)
                 for i, t in enumerate(self.alive)]  # fmt: skip
        begun = [region for j, region in enumerate(regions) if j not in of.values()]
        alive += [Track(self.count + k, r, r.box, time, r.score, r.embedding) for k, r in enumerate(begun, 1)]
        still = [t for t in alive if not t.missed or (t.missed <= options.patience and t.mask().area)]
        decided = (replace(t, alarm=is_alarm(t, options, limit)) for t in still)
        return replace(self, alive=tuple(decided), count=self.count + len(begun))


def is_alarm(track: Track, options: TrackOptions, limit: float = 1.0) -> bool:
    """Return whether a track is an alarm: found in ``lasts`` frames, with a smoothed score above ``limit``.

    One that was an alarm before stays one until its score is below ``weak`` times that: else it would come and go. It
    is none while it is missed and has moved by more than half its diagonal since: where it is is then a guess.
    """
    (x, y, width, height), (now_x, now_y, _, _) = track.last.box, track.box
    if track.missed and hypot(now_x - x, now_y - y) > hypot(width, height) / 2:
        return False
    enough = limit * options.weak if track.alarm else limit
    return track.found >= options.lasts and track.score > enough


def associate(
    tracks: Sequence[Track], regions: Sequence[Detection], time: float, options: TrackOptions
) -> list[tuple[int, int]]:
    """Return which track (number in ``tracks``) goes on in which region, as pairs, each at most once.

    Of all such assignments it is the one with the largest sum of ``affinities`` (the Hungarian method).
    """
    found = affinities(tracks, regions, time, options)
    rows, columns = linear_sum_assignment(found, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if found[i, j] > 0]


def affinities(tracks: Sequence[Track], regions: Sequence[Detection], time: float, options: TrackOptions) -> np.ndarray:
    """Return how well each region fits each track, (tracks, regions) float64: the IoU of boxes plus the cosine.

    It is 0 where they cannot be the same: where the IoU is below ``overlap``, unless features are ``alike`` and the
    centres no farther apart than the boxes are large.
    """
    if not tracks or not regions:
        return np.zeros((len(tracks), len(regions)))
    first = np.array([track.box_at(time) for track in tracks], float)
    second = np.array([region.box for region in regions], float)
    overlaps = box_iou(first, second)
    cosines = cosine([t.embedding for t in tracks], [r.embedding for r in regions]).clip(0)
    centres = [boxes[:, :2] + boxes[:, 2:] / 2 for boxes in (first, second)]
    apart = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=2)
    sizes = [np.linalg.norm(boxes[:, 2:], axis=1) for boxes in (first, second)]
    beside = (cosines >= options.alike) & (apart <= np.minimum(sizes[0][:, None], sizes[1][None]))
    possible = ((overlaps >= options.overlap) & (overlaps > 0)) | beside
    found: np.ndarray = np.where(possible, overlaps + cosines, 0.0)
    return found


def cosine(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> np.ndarray:
    """Return the cosine of each of n vectors with each of m, (n, m) float64; that with a vector of zeros is 0."""
    units = []
    for vectors in (first, second):
        rows = np.stack([np.asarray(v, np.float64) for v in vectors])
        units.append(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
    found: np.ndarray = units[0] @ units[1].T
    return found


def shifted(mask: Rle, dx: int, dy: int) -> Rle:
    """Return ``mask`` moved by (dx, dy) pixels, to the right and down; what leaves the image is cut off."""
    height, width = mask.size
    x, y, w, h = mask.box
    left, top = max(x + dx, 0), max(y + dy, 0)
    right, bottom = min(x + dx + w, width), min(y + dy + h, height)
    if right <= left or bottom <= top:
        return Rle.of(np.zeros(mask.size, bool))
    return Rle.placed(mask.mask()[top - dy : bottom - dy, left - dx : right - dx], top, left, mask.size)


def limit_of(threshold: Threshold) -> float:
    """Return the score above which a track is an alarm: 1, the limit of regions, or 0 where there is none."""
    return 1.0 if threshold.regions is not None and threshold.regions.value > 0 else 0.0


def detection_of(region: Region, threshold: Threshold) -> Detection:
    """Return a region as tracks read it.

    Its score is the evidence ``e a^(1/4)`` of ``owseg.knowledge.pieces``, with e its mean score above the threshold in
    units and a its share of the image, divided by the limit of regions where there is one.
    """
    evidence = max(0.0, (region.mean - threshold.value) / threshold.unit) * region.share**0.25
    limit = threshold.regions.value if threshold.regions is not None and limit_of(threshold) else 1.0
    return Detection(region.box, region.mask, evidence / limit, region.embedding, region.nearest)


def lowered(threshold: Threshold, options: TrackOptions) -> Threshold:
    """Return ``threshold`` with ``weak`` times its limit of regions: what is weak in one frame may go on a track."""
    if threshold.regions is None:
        return threshold
    return replace(threshold, regions=replace(threshold.regions, value=threshold.regions.value * options.weak))


def _continued(track: Track, region: Detection, time: float, options: TrackOptions) -> Track:
    keep, passed = 1 - options.smoothing, max(time - track.time, 1e-6)
    (x0, y0), (x1, y1) = (_centre(d.box) for d in (track.last, region))
    moves = (x1 - x0) / passed, (y1 - y0) / passed
    # Of the first two regions there is no earlier velocity to smooth with.
    old = track.velocity if track.found > 1 else moves
    return replace(
        track,
        last=region,
        box=region.box,
        time=time,
        score=keep * track.score + options.smoothing * region.score,
        embedding=keep * track.embedding + options.smoothing * region.embedding,
        velocity=(keep * old[0] + options.smoothing * moves[0], keep * old[1] + options.smoothing * moves[1]),
        found=track.found + 1,
        missed=0,
    )


def _missed(track: Track, time: float, options: TrackOptions) -> Track:
    score = (1 - options.smoothing) * track.score
    return replace(track, box=track.box_at(time), score=score, missed=track.missed + 1)


def _centre(box: Box) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2

"""Learning a class from a few annotated pictures: ``(knowledge base, name, shots) -> knowledge base``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from owseg.errors import OwsegError
from owseg.labels import IGNORE, Color
from owseg.learners.npm import NovelPrototype, View, novel_prototype

if TYPE_CHECKING:
    from owseg.data.source import DataSet
    from owseg.knowledge import KnowledgeBase

__all__ = ["MAX_SHOTS", "NovelPrototype", "Shot", "learn", "shots_from", "shots_in"]

MAX_SHOTS = 5
"""A person annotates at most this many pictures of a class (DMLNet, Sec. 4.3)."""


@dataclass(frozen=True)
class Shot:
    """One annotated picture: image (3, H, W) uint8, ``mask`` (H, W) bool where the class is; all else is ignored."""

    image: np.ndarray
    mask: np.ndarray
    id: str


def learn(
    kb: KnowledgeBase,
    name: str,
    shots: Sequence[Shot],
    known: DataSet | None = None,
    color: Color | None = None,
    radius: float | None = None,
    weighting: str = "pixels",
    space: str | None = None,
) -> KnowledgeBase:
    """Return a knowledge base that also knows ``name``, learned from ``shots`` by the novel-prototype method.

    ``space`` is where its prototype lies: "metric" is the paper's, "features" the whitened feature pyramid, the
    default where the fitted scorers are there. The network is not touched. ``known`` is labelled, known-only data for
    the new threshold; without it the old threshold stays, which is safe: a claim only ever turns unknown pixels into
    known ones. Raises ``OwsegError`` for a name that is taken, no shot or more than five, a mask of another size than
    its picture, one without the class, or a space that the knowledge base does not have.
    """
    from owseg.calibration import data_card, find_threshold
    from owseg.data.source import DataSet
    from owseg.knowledge import Event, spaces_of

    _check(kb, name, shots)
    spaces = spaces_of(kb.network, kb.fitted)
    space = space or next(iter(spaces), "metric")
    if space not in spaces:
        raise OwsegError(
            f"this knowledge base has no {space!r} space to learn in; it has {', '.join(spaces) or 'none'}. A metric "
            "one needs a prototype classifier, a features one the fitted scorers."
        )
    views = [_view(kb, shot) for shot in shots]
    rivals = [i.prototype for i in kb.increments if i.space.name == space]
    increment = novel_prototype(name, views, radius, rivals, weighting, spaces[space])
    wiser = replace(kb, labels=kb.labels.extend(name, color), increments=(*kb.increments, increment))
    details: dict[str, object] = {
        "class": name,
        "method": "npm",
        "space": space,
        "weighting": weighting,
        "radius": increment.radius,
        "radius_from": "leave-one-out over the shots" if radius is None else "given",
        "shots": [{"id": s.id, "pixels": int(s.mask.sum()), "sha256": fingerprint(s)} for s in shots],
    }
    threshold, message = (
        kb.threshold,
        f"learned {name} from {len(shots)} shot{'s' if len(shots) > 1 else ''} by NPM ({space})",
    )
    if known is not None and threshold is not None:
        fresh = DataSet(known.source, wiser.labels)
        threshold = find_threshold(wiser, fresh, threshold.target_fpr, threshold.method)
        details["recalibrated"] = {**data_card(fresh), **threshold.to_json()}
        message += ", threshold re-calibrated"
    return wiser.after(Event("learn", message, details), threshold=threshold)


def shots_from(data: DataSet, name: str, count: int, seed: int = 0, min_share: float = 0.01) -> list[Shot]:
    """Draw ``count`` shots of the class ``name`` from ``data``: seeded, among frames where it covers ``min_share``."""
    label = data.source.classes.index(name)
    shares = {}
    for i in range(len(data)):
        raw = data.source.read(i)[1]
        if raw is not None and (share := float((raw == label).mean())) >= min_share:
            shares[i] = share
    if len(shares) < count:
        raise OwsegError(
            f"only {len(shares)} pictures of {data.source.name} show {name} on {min_share:.1%} of their area or more; "
            f"{count} are needed. Ask for fewer shots or a smaller share."
        )
    drawn = np.random.default_rng(seed).choice(sorted(shares), size=count, replace=False)
    shots = []
    for i in sorted(int(d) for d in drawn):
        image, raw = data.source.read(i)
        assert raw is not None
        shots.append(Shot(image, raw == label, data.source.ids[i]))
    return shots


def shots_in(folder: str | Path) -> list[Shot]:
    """Read ``images/NAME.*`` and ``masks/NAME.*`` of ``folder``; a mask is non-zero (and not 255) on the class."""
    from owseg.data.images import find_images, read_image, read_mask

    folder = Path(folder).expanduser()
    masks = {path.stem: path for path in find_images(folder / "masks")}
    shots = []
    for path in find_images(folder / "images"):
        if path.stem not in masks:
            raise OwsegError(f"{path} has no mask of the same name in {folder / 'masks'}.")
        mask = read_mask(masks[path.stem])
        shots.append(Shot(read_image(path), (mask > 0) & (mask != IGNORE), path.stem))
    return shots


def fingerprint(shot: Shot) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of the shot's picture and mask."""
    return hashlib.sha256(shot.image.tobytes() + np.packbits(shot.mask).tobytes()).hexdigest()[:16]


def _view(kb: KnowledgeBase, shot: Shot) -> View:
    """Look at a shot: outside its mask, what the knowledge base calls known is taken to be something else."""
    output, size = kb.forward(shot.image), (shot.mask.shape[0], shot.mask.shape[1])
    known = np.ones(size, bool)
    if kb.threshold is not None:
        known = (kb.score(output, size) <= kb.threshold.value) | kb.closed(output, size)[1]
    return View(output, shot.mask, known & ~shot.mask)


def _check(kb: KnowledgeBase, name: str, shots: Sequence[Shot]) -> None:
    if name in kb.labels:
        raise OwsegError(f"{name!r} is known already; give the new class another name, or roll back first.")
    if not 1 <= len(shots) <= MAX_SHOTS:
        raise OwsegError(f"a class is learned from 1 to {MAX_SHOTS} shots, not {len(shots)}.")
    for shot in shots:
        if shot.mask.shape != shot.image.shape[1:]:
            raise OwsegError(
                f"the mask of {shot.id} is {shot.mask.shape[1]}x{shot.mask.shape[0]} and its picture "
                f"{shot.image.shape[2]}x{shot.image.shape[1]}; they must be of one size."
            )
        if not shot.mask.any():
            raise OwsegError(f"the mask of {shot.id} marks no pixel of {name}; mark the class or leave the shot out.")

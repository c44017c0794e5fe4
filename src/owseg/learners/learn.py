"""Learning a class from a few annotated images: ``(knowledge base, name, shots) -> knowledge base``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from owseg.data.dataset import DataSet
from owseg.data.shots import check_count
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import data_card, find_threshold
from owseg.knowledge.event import Event
from owseg.labels import Color, check_class_names
from owseg.learners.auto import learner_for
from owseg.learners.base import Learner
from owseg.types import Forward, Shot


def learn(
    kb: KnowledgeBase,
    name: str,
    shots: Sequence[Shot],
    known: DataSet | None = None,
    method: Learner | None = None,
    color: Color | None = None,
    forward: Forward | None = None,
) -> KnowledgeBase:
    """Return a knowledge base that also knows ``name``, learned from ``shots``; the old one and its network stay.

    ``method`` is by default the probe, or NPM without fitted scorers (see ``learner_for``). ``known`` is labelled data
    for the new threshold (its unknown pixels are left out); without it the old threshold stays. That is safe where an
    increment only turns unknown pixels into known ones; a head that labels every pixel may do the reverse, so that a
    ``UserWarning`` says to calibrate. ``forward`` is by default ``kb.engine()`` (see ``CachedForward``). Raises
    ``OwsegError`` for a name that is taken or reserved, no shot or more than five, a mask of another size than its
    image or without the class, and what the method cannot work with.
    """
    if name in kb.labels:
        raise OwsegError(f"{name!r} is known already; give the new class another name, or roll back first.")
    check_class_names([name])
    check_shots(name, shots)
    method = method or learner_for(kb)
    forward = forward or kb.engine()
    increments = method(kb, name, shots, forward)
    if known is None and kb.threshold is not None and getattr(increments[-1], "alone", False):
        warnings.warn(
            f"the head that {method.method} made labels every pixel, and the threshold was found without it; "
            "give known data, or calibrate anew.",
            stacklevel=2,
        )
    updated = replace(kb, labels=kb.labels.extend(name, color), increments=increments)
    details: dict[str, object] = {
        "class": name,
        "method": method.method,
        "options": asdict(method),  # type: ignore[call-overload]
        "shots": [{"id": s.id, "pixels": int(s.positives.sum()), "sha256": s.fingerprint()} for s in shots],
    }
    message = f"learned {name} from {len(shots)} shot{'s' if len(shots) > 1 else ''} by {method.method}"
    threshold = kb.threshold
    if known is not None and threshold is not None:
        # Opened against the new labels: pixels of the new class are known now, and count in the rate.
        fresh = DataSet(known.source, updated.labels)
        alarms = threshold.regions.target if threshold.regions else None
        threshold = find_threshold(
            updated, fresh, threshold.target_fpr, threshold.method, forward=forward, false_alarms=alarms
        )
        details["recalibrated"] = {**data_card(fresh), **threshold.to_json()}
        message += ", threshold re-calibrated"
    return updated.after(Event("learn", message, details), threshold=threshold)


def check_shots(name: str, shots: Sequence[Shot]) -> None:
    """Raise ``OwsegError`` for no shot, more than five, masks of another size, or one that does not show the class."""
    check_count(len(shots))
    for shot in shots:
        if shot.image.ndim != 3 or len(shot.image) != 3 or shot.image.dtype != np.uint8:
            what = f"{shot.image.shape} {shot.image.dtype}"
            raise OwsegError(f"the image of {shot.id} is {what}; give (3, H, W) uint8.")
        for mask in (shot.positives, shot.void):
            if mask is not None and mask.dtype != bool:
                raise OwsegError(f"a mask of {shot.id} is {mask.dtype}; give bool, true on the class.")
            if mask is not None and mask.shape != shot.image.shape[1:]:
                raise OwsegError(
                    f"the mask of {shot.id} is {mask.shape[1]}x{mask.shape[0]} and its image "
                    f"{shot.image.shape[2]}x{shot.image.shape[1]}; they must be of one size."
                )
        if not shot.positives.any():
            reason = " (it is all void)" if shot.void is not None and shot.void.all() else ""
            raise OwsegError(
                f"the mask of {shot.id} marks no pixel of {name}{reason}; mark the class or leave the shot out."
            )

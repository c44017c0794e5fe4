"""Learning a class, and correcting a known one: ``(knowledge base, name, shots) -> knowledge base``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from owseg.data.dataset import DataSet
from owseg.data.shots import check_count
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import data_card, find_threshold
from owseg.knowledge.event import Event, user_name
from owseg.labels import Color, LabelSpace, check_class_names
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

    Any number of shots may be given, and counterexamples among them (see ``Shot``); one at least shows the class.
    ``method`` is by default the probe, or NPM without fitted scorers (see ``learner_for``). ``known`` is labelled data
    for the new threshold (its unknown pixels are left out); without it the old threshold stays. That is safe where an
    increment only turns unknown pixels into known ones; a head that labels every pixel may do the reverse, so that a
    ``UserWarning`` says to calibrate. ``forward`` is by default ``kb.engine()`` (see ``CachedForward``). Raises
    ``OwsegError`` for a name that is taken or reserved, no shot of the class, a mask of another size than its image,
    and what the method cannot work with.
    """
    if name in kb.labels:
        raise OwsegError(f"{name!r} is known already; correct it, or give the new class another name.")
    check_class_names([name])
    return _updated(kb, "learn", name, kb.labels.extend(name, color), shots, known, method, forward)


def correct(
    kb: KnowledgeBase,
    name: str,
    shots: Sequence[Shot],
    known: DataSet | None = None,
    method: Learner | None = None,
    forward: Forward | None = None,
) -> KnowledgeBase:
    """Return a knowledge base that finds the known class ``name``, base or learned, also where ``shots`` show it.

    What it makes of ``shots`` is one more increment of the class, so what was unknown there, or another class, becomes
    this one; nothing is trained anew. All else is as for ``learn``. Raises ``OwsegError`` for a class that is not known
    and a method that trains a head, and as ``learn`` does.
    """
    if name not in kb.labels:
        raise OwsegError(f"{name!r} is no known class; known are {', '.join(kb.labels.names)}; learn it first.")
    return _updated(kb, "correct", name, kb.labels, shots, known, method, forward)


def _updated(
    kb: KnowledgeBase, action: str, name: str, labels: LabelSpace, shots: Sequence[Shot],
    known: DataSet | None, method: Learner | None, forward: Forward | None,
) -> KnowledgeBase:  # fmt: skip
    cards = check_shots(name, shots)
    method = method or learner_for(kb)
    forward = forward or kb.engine()
    increments = method(kb, name, shots, forward)
    if known is None and kb.threshold is not None and getattr(increments[-1], "alone", False):
        warnings.warn(
            f"the head that {method.method} made labels every pixel, and the threshold was found without it; "
            "give known data, or calibrate anew.",
            stacklevel=3,
        )
    updated = replace(kb, labels=labels, increments=increments)
    details: dict[str, object] = {
        "class": name,
        "method": method.method,
        "options": asdict(method),  # type: ignore[call-overload]
        **cards,
        "user": user_name(),
    }
    numbers = " and ".join(f"{len(c)} {what[:-1] if len(c) == 1 else what}" for what, c in cards.items())
    message = f"{'learned' if action == 'learn' else 'corrected'} {name} from {numbers} by {method.method}"
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
    return updated.after(Event(action, message, details), threshold=threshold)


def check_shots(name: str, shots: Sequence[Shot]) -> dict[str, list[dict[str, Any]]]:
    """Return what a history says of ``shots``, and of ``counterexamples`` where there are some; each is read once.

    Raises ``OwsegError`` for no shot that shows the class, masks of another size, and a mask that is all void.
    """
    check_count(len(shots))
    found: dict[str, list[dict[str, Any]]] = {"shots": [], "counterexamples": []}
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
        if shot.is_counterexample and not shot.negatives.any():
            raise OwsegError(
                f"the mask of {shot.id} marks no pixel of {name} (it is all void); mark the class or leave the shot "
                "out."
            )
        card = {"id": shot.id, "pixels": int(shot.positives.sum()), "sha256": shot.fingerprint()}
        found["counterexamples" if shot.is_counterexample else "shots"].append(card)
    if not found["shots"]:
        raise OwsegError(f"no shot marks a pixel of {name}; mark the class in one at least.")
    return {what: cards for what, cards in found.items() if cards}

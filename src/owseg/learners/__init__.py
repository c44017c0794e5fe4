"""Learning a class from a few annotated pictures: ``(knowledge base, name, shots) -> knowledge base``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from owseg.errors import OwsegError
from owseg.labels import Color, check_teachable
from owseg.learners.heads import PLM, FineTune
from owseg.learners.increment import Increment, Learner
from owseg.learners.npm import NPM
from owseg.learners.probe import Probe
from owseg.learners.shots import MAX_SHOTS, Look, Shot, check_shots, remember, shots_from, shots_in

if TYPE_CHECKING:
    from owseg.data.source import DataSet
    from owseg.knowledge import KnowledgeBase

__all__ = [
    "MAX_SHOTS",
    "METHODS",
    "NPM",
    "PLM",
    "FineTune",
    "Increment",
    "Learner",
    "Look",
    "Probe",
    "Shot",
    "learn",
    "learner_named",
    "remember",
    "shots_from",
    "shots_in",
]

METHODS: dict[str, type[Learner]] = {"probe": Probe, "npm": NPM, "plm": PLM, "finetune": FineTune}
"""The learners by the names they have on the command line."""


def learner_named(method: str = "", radius: float | None = None, heads: str = "all") -> Learner | None:
    """Return the learner that the options of the command line describe; None leaves the choice to ``learn``.

    Raises ``OwsegError`` for a name that is none of ``METHODS``, and an option of another method.
    """
    method = method or ("npm" if radius is not None else "")
    if radius is not None and method != "npm":
        raise OwsegError("--radius is npm's; leave it out, or give --method npm.")
    if heads != "all" and method != "plm":
        raise OwsegError("--heads is plm's; leave it out, or give --method plm.")
    if method and method not in METHODS:
        raise OwsegError(f"there is no method {method!r}; it is one of {', '.join(METHODS)}.")
    if method == "npm":
        return NPM(radius)
    if method == "plm":
        return PLM(heads)
    return METHODS[method]() if method else None


def learn(
    kb: KnowledgeBase,
    name: str,
    shots: Sequence[Shot],
    known: DataSet | None = None,
    method: Learner | None = None,
    color: Color | None = None,
    look: Look | None = None,
) -> KnowledgeBase:
    """Return a knowledge base that also knows ``name``, learned from ``shots``; the old one and its network stay.

    ``method`` is by default ``Probe()``, or ``NPM()`` where the fitted scorers are missing. ``known`` is labelled
    data for the new threshold (its unknown pixels are left out); without it the old threshold stays, which is safe
    where increments only claim: a claim turns unknown pixels into known ones, never the reverse. (A head that stands
    alone may take a claim back.) ``look`` is ``kb.forward`` unless one is given that remembers (see ``remember``).
    Raises ``OwsegError`` for a name that is taken or reserved, no shot or more than five, a mask of another size than
    its picture or without the class, and what the method cannot work with.
    """
    from owseg.calibration import data_card, find_threshold
    from owseg.data.source import DataSet
    from owseg.knowledge import Event

    if name in kb.labels:
        raise OwsegError(f"{name!r} is known already; give the new class another name, or roll back first.")
    check_teachable([name])
    check_shots(name, shots)
    method = method or (Probe() if kb.fitted is not None else NPM())
    look = look or kb.forward
    increments = method(kb, name, shots, look)
    wiser = replace(kb, labels=kb.labels.extend(name, color), increments=increments)
    details: dict[str, object] = {
        "class": name,
        "method": method.method,
        "options": asdict(method),  # type: ignore[call-overload]
        "shots": [{"id": s.id, "pixels": int(s.mask.sum()), "sha256": s.fingerprint()} for s in shots],
    }
    message = f"learned {name} from {len(shots)} shot{'s' if len(shots) > 1 else ''} by {method.method}"
    threshold = kb.threshold
    if known is not None and threshold is not None:
        fresh = DataSet(known.source, wiser.labels)
        threshold = find_threshold(wiser, fresh, threshold.target_fpr, threshold.method, look=look)
        details["recalibrated"] = {**data_card(fresh), **threshold.to_json()}
        message += ", threshold re-calibrated"
    return wiser.after(Event("learn", message, details), threshold=threshold)

"""What a knowledge base takes from data without learning a class: the fitted scorer and the threshold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from owseg.data.source import DataSet
from owseg.errors import OwsegError
from owseg.knowledge import Event, KnowledgeBase
from owseg.labels import IGNORE, UNKNOWN
from owseg.learners.shots import Look, remember
from owseg.openset import Threshold, calibrate
from owseg.progress import track
from owseg.scorers import FITTED
from owseg.scorers.joint import Joint
from owseg.scorers.mahalanobis import RelativeMahalanobis
from owseg.types import Output


def find_threshold(
    kb: KnowledgeBase,
    data: DataSet,
    fpr: float = 0.05,
    method: str = "quantile",
    scorer: str | None = None,
    look: Look | None = None,
) -> Threshold:
    """Return the threshold of ``scorer`` at which a share ``fpr`` of ``data``'s known pixels is called unknown.

    ``data`` is opened against ``kb.labels``; its unknown and void pixels are left out, and a frame without a mask
    counts as wholly known. Pixels that a learned class claims are never called unknown, so they count as lying below.
    ``method`` is "quantile" or "conformal" (see ``owseg.openset.calibrate``). ``look`` replaces ``kb.forward``, to
    remember what was seen before. Raises ``OwsegError`` for a score that ``kb`` does not have, where no pixel is known,
    and for what ``calibrate`` refuses.
    """
    name = scorer or kb.scorer
    kb.scorers(name)
    return calibrate(_known_scores(kb, data, name, look or kb.forward), fpr, method)


def with_threshold(
    kb: KnowledgeBase, data: DataSet, fpr: float = 0.05, method: str = "quantile", scorer: str | None = None
) -> KnowledgeBase:
    """Return ``kb`` with ``scorer`` as its score and the threshold that ``find_threshold`` gives for it."""
    name = scorer or kb.scorer
    threshold = find_threshold(kb, data, fpr, method, name)
    message = f"calibrated {name} at {fpr:.1%} false positives ({method})"
    details = {**data_card(data), "scorer": name, **threshold.to_json()}
    return kb.after(Event("calibrate", message, details), scorer=name, threshold=threshold)


def data_card(data: DataSet) -> dict[str, str | int]:
    """Return what a history says of a data set: its name, how many pictures, the fingerprint of pixels and targets."""
    return {"data": data.source.name, "pictures": len(data), "fingerprint": data.fingerprint()}


def with_fitted(kb: KnowledgeBase, data: DataSet, held_out: DataSet | None = None, level: int = 1) -> KnowledgeBase:
    """Return ``kb`` with the scorers mahalanobis and joint fitted on labelled pictures.

    The distance is fitted on training frames, ``data``; the scales on which joint adds its witnesses are those of
    the known pixels of ``held_out``, which the network was not trained on: a classifier is far surer of what it has
    seen, and would be given too much weight. Without ``held_out`` they come from ``data`` all the same. ``level`` is
    the stage of the pyramid on whose grid the distance lives (see ``RelativeMahalanobis``). A threshold of these
    scorers is taken away, as it was found for other values. Raises ``OwsegError`` for a frame without a mask and where
    nothing is labelled.
    """
    channels = sum(kb.network.backbone.channels)
    distance = RelativeMahalanobis(channels=channels, num_classes=kb.network.num_classes, level=level)
    distance.fit(_outputs(kb, data))
    scales = data if held_out is None else held_out
    joint = Joint(distance, kb.network.is_metric).fit(_outputs(kb, scales))
    details = {**data_card(data), "scales": data_card(scales)}
    event = Event("fit", f"fitted the feature scorers on {data.source.name}", details)
    threshold = None if kb.scorer in ("mahalanobis", "joint") else kb.threshold
    return kb.after(event, fitted=joint, threshold=threshold)


def with_baselines(kb: KnowledgeBase, data: DataSet, names: Sequence[str] = tuple(FITTED)) -> KnowledgeBase:
    """Return ``kb`` with the fitted scorers ``names`` (see ``owseg.scorers.FITTED``), fitted on labelled pictures.

    ``data`` are training frames. Those that ``kb`` has already are fitted anew, which takes away the threshold of the
    one in use; others stay. Raises ``OwsegError`` for a name that there is not, a frame without a mask and where
    nothing is labelled.
    """
    if strange := [name for name in names if name not in FITTED]:
        raise OwsegError(f"there is no fitted scorer {strange[0]!r}; it is one of {', '.join(FITTED)}.")
    look = remember(kb.forward)
    extra = {name: FITTED[name].of(kb.network).fit(_outputs(kb, data, look)) for name in names}
    event = Event("fit", f"fitted {', '.join(names)} on {data.source.name}", data_card(data))
    return kb.after(event, extra={**kb.extra, **extra}, threshold=None if kb.scorer in extra else kb.threshold)


def _outputs(kb: KnowledgeBase, data: DataSet, look: Look | None = None) -> Iterator[tuple[Output, Tensor]]:
    for sample in track(data, "fitting", len(data)):
        if sample.target is None:
            raise OwsegError(f"{sample.id} has no mask; the scorer is fitted on labelled pictures.")
        target = np.where(sample.target == UNKNOWN, IGNORE, sample.target)
        yield (look or kb.forward)(sample.image), torch.from_numpy(target)[None]


def _known_scores(kb: KnowledgeBase, data: DataSet, scorer: str, look: Look) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for sample in track(data, "calibrating", len(data)):
        output = look(sample.image)
        known = np.ones(sample.image.shape[1:], bool) if sample.target is None else sample.target < UNKNOWN
        size = (known.shape[0], known.shape[1])
        score = kb.score(output, size, scorer)
        yield np.where(kb.closed(output, size)[1], -np.inf, score).astype(np.float32), known

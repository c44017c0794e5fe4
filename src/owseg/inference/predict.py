"""From image files to prediction files: class map, anomaly score, overlay."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from owseg._progress import track
from owseg.errors import OwsegError
from owseg.knowledge.adaptation import Shift, find_shift, quantiles_of
from owseg.knowledge.base import KnowledgeBase
from owseg.openset import NO_THRESHOLD
from owseg.scorers import ON_ROAD
from owseg.types import Forward


@dataclass(frozen=True)
class Result:
    """The outcome for one image: the share of its pixels that is unknown, in [0, 1], or why there is no prediction.

    ``files`` are the paths of its prediction, ``summary`` what ``Prediction.to_json`` says of it. ``factor`` is the
    working size over the shorter side of the image; None for a network without a working size. ``scores`` are the
    ``quantiles`` of its score, None for an image of one colour and for a score on the road.
    """

    path: Path
    unknown: float | None
    error: str | None = None
    files: tuple[Path, ...] = ()
    summary: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    factor: float | None = None
    scores: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def is_far(self) -> bool:
        """Whether the image is resized by more than a factor of 2: things have other sizes than in training."""
        return self.factor is not None and not 0.5 <= self.factor <= 2

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON: the path, the summary, the files, and the error or None."""
        files = [str(path) for path in self.files]
        return {"path": str(self.path), "unknown": self.unknown, **self.summary, "files": files, "error": self.error}


def predict_files(
    kb: KnowledgeBase,
    paths: Sequence[Path],
    out: Path,
    npy: bool = False,
    forward: Forward | None = None,
    results: list[Result] | None = None,
) -> list[Result]:
    """Predict every image and write the prediction into ``out``; return a result for each, in order.

    For ``NAME.jpg`` these are ``NAME.labels.png`` (palette, ids of ``kb.labels``), ``NAME.score.png`` (16 bits, see
    ``encode_score``) or with ``npy`` ``NAME.score.npy`` (float32), and ``NAME.open.jpg``, the image under its open-set
    map; ``names_of`` has the names. Each file is written whole or not at all. An image that cannot be read, or is too
    large for the memory, has an error in its result and does not stop the others. Each result is added to
    ``results``, for a caller that is stopped before the last. Raises ``OwsegError`` for a knowledge base without a
    threshold, and where ``out`` cannot be written.
    """
    if kb.threshold is None:
        raise OwsegError(NO_THRESHOLD)
    results = [] if results is None else results
    for path, name in track(list(zip(paths, names_of(paths), strict=True)), "predicting", len(paths)):
        # One image that fails must not lose the work on all others.
        try:
            prediction = kb.predict(path, forward)
        except OwsegError as error:
            results.append(Result(path, None, str(error)))
            continue
        except (RuntimeError, MemoryError) as error:  # torch raises a RuntimeError where it runs out of memory
            reason = str(error).strip() or "there is not enough memory for it"
            results.append(Result(path, None, reason.splitlines()[0]))
            continue
        files = prediction.save(out, name, npy)
        factor = None if kb.network.size is None else kb.network.size / min(prediction.labels.shape)
        # A score on the road says how much road an image shows, and not of which place it is.
        on_road = kb.scorer.endswith(ON_ROAD)
        scores = None if on_road else quantiles_of(prediction.image, prediction.score)
        results.append(Result(path, prediction.unknown, None, tuple(files), prediction.to_json(), factor, scores))
    return results


def shift_of(kb: KnowledgeBase, results: Sequence[Result]) -> Shift | None:
    """Return how the scores of these images differ from those that the threshold of ``kb`` is for (``find_shift``).

    None where that is not known: no image, or a threshold that earlier versions of owseg stored.
    """
    scores = [r.scores for r in results if r.scores is not None]
    if kb.threshold is None or kb.threshold.reference is None or not scores:
        return None
    return find_shift(kb.threshold, scores)


def names_of(paths: Sequence[Path]) -> list[str]:
    """Return a different name for each image: its stem, preceded by as many of its folders as tell it from the others.

    Where folders do not help, "_2" and so on are added.
    """
    names = [p.stem for p in paths]
    for depth in range(1, 1 + max((len(p.parts) for p in paths), default=0)):
        repeated = {name for name, count in Counter(names).items() if count > 1}
        if not repeated:
            break
        names = [
            # With the suffix, as a.png and a.jpg may lie in one folder.
            "_".join((*p.parts[-depth - 1 : -1], p.name.replace(".", "_"))).replace("/", "") if n in repeated else n
            for n, p in zip(names, paths, strict=True)
        ]
    # The numbers below the next one are taken for good, so none is tried twice.
    taken: set[str] = set()
    following: dict[str, int] = {}
    unique: list[str] = []
    for name in names:
        free = name
        if name in taken:
            number = next(k for k in itertools.count(following.get(name, 2)) if f"{name}_{k}" not in taken)
            following[name], free = number + 1, f"{name}_{number}"
        taken.add(free)
        unique.append(free)
    return unique

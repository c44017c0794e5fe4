"""An evaluation a few images at a time: what was counted of them is stored, here or by the workers of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from owseg._files import begin_or_resume, read_json, write_whole
from owseg._progress import progress
from owseg.data.dataset import Labelled
from owseg.errors import OwsegError
from owseg.evaluation.encoded import SUFFIX, Damaged, decode, encode
from owseg.evaluation.evaluator import Counts, Evaluator
from owseg.knowledge.made_by import made_by
from owseg.metrics.pooled import Pooled
from owseg.models.cluster import Cluster, shards_of
from owseg.models.engine import moved
from owseg.models.over_images import over_images
from owseg.types import Forward

RECORD = "evaluation.json"
"""What a folder of parts says of itself."""

DIFFERS = {
    "data": "of another data set",
    "images": "of other images",
    "scores": "of other scores or metrics",
    "made_by": "of another knowledge base, or of one that is run in another way",
}
"""What another value of each entry means."""


def count_in_parts(evaluator: Evaluator, forward: Forward, folder: Path | None, cluster: Cluster | None) -> Counts:
    """Return what an evaluator counts of all its images, by the workers of ``cluster`` if there is one.

    What was counted of a few images is kept in ``folder`` as one file, and not counted again. Images are known by the
    names that their data set gives them: where a file was replaced by another, remove the folder. The counts are those
    of one evaluation without parts; beyond ``Pooled.limit`` pixels see ``Pooled.part_of``. Raises ``OwsegError`` for a
    folder that holds anything else, and what an image raises: what was counted before it stays.
    """
    parts, count = _Parts(evaluator, forward, folder), len(evaluator.data)
    if folder is not None:
        parts.begin(folder)
    counts = evaluator.empty()
    with progress("evaluating", count) as tick:
        shards = shards_of(count)
        counted = map(parts, shards) if cluster is None else cluster.over(parts, shards)
        for numbers, some in zip(shards, counted, strict=True):
            counts += some
            for _ in numbers:
                tick("")
    return counts


@dataclass(frozen=True, eq=False)
class _Parts:
    """Counts some images after the other; the ``Work`` of a cluster, too."""

    evaluator: Evaluator
    forward: Forward
    folder: Path | None

    def begin(self, folder: Path) -> None:
        """Make the folder, or check that it is of the same evaluation."""
        source, empty = self.evaluator.data.source, self.evaluator.empty()
        metrics = {name: f"{type(s).__name__}, {getattr(s, 'operating_point', '')}" for name, s in empty.scores.items()}
        names = (*source.ids, "", *source.classes.names)
        how = made_by(self.evaluator.kb, self.forward)
        if how is None:
            raise OwsegError("only what an Engine counts can be kept: give what a knowledge base's engine() returns.")
        images = sha256("\n".join(names).encode(errors="surrogatepass")).hexdigest()[:16]
        value = {"data": source.name, "images": images, "scores": metrics, "made_by": how}
        begin_or_resume(folder, RECORD, value, lambda: _record(folder, [*value]), DIFFERS, "parts of an evaluation")

    def to(self, device: torch.device) -> _Parts:
        """Return it with the knowledge base on ``device``."""
        evaluator = self.evaluator.to(device)
        kb = evaluator.kb
        return replace(self, evaluator=evaluator, forward=moved(self.forward, kb.network, kb.residual))

    def __call__(self, numbers: range) -> Counts:
        """Return what is counted of the images ``numbers``: what an earlier run stored, if it did."""
        file = None if self.folder is None else self.folder / f"{numbers[0]:08d}-{numbers[-1]:08d}{SUFFIX}"
        if file is not None and (stored := self._stored(file)) is not None:
            return stored
        data, counts = self.evaluator.samples.data, self.evaluator.empty()
        some = Labelled(data.pick(numbers), "evaluation")
        for one in over_images(self.forward, some, self.evaluator.assess):
            counts = self.evaluator.added(counts, one)
        share = len(numbers) / len(data)
        scores = {n: s.part_of(share) if isinstance(s, Pooled) else s for n, s in counts.scores.items()}
        counts = replace(counts, scores=scores)
        if file is not None:
            write_whole(file, encode(counts.to_arrays()))
        return counts

    def _stored(self, file: Path) -> Counts | None:
        try:
            return self.evaluator.empty().from_arrays(decode(file.read_bytes()))
        except (OSError, Damaged, KeyError):  # it is counted, and written anew
            return None


def _record(folder: Path, keys: Sequence[str]) -> dict[str, Any]:
    value = read_json(folder / RECORD)
    return {key: value.get(key) for key in keys} if isinstance(value, dict) else dict.fromkeys(keys)

"""An evaluation a few images at a time: what was counted of them is stored, here or by the workers of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from owseg._files import begin_or_resume, read_json, write_errors, write_whole
from owseg._progress import progress
from owseg.data.dataset import DataSet
from owseg.data.files import Files
from owseg.errors import OwsegError
from owseg.evaluation.encoded import SUFFIX, Damaged, decode, encode
from owseg.evaluation.evaluator import Counts, Evaluator
from owseg.knowledge.made_by import made_by
from owseg.knowledge.moved import moved_to
from owseg.metrics.pooled import Pooled
from owseg.models.cluster import Cluster, shards_of
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

    What was counted of a few images is kept in ``folder`` as one file, and not counted again, but for images that were
    skipped: these are tried again, and ``ERRORS`` there names those that still are. Images are known by the names that
    their data set gives them: where a file was replaced by another, remove the folder. The counts are those of one
    evaluation without parts; beyond ``Pooled.limit`` pixels see ``Pooled.part_of``. Raises ``OwsegError`` for a folder
    that holds anything else.
    """
    data = evaluator.data
    work = _Parts(evaluator, forward, folder, len(data))
    if folder is not None:
        work.begin(folder)
    parts = [_Part(numbers) for numbers in shards_of(len(data))]
    if cluster is not None and isinstance(data.source.read, Files):  # a worker is sent the paths of its part alone
        work = replace(work, evaluator=evaluator.of(evaluator.kb, data.pick([])))
        parts = [replace(part, data=data.pick(part.numbers)) for part in parts]
    counts = evaluator.empty()
    with progress("evaluating", len(data)) as tick:
        counted = map(work, parts) if cluster is None else cluster.over(work, parts)
        for part, some in zip(parts, counted, strict=True):
            counts += some
            for _ in part.numbers:
                tick("")
    if folder is not None:
        write_errors(folder, counts.skipped.items())
    return counts


@dataclass(frozen=True)
class _Part:
    """Some images, by their numbers; ``data`` has them alone, or is None where the evaluator has all."""

    numbers: range
    data: DataSet | None = None

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True, eq=False)
class _Parts:
    """Counts some images after the other; the ``Work`` of a cluster, too."""

    evaluator: Evaluator
    forward: Forward
    folder: Path | None
    count: int

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
        kb, forward = moved_to(self.evaluator.kb, self.forward, device)
        return replace(self, evaluator=self.evaluator.of(kb, self.evaluator.data), forward=forward)

    def __call__(self, part: _Part) -> Counts:
        """Return what is counted of the images of a part: what an earlier run stored, if it did."""
        numbers, data, counts = part.numbers, part.data, self.evaluator.empty()
        data = self.evaluator.data.pick(numbers) if data is None else data
        file = None if self.folder is None else self.folder / f"{numbers[0]:08d}-{numbers[-1]:08d}{SUFFIX}"
        if file is not None and (stored := self._stored(file)) is not None:
            if not stored.skipped:
                return stored
            counts = replace(stored, skipped={})
            data = data.pick([i for i, name in enumerate(data.source.ids) if name in stored.skipped])
        evaluator = self.evaluator.of(self.evaluator.kb, data)
        for one in evaluator.over(self.forward):
            counts = evaluator.added(counts, one)
        share = len(numbers) / self.count
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

"""From image files to the score files that a benchmark with hidden masks takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from owseg._files import begin_or_resume, read_json, write_whole
from owseg._progress import track
from owseg._registry import with_options
from owseg.data.given import Given
from owseg.data.images import failure
from owseg.errors import OwsegError
from owseg.inference.submissions import SUBMISSIONS
from owseg.inference.submissions.base import Submission
from owseg.knowledge.base import KnowledgeBase
from owseg.models.over_images import over_images
from owseg.openset import NO_THRESHOLD
from owseg.types import Output, Sample

RECORD = "submission.json"
"""The file beside the scores that says which they are, so that those of another knowledge base are never mixed in."""

DIFFERS = {
    "format": "of another format",
    "options": "of other options",
    "kb": "of another knowledge base",
    "run": "of a network that was run in another way",
}


@dataclass(frozen=True)
class Submitted:
    """The outcome for one image: the ``files`` that it has now, or why it has none; ``kept`` if it had them before."""

    path: Path
    files: tuple[Path, ...] = ()
    kept: bool = False
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        files = [str(path) for path in self.files]
        return {"path": str(self.path), "files": files, "kept": self.kept, "error": self.error}


def submit(
    kb: KnowledgeBase,
    paths: Sequence[Path],
    out: Path,
    format: str,
    options: Mapping[str, str] | None = None,
    run: Mapping[str, Any] | None = None,
) -> tuple[list[Submitted], str]:
    """Write the scores of images into ``out`` as ``format`` has them (see ``owseg.inference.submissions``).

    ``options`` are those of the format, as text; ``run`` are arguments of ``kb.engine``. Returns a result for each
    image, in order, and a note of the format. Each file is written whole or not at all; an image that has all of its
    files is left as it is, so that what was stopped is resumed. An image that cannot be read does not stop the others.
    Raises ``OwsegError`` for an unknown format or option, a name that the benchmark does not take or that two images
    have, no threshold, and a folder that holds other files or another submission.
    """
    card, run = SUBMISSIONS[format], dict(run or {})
    if kb.threshold is None:
        raise OwsegError(NO_THRESHOLD)
    submission = with_options(card, options or {}, kb)
    files = _files_by_image(submission, paths)
    record = {"format": format, "options": dict(options or {}), "kb": kb.fingerprint(decides=True), "run": run}
    begin_or_resume(out, RECORD, record, partial(_read_record, out / RECORD), DIFFERS, "scores")
    there = {path: tuple(out / name for name in names) for path, names in files.items()}
    left = [path for path, places in there.items() if not all(place.is_file() for place in places)]

    def encode(sample: Sample, output: Output) -> tuple[bytes, ...] | str:
        prediction = kb.decide(sample, output)
        return submission.encode(prediction.decided, prediction.labels)

    def failed(i: int, error: Exception) -> tuple[bytes, ...] | str:
        return failure(left[i], error)

    results = {path: Submitted(path, places, kept=True) for path, places in there.items()}
    encoded = over_images(kb.engine(**run), Given(left), encode, failed)
    for path, contents in track(zip(left, encoded, strict=True), f"writing {format}", len(left)):
        if isinstance(contents, str):
            results[path] = Submitted(path, error=contents)
            continue
        for place, data in zip(there[path], contents, strict=True):
            write_whole(place, data)
        results[path] = Submitted(path, there[path])
    return list(results.values()), submission.note


def _files_by_image(submission: Submission, paths: Sequence[Path]) -> dict[Path, tuple[str, ...]]:
    """Return the names of the files of each image; its frame is its name without suffix and ``_leftImg8bit``."""
    frames: dict[str, Path] = {}
    for path in paths:
        frame = path.stem.removesuffix("_leftImg8bit")
        if frame in frames:
            raise OwsegError(f"{frames[frame]} and {path} have the same name, {frame!r}; rename one, or leave it out.")
        frames[frame] = path
    return {path: submission.paths(frame) for frame, path in frames.items()}


def _read_record(path: Path) -> Mapping[str, Any]:
    value = read_json(path, "the record of a submission")
    if not isinstance(value, dict) or DIFFERS.keys() - value.keys():
        raise OwsegError(f"{path} is not the record of a submission; remove its folder, or name another.")
    return value

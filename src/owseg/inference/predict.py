"""From images on disk to maps on disk: class map, score, overlay."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from owseg._files import write_whole
from owseg._progress import track
from owseg.data.images import read_image
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.types import Forward


@dataclass(frozen=True)
class Result:
    """What became of one image: the share of its pixels called unknown, or why it could not be read."""

    path: Path
    unknown: float | None
    error: str | None = None


def predict_files(
    kb: KnowledgeBase, paths: Sequence[Path], out: Path, npy: bool = False, forward: Forward | None = None
) -> list[Result]:
    """Predict every image and write its maps into ``out``; one that cannot be read is reported, not fatal.

    For ``NAME.jpg``: ``NAME.labels.png`` (palette, ids of ``kb.labels``), ``NAME.score.png`` (16 bit, see
    ``encode_score``) or ``NAME.score.npy`` (float32), and ``NAME.open.jpg``, the image under its open-set map. Each
    file appears whole or not at all.
    """
    if kb.threshold is None:
        raise OwsegError("this knowledge base has no threshold yet; run `owseg calibrate` first.")
    results = []
    for path, name in track(list(zip(paths, names_of(paths), strict=True)), "predicting", len(paths)):
        try:
            image = read_image(path)
            prediction = kb.predict(image, forward)
        except (OwsegError, RuntimeError, MemoryError) as error:  # torch says so when it runs out of memory
            reason = str(error).strip() or "there is not enough memory for it"
            results.append(Result(path, None, reason if isinstance(error, OwsegError) else reason.splitlines()[0]))
            continue
        for suffix, contents in prediction.files(npy):
            write_whole(out / f"{name}.{suffix}", contents)
        results.append(Result(path, prediction.unknown))
    return results


def names_of(paths: Sequence[Path]) -> list[str]:
    """Return a name for each image's maps: its own without suffix, with its folders where two would have the same."""
    names = [p.stem for p in paths]
    for depth in range(1, 1 + max((len(p.parts) for p in paths), default=0)):
        twice = {n for n in names if names.count(n) > 1}
        if not twice:
            break
        names = [
            "_".join((*p.parts[-depth - 1 : -1], p.name.replace(".", "_"))).replace("/", "") if n in twice else n
            for n, p in zip(names, paths, strict=True)
        ]
    unique: list[str] = []
    for name in names:
        numbered = (f"{name}_{k}" for k in itertools.count(2))
        unique.append(name if name not in unique else next(n for n in numbered if n not in unique))
    return unique

"""From pictures on disk to maps on disk: class map, score, overlay."""

from __future__ import annotations

import glob
import io
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from owseg.data.images import SUFFIXES, find_images, read_image
from owseg.errors import OwsegError
from owseg.exchange.annotation import Annotation
from owseg.files import write_whole
from owseg.knowledge import KnowledgeBase
from owseg.labels import RESERVED, UNKNOWN, LabelSpace
from owseg.learners.shots import Look
from owseg.openset import Threshold
from owseg.progress import track
from owseg.types import Prediction


@dataclass(frozen=True)
class Result:
    """What became of one picture: the share of its pixels called unknown, or why it could not be read."""

    path: Path
    unknown: float | None
    error: str | None = None


def find(pictures: Sequence[str]) -> list[Path]:
    """Return the files that ``pictures`` name (files, folders, globs), sorted; refuse what names none."""
    found: list[Path] = []
    for name in pictures:
        path = Path(name).expanduser()
        if path.is_dir():
            found += find_images(path)
        elif path.exists():
            found.append(path)
        else:
            matched = [Path(p) for p in glob.glob(str(path)) if Path(p).suffix.lower() in SUFFIXES]  # noqa: PTH207
            if not matched:
                raise OwsegError(f"{name} is no picture, no folder and no pattern that matches a picture.")
            found += matched
    return sorted(set(found))


def predict_files(
    kb: KnowledgeBase, paths: Sequence[Path], out: Path, npy: bool = False, look: Look | None = None
) -> list[Result]:
    """Predict every picture and write its maps into ``out``; one that cannot be read is reported, not fatal.

    For ``NAME.jpg``: ``NAME.labels.png`` (palette, ids of ``kb.labels``), ``NAME.score.png`` (16 bit, see
    ``encode_score``) or ``NAME.score.npy`` (float32), and ``NAME.open.jpg``, the picture under its open-set map. Each
    file appears whole or not at all.
    """
    if kb.threshold is None:
        raise OwsegError("this knowledge base has no threshold yet; run `owseg calibrate` first.")
    results = []
    for path, name in track(list(zip(paths, names_of(paths), strict=True)), "predicting", len(paths)):
        try:
            image = read_image(path)
            prediction = kb.predict(image, look)
        except (OwsegError, RuntimeError, MemoryError) as error:  # torch says so when it runs out of memory
            reason = str(error).strip() or "there is not enough memory for it"
            results.append(Result(path, None, reason if isinstance(error, OwsegError) else reason.splitlines()[0]))
            continue
        write_whole(out / f"{name}.labels.png", encode_labels(prediction.labels, kb.labels))
        if npy:
            write_whole(out / f"{name}.score.npy", _npy(prediction.score))
        else:
            write_whole(out / f"{name}.score.png", encode_score(prediction.score, kb.threshold))
        write_whole(out / f"{name}.open.jpg", encode_jpeg(overlay(image, prediction, kb.labels)))
        results.append(Result(path, float((prediction.open_set == UNKNOWN).mean())))
    return results


def predicted(kb: KnowledgeBase, paths: Sequence[Path], look: Look | None = None) -> Iterator[Annotation]:
    """Yield what ``kb`` sees in each picture, class by class, for people to correct; the unknown is a class, too.

    ``image`` is the path below the folder that all pictures share. Raises ``OwsegError`` for one that cannot be read.
    """
    if kb.threshold is None:
        raise OwsegError("this knowledge base has no threshold yet; run `owseg calibrate` first.")
    root = os.path.commonpath([p.resolve().parent for p in paths])
    names = {**dict(enumerate(kb.labels.names)), UNKNOWN: RESERVED[UNKNOWN]}
    palette = kb.labels.palette().tolist()
    for path in track(paths, "predicting", len(paths)):
        seen = kb.predict(read_image(path), look).open_set
        image = path.resolve().relative_to(root).as_posix()
        for i in np.unique(seen).tolist():
            yield Annotation(names[i], seen == i, image, tuple(palette[i]))


def names_of(paths: Sequence[Path]) -> list[str]:
    """Return a name for each picture's maps: its own without suffix, with its folders where two would have the same."""
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


def overlay(image: np.ndarray, prediction: Prediction, space: LabelSpace) -> np.ndarray:
    """Return the picture (H, W, 3) uint8 tinted with its open-set map; unknown regions stand out, with an outline."""
    picture = image.transpose(1, 2, 0).astype(np.float32)
    tint = space.palette()[prediction.open_set].astype(np.float32)
    unknown = prediction.open_set == UNKNOWN
    opacity = np.where(unknown, 0.65, 0.45)[..., None]
    mixed = picture * (1 - opacity) + tint * opacity
    inner = unknown.copy()
    inner[1:-1, 1:-1] &= unknown[:-2, 1:-1] & unknown[2:, 1:-1] & unknown[1:-1, :-2] & unknown[1:-1, 2:]
    mixed[unknown & ~inner] = 255
    return mixed.round().clip(0, 255).astype(np.uint8)


def encode_labels(labels: np.ndarray, space: LabelSpace) -> bytes:
    """Return (H, W) uint8 ids as a palette PNG in the classes' colours; the pixel values are the ids."""
    image = Image.fromarray(labels)
    image.putpalette(space.palette().tobytes())
    return _encoded(image, "PNG")


def encode_score(score: np.ndarray, threshold: Threshold) -> bytes:
    """Return a score map as a 16-bit PNG in which 32768 is the threshold; darker is known, brighter is unknown.

    value = 32768 + 8192 (score - threshold) / unit, cut to 0..65535; ``threshold`` and ``unit`` (how far the
    threshold lies above the median known score) stand in the file's text fields, so that the score can be had back.
    """
    unit = threshold.unit
    value = np.clip(np.round(32768 + 8192 * (score - threshold.value) / unit), 0, 65535).astype(np.uint16)
    text = PngImagePlugin.PngInfo()
    text.add_text("threshold", repr(threshold.value))
    text.add_text("unit", repr(unit))
    return _encoded(Image.fromarray(value), "PNG", pnginfo=text)


def encode_jpeg(picture: np.ndarray) -> bytes:
    """Return (H, W, 3) uint8 as a JPEG."""
    return _encoded(Image.fromarray(picture), "JPEG", quality=90)


def _npy(score: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, score)
    return buffer.getvalue()


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()

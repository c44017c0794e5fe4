"""From image files to prediction files: class map, anomaly score, overlay."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from owseg._files import fits, read_json, write_errors, write_whole
from owseg._progress import track
from owseg.data.images import failure, read_image
from owseg.data.render import encode_legend
from owseg.errors import OwsegError
from owseg.inference.done import Done
from owseg.knowledge.adaptation import Shift, find_shift, quantiles_of
from owseg.knowledge.made_by import made_by
from owseg.knowledge.model import Model
from owseg.knowledge.moved import moved_to
from owseg.knowledge.prediction import MAPS, Prediction
from owseg.labels import LabelSpace
from owseg.models.cluster import Cluster, shards_of
from owseg.models.engine import SMALLEST, Engine
from owseg.models.over_images import over_images
from owseg.openset import NO_THRESHOLD
from owseg.scorers import ON_ROAD
from owseg.types import Forward, Output, Sample

SUMMARY = ("image", "size", "threshold", "unknown", "classes", "regions")
"""What ``Result.summary`` has."""

CLASSES, LEGEND = "classes.json", "legend.png"
"""The files beside the maps: the id, name and colour of each class, and the same for people, with the unknown."""


@dataclass(frozen=True)
class Result:
    """The outcome for one image: the share of its pixels that is unknown, in [0, 1], or why there is no prediction.

    ``files`` are the paths of its prediction, ``summary`` what ``Prediction.to_json`` says of it, and its ``regions``
    without their masks. ``factor`` is the working size over the shorter side of the image; None for a network without a
    working size. ``scores`` are the ``quantiles`` of its score, None for an image of one colour and for a score on the
    road. ``kept`` if an earlier run predicted it.
    """

    path: Path
    unknown: float | None
    error: str | None = None
    files: tuple[Path, ...] = ()
    summary: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    factor: float | None = None
    scores: np.ndarray | None = field(default=None, compare=False, repr=False)
    kept: bool = False

    @property
    def is_small(self) -> bool:
        """Whether the image has a side below ``SMALLEST`` pixels."""
        size: list[int] = self.summary.get("size", [SMALLEST])
        return min(size) < SMALLEST

    @property
    def is_far(self) -> bool:
        """Whether the image is resized by more than a factor of 2: things have other sizes than in training."""
        return self.factor is not None and not 0.5 <= self.factor <= 2

    @classmethod
    def stored(cls, path: Path, out: Path, value: Mapping[str, Any]) -> Result:
        """Return the result of an image that was predicted before, of what ``to_store`` returned."""
        scores = None if value["scores"] is None else np.array(value["scores"])
        files = tuple(out / file for file in value["files"])
        summary = {name: value[name] for name in SUMMARY if name in value}
        return cls(path, value["unknown"], None, files, summary, value["factor"], scores, kept=True)

    def to_store(self, out: Path) -> dict[str, Any]:
        """Return what ``stored`` makes the same result of, as plain JSON: its files are below ``out``."""
        files = [file.relative_to(out).as_posix() for file in self.files]
        scores = None if self.scores is None else self.scores.tolist()
        return {**self.to_json(), "files": files, "factor": self.factor, "scores": scores}

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON: the path, the summary, the files, and the error or None."""
        files = [str(path) for path in self.files]
        return {"path": str(self.path), "unknown": self.unknown, **self.summary, "files": files, "error": self.error}


def predict_files(
    kb: Model, paths: Sequence[Path], out: Path, npy: bool = False, forward: Forward | None = None,
    names: Sequence[str] | None = None, on_result: Callable[[Result], None] = lambda result: None,
    overwrite: bool = False, write: Collection[str] = MAPS, collect: bool = True, cluster: Cluster | None = None,
    read: Callable[[Path], np.ndarray] = read_image,
) -> list[Result]:  # fmt: skip
    """Predict every image and write the prediction into ``out``; return a result for each, in order.

    For an image called NAME these are ``NAME.labels.png`` (palette, ids of ``kb.labels``), ``NAME.score.png`` (16 bits,
    see ``encode_score``) or with ``npy`` ``NAME.score.npy`` (float32), and ``NAME.open.jpg``, the image under its
    open-set map. ``names`` may have folders in them, and are by default the file names without suffix; beside the maps
    are ``CLASSES`` and ``LEGEND``. Of these ``write`` names those that are wanted. Each file is written whole or not at
    all. ``on_result`` is called after each image; without ``collect`` it alone gets the results, which are then not
    kept in memory, nor returned. ``read`` reads an image. With a ``cluster`` its workers read, predict and write, and
    ``forward`` is an ``Engine``.

    An image that was predicted before, by the same knowledge base and in the same way, is left as it is (see ``Done``),
    unless ``overwrite``; so a run that was stopped goes on. An image that cannot be read, is too large for the memory,
    or has too long a name, has an error in its result and does not stop the others; ``ERRORS`` has them. Raises
    ``OwsegError`` for a knowledge base without a threshold, for two images of one name, and where ``out`` cannot be
    written.
    """
    if kb.threshold is None:
        raise OwsegError(NO_THRESHOLD)
    names = [path.stem for path in paths] if names is None else names
    check_names(names, paths)
    _check_classes(out)
    done = Done.begin(out, made_by(kb, forward, npy, sorted(write)), overwrite)
    images = dict(zip(names, paths, strict=True))
    kept = {name: before for name, path in images.items() if (before := done.of(name, path))}
    done.keep(kept)
    left = {name: path for name, path in images.items() if name not in kept}
    images_left = _Named(tuple(left), tuple(left.values()), out, read if cluster is None else read_image)
    new = _results(_Predictor(kb, forward or kb.engine(), npy, tuple(write)), images_left, cluster)
    results: list[Result] = []
    errors: list[tuple[Path, str]] = []
    has_classes, count = bool(kept), 0
    for name, path in track(images.items(), "predicting", len(images)):
        try:
            before = kept.get(name)
            result = next(new) if before is None else Result.stored(path, out, before)
            with _writing():
                if result.error is None and not has_classes:  # nothing is left of images that are none
                    _write_classes(kb.labels, out)
                    has_classes = True
                if result.error is None and before is None:
                    done.add(name, path, result.to_store(out))
        except _Unwritable as error:
            raise OwsegError(f"{str(error).removesuffix('.')}; {count} of {len(paths)} images are done.") from None
        count += result.error is None
        if result.error is not None:
            errors.append((path, result.error))
        if collect:
            results.append(result)
        on_result(result)
    if has_classes:
        write_errors(out, errors)
    return results


def _results(predictor: _Predictor, images: _Named, cluster: Cluster | None) -> Iterator[Result]:
    """Yield the result for each image, in order, by the workers of ``cluster`` if there is one."""
    if cluster is None:
        yield from predictor.over(images)
        return
    for results in cluster.over(predictor, [images.pick(numbers) for numbers in shards_of(len(images))]):
        for file in (file for result in results[:1] for file in result.files[:1]):
            if not file.is_file():  # each machine has a folder of that name of its own
                raise OwsegError(f"{file} was written by a worker and is not here; all machines must share --out.")
        yield from results


class _Unwritable(OSError):
    """A file could not be written: unlike an image that cannot be read, that concerns all the others."""


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OwsegError as error:
        raise _Unwritable(str(error)) from None


@dataclass(frozen=True, eq=False)
class _Named:
    """The images that become maps in ``out``, by the names of these."""

    names: Sequence[str]
    paths: Sequence[Path]
    out: Path
    read: Callable[[Path], np.ndarray]

    def __len__(self) -> int:
        return len(self.paths)

    def pick(self, numbers: range) -> _Named:
        """Return those of ``numbers``."""
        at = slice(numbers.start, numbers.stop)
        return replace(self, names=self.names[at], paths=self.paths[at])

    def __getitem__(self, i: int) -> Sample:
        name, path = self.names[i], self.paths[i]
        longest = self.out / f"{name}.regions.json"
        # Both, as a folder that is not there yet hides that the name in it is too long.
        if not (fits(longest) and fits(self.out / longest.name)):
            raise OwsegError(
                f"{path}: its name is too long for that of its maps, such as NAME.regions.json; shorten it."
            )
        return Sample(self.read(path), None, name)


@dataclass(frozen=True, eq=False)
class _Predictor:
    """Predicts images and writes their maps; the ``Work`` of a cluster, too."""

    kb: Model
    forward: Forward
    npy: bool
    write: Collection[str]

    def to(self, device: torch.device) -> _Predictor:
        """Return it with the knowledge base on ``device``."""
        kb, forward = moved_to(self.kb, self.forward, device)
        return replace(self, kb=kb, forward=forward)

    def __call__(self, images: _Named) -> list[Result]:
        """Return the result for each image."""
        return [*self.over(images)]

    def over(self, images: _Named) -> Iterator[Result]:
        """Yield the result for each image, in order."""
        paths = dict(zip(images.names, images.paths, strict=True))
        ways = self._ways()

        def predict(sample: Sample, output: Output) -> Result:
            path = paths[sample.id]
            prediction = self.kb.decide(replace(sample, id=path.name), output)
            return self._written(path, images.out / sample.id, prediction)

        def failed(i: int, error: Exception) -> Result:
            path = images.paths[i]
            return Result(path, None, failure(path, error, ways))

        return over_images(self.forward, images, predict, failed)

    def _ways(self) -> str:
        """Return what helps where memory runs out."""
        usual, asked = self.kb.working_size, self.forward.size if isinstance(self.forward, Engine) else None
        if asked is not None and asked > (usual or 0):
            return f"a smaller --size than {asked} takes less"
        # Tiles of a network with a working size have more pixels in all than that.
        return "--size N or --tile takes less, or make it smaller" if usual is None else "make it smaller"

    def _written(self, path: Path, place: Path, prediction: Prediction) -> Result:
        """Write the maps of an image, each as ``place`` with a suffix, and return its result."""
        files = {place.parent / f"{place.name}.{end}": data for end, data in prediction.files(self.npy, self.write)}
        summary = prediction.to_json()
        if prediction.find is not None and {"overlay", "regions"} & {*self.write}:  # else they need not be found
            found = [region.to_json() for region in prediction.regions]
            summary["regions"] = [{k: v for k, v in one.items() if k not in ("image", "mask")} for one in found]
        size = self.kb.working_size
        factor = None if size is None else size / min(prediction.labels.shape)
        # A score on the road says how much road an image shows, and not of which place it is.
        on_road = self.kb.scorer.endswith(ON_ROAD)
        scores = None if on_road else quantiles_of(prediction.image, prediction.score)
        if scores is not None:
            scores = np.array([float(f"{q:.6g}") for q in scores])  # short, as they are stored
        with _writing():
            for file, data in files.items():
                write_whole(file, data)
        return Result(path, prediction.unknown, None, tuple(files), summary, factor, scores)


def check_names(names: Sequence[str], paths: Sequence[Path]) -> None:
    """Raise ``OwsegError`` where two images have one name: the maps of one would replace those of the other."""
    first: dict[str, Path] = {}
    for name, path in zip(names, paths, strict=True):
        if first.setdefault(name, path) is not path:
            apart = first[name].parent != path.parent
            ways = "rename one" + ", or give the folder above both with --recursive" * apart
            raise OwsegError(f"{first[name]} and {path} would both become {name}.labels.png; {ways}.")


def _check_classes(out: Path) -> None:
    """Raise ``OwsegError`` where ``CLASSES`` or ``LEGEND`` is a file of another program, or of a data set."""
    place = out / CLASSES
    there = read_json(place) if place.exists() else []
    ours = isinstance(there, list) and all(isinstance(c, dict) and {*c} == {"id", "name", "color"} for c in there)
    for file in (place, out / LEGEND):
        if file.exists() and not (ours and place.exists()):
            raise OwsegError(f"{file} is not from an earlier owseg predict and would be lost; give another --out.")


def _write_classes(labels: LabelSpace, out: Path) -> None:
    value = [{"id": i, **entry} for i, entry in enumerate(labels.to_json())]
    write_whole(out / CLASSES, (json.dumps(value, indent=1) + "\n").encode())
    write_whole(out / LEGEND, encode_legend(labels))


def shift_of(kb: Model, results: Sequence[Result]) -> Shift | None:
    """Return how the scores of these images differ from those that the threshold of ``kb`` is for (``find_shift``).

    None where that is not known: no image, or a threshold that earlier versions of owseg stored.
    """
    scores = [r.scores for r in results if r.scores is not None]
    if kb.threshold is None or kb.threshold.reference is None or not scores:
        return None
    return find_shift(kb.threshold, scores)

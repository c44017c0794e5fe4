"""Images without ground truth as a data set, and inlier images to train on, labelled or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from owseg._files import state_of
from owseg.data.dataset import DataSet, Source
from owseg.data.datasets import DATASETS, open_dataset
from owseg.data.files import Files
from owseg.data.images import by_stem
from owseg.errors import OwsegError
from owseg.labels import LabelSpace


def open_inliers(spec: str, split: str, labels: LabelSpace) -> DataSet:
    """Open inlier images against ``labels``: a folder of images, or ``split`` of a data set (``camvid:DIR``).

    The images of a folder have no ground truth, and ``split`` does not matter. Raises ``OwsegError`` for neither.
    """
    folder = Path(spec).expanduser()
    if folder.is_dir():
        return DataSet(unlabeled_source(folder, labels), labels)
    if ":" not in spec and spec not in DATASETS:
        raise OwsegError(f"{spec} {state_of(folder)}; name a folder of images, or a data set such as camvid:DIR.")
    return open_dataset(spec, split, labels)


def unlabeled_source(folder: Path, labels: LabelSpace) -> Source:
    """Return the images directly in ``folder`` as a source without ground truth, with the classes ``labels``."""
    paths = by_stem(folder)
    return _source(folder.name, tuple(paths), tuple(paths.values()), labels)


def unlabeled_images(paths: Sequence[Path], labels: LabelSpace) -> DataSet:
    """Return image files as a data set without ground truth, with the classes ``labels``."""
    return DataSet(_source("images", tuple(str(path) for path in paths), tuple(paths), labels), labels)


def _source(name: str, ids: tuple[str, ...], paths: Sequence[Path], labels: LabelSpace) -> Source:
    return Source(name, labels, ids, Files(paths, [None] * len(paths)))


def hold_out(data: DataSet, every: int = 8) -> tuple[DataSet, DataSet]:
    """Return ``data`` without every eighth sample, and those; raise ``OwsegError`` for fewer than ``every``."""
    if len(data) < every:
        few = f"{data.source.name} has {len(data)} images"
        raise OwsegError(f"{few}; give {every} or more, as one of {every} is kept to validate on.")
    # Spread over the whole set, since neighbours in a video show nearly the same.
    held = range(every - 1, len(data), every)
    return data.pick([i for i in range(len(data)) if i not in held]), data.pick(held)

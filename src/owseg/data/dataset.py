"""From files to samples: a source has its own class ids, a data set those of the label space it is opened against."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from owseg.data.files import Files
from owseg.errors import OwsegError
from owseg.labels import IGNORE, KNOWN, UNKNOWN, LabelSpace
from owseg.types import Sample


@dataclass(frozen=True, repr=False)
class Source:
    """A split of a data set as it is on disk, in its own class ids.

    ``classes`` are the source's own; ``ids`` name the images. ``read(i)`` returns image (3, H, W) uint8 and target (H,
    W) uint8: ids of ``classes``, KNOWN where only that much is known, IGNORE for void; or None without ground truth.
    ``finer`` allows masks of more pixels than their images, which some benchmarks publish reduced: scores are then
    interpolated to the mask. Such images can be evaluated, not trained on.
    """

    name: str
    classes: LabelSpace
    ids: tuple[str, ...]
    read: Callable[[int], tuple[np.ndarray, np.ndarray | None]]
    finer: bool = False

    def __repr__(self) -> str:
        return f"Source({self.name!r}, {len(self.ids)} images, {len(self.classes)} classes)"


@dataclass(frozen=True)
class DataSet:
    """The samples of a source in the ids of a label space; this is where ids are matched, by class name.

    Classes of the source that ``labels`` does not have become ``unknown_as``: UNKNOWN to evaluate, IGNORE to train.
    KNOWN stays to evaluate, and is IGNORE to train.
    """

    source: Source
    labels: LabelSpace
    unknown_as: int = UNKNOWN

    def __len__(self) -> int:
        return len(self.source.ids)

    def __getitem__(self, i: int) -> Sample:
        """Read sample ``i``; raise ``OwsegError`` for a mask of another size than its image, and for undefined ids."""
        if not 0 <= i < len(self):
            raise IndexError(i)
        image, raw = self.source.read(i)
        name = self.source.ids[i]
        if raw is None:
            return Sample(image, None, name)
        if raw.shape != image.shape[1:] and not (self.source.finer and _is_enlarged(image, raw)):
            raise OwsegError(f"{_sizes(name, image, raw)}; they must be of one size.")
        if raw.shape != image.shape[1:] and self.unknown_as == IGNORE:
            raise OwsegError(f"{_sizes(name, image, raw)}: that can be evaluated, not trained on.")
        # Checked, as the table below would turn an undefined id into void without a word.
        present = np.nonzero(np.bincount(raw.ravel(), minlength=256)[:IGNORE])[0].tolist()
        if undefined := [v for v in present if v >= len(self.source.classes) and v != KNOWN]:
            raise OwsegError(
                f"the mask of {name} holds the ids {undefined}, but the classes are 0..{len(self.source.classes) - 1} "
                f"and {IGNORE} is void; correct the mask, or the list of classes."
            )
        # One table look-up a pixel; what a network is trained on must not hold KNOWN, which is no class of it.
        table = self.labels.lookup(self.source.classes, self.unknown_as)
        if self.unknown_as == IGNORE:
            table[KNOWN] = IGNORE
        return Sample(image, table[raw], name)

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def pick(self, numbers: Sequence[int], name: str | None = None) -> DataSet:
        """Return the subset of the samples ``numbers``, in that order, under another ``name`` where one is given."""
        source, numbers = self.source, list(numbers)
        ids = tuple(source.ids[i] for i in numbers)
        read = source.read.pick(numbers) if isinstance(source.read, Files) else lambda i: source.read(numbers[i])
        few = replace(source, name=name or source.name, ids=ids, read=read)
        return replace(self, source=few)

    def unknown_classes(self) -> tuple[str, ...]:
        """Return the names of the source's classes that the label space does not have."""
        return tuple(n for n in self.source.classes.names if n not in self.labels)

    def fingerprint(self) -> str:
        """Return the first 16 hexadecimal digits of a SHA-256 over all ids, images and targets."""
        return fingerprint_of(self, self.labels, self.unknown_as)


@dataclass(frozen=True)
class Labelled:
    """The samples of ``data``, each of which must have ground truth, for a ``use``.

    Reading one without it raises ``OwsegError``: before a network is run on the image.
    """

    data: DataSet
    use: str

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> Sample:
        """Read sample ``i``."""
        sample = self.data[i]
        sample.mask_for(self.use)
        return sample


def fingerprint_of(samples: Iterable[Sample], labels: LabelSpace, unknown_as: int = UNKNOWN) -> str:
    """Return ``DataSet.fingerprint`` of a data set opened against ``labels`` whose samples are ``samples``.

    For a caller that reads the samples anyway, so that they are read once.
    """
    # Opened against other classes, the same files are another data set, even where they have no targets.
    digest = hashlib.sha256(repr((labels.names, unknown_as)).encode())
    for sample in samples:
        digest.update(sample.id.encode(errors="surrogatepass"))  # a file name may be no UTF-8
        digest.update(np.ascontiguousarray(sample.image).data)
        if sample.target is not None:
            digest.update(np.ascontiguousarray(sample.target).data)
    return digest.hexdigest()[:16]


def spread_over(data: DataSet, most: int) -> DataSet:
    """Return at most ``most`` samples of ``data``, evenly spread from the first to the last."""
    if len(data) <= most:
        return data
    picked = [round(i) for i in np.linspace(0, len(data) - 1, most)]
    return data.pick(picked, f"{data.source.name}, {most} of {len(data)}")


def divide(data: DataSet, share: float, seed: int = 0) -> tuple[DataSet, DataSet]:
    """Return ``data`` without a ``share`` of its samples, and those, drawn at random; both in their order.

    Raises ``OwsegError`` for a share outside (0, 1), and where either part would be empty.
    """
    if not 0 < share < 1:
        raise OwsegError(f"a share is between 0 and 1, not {share:g}; write 0.2 for 20 %.")
    count = round(share * len(data))
    if not 0 < count < len(data):
        raise OwsegError(
            f"{share:g} of the {len(data)} images of {data.source.name} is {count}; ask for another share."
        )
    picked = np.random.default_rng(seed).permutation(len(data))[:count]
    rest = sorted(set(range(len(data))) - set(picked.tolist()))
    name = f"{share:g} of {data.source.name}, seed {seed}"
    return data.pick(rest, f"{data.source.name} without {name}"), data.pick(sorted(picked.tolist()), name)


def shared_images(one: DataSet, other: DataSet) -> int:
    """Return how many images of ``other`` are, pixel by pixel, among those of ``one``, whatever their names."""
    known = {_digest(sample.image) for sample in one}
    return sum(_digest(sample.image) in known for sample in other)


def joined(one: DataSet, other: DataSet) -> DataSet:
    """Return the samples of two data sets as one to train on, those of ``one`` first; ``other`` may have no targets.

    Both are opened against the same labels; what either does not know is void.
    """
    parts = [replace(data, unknown_as=IGNORE) for data in (one, other)]
    count = len(one)

    def read(i: int) -> tuple[np.ndarray, np.ndarray | None]:
        sample = parts[0][i] if i < count else parts[1][i - count]
        return sample.image, sample.target

    name, ids = f"{one.source.name} and {other.source.name}", (*one.source.ids, *other.source.ids)
    return DataSet(Source(name, one.labels, ids, read), one.labels, IGNORE)


def _digest(image: np.ndarray) -> bytes:
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).digest()


def _is_enlarged(image: np.ndarray, mask: np.ndarray) -> bool:
    """Return whether ``mask`` has the aspect ratio of ``image`` and more pixels."""
    (height, width), (tall, wide) = image.shape[1:], mask.shape
    return bool(tall > height and tall * width == wide * height)


def _sizes(name: str, image: np.ndarray, mask: np.ndarray) -> str:
    return f"the mask of {name} is {mask.shape[1]}x{mask.shape[0]} and its image {image.shape[2]}x{image.shape[1]}"

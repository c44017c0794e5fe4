"""Shots from a data set or from a folder: the annotated images that a class is learned from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from owseg.data.dataset import DataSet
from owseg.data.images import are_black_and_white, by_stem, read_class_mask, read_image, unpaired
from owseg.data.lazy import Lazy
from owseg.data.masks import Rle
from owseg.errors import OwsegError
from owseg.labels import IGNORE
from owseg.types import Shot


def shot_of(data: DataSet, i: int, name: str) -> Shot:
    """Return image ``i`` of ``data`` as a shot of the source's class ``name``; its other classes are negatives.

    Raises ``OwsegError`` for an image without a mask, and for a class that the source does not have.
    """
    image, raw = data.source.read(i)
    if raw is None:
        raise OwsegError(f"{data.source.ids[i]} has no mask; a shot needs one.")
    return Shot(image, raw == data.source.classes.index(name), data.source.ids[i], raw == IGNORE)


def check_count(count: int) -> None:
    """Raise ``OwsegError`` for fewer shots than one."""
    if count < 1:
        raise OwsegError(f"a class is learned from one shot or more, not {count}; give one at least.")


def check_seed(seed: int) -> None:
    """Raise ``OwsegError`` for a seed below 0."""
    if seed < 0:
        raise OwsegError(f"a seed is 0 or above, not {seed}.")


def sample_shots(data: DataSet, name: str, count: int, seed: int = 0, top: float = 0.2) -> Sequence[Shot]:
    """Draw ``count`` shots of the class ``name`` from ``data`` at random, with ``seed``, among those that show it best.

    Of the images that show the class at all, only the share ``top`` in which it covers most pixels (at least ``count``
    images) are drawn from, as a person would choose such images. Each is read when it is asked for. Raises
    ``OwsegError`` for fewer than ``count`` images.
    """
    check_count(count)
    check_seed(seed)
    if not 0 < top <= 1:
        raise OwsegError(f"the share of images that shots are drawn from is above 0 and at most 1, not {top}.")
    label = data.source.classes.index(name)
    pixels = {}
    for i in range(len(data)):
        raw = data.source.read(i)[1]
        if raw is not None and (covered := int((raw == label).sum())):
            pixels[i] = covered
    if len(pixels) < count:
        there = f"{len(pixels)} image{'s'[: len(pixels) != 1]} of {data.source.name}"
        raise OwsegError(f"{name} is shown by {there}, and {count} are asked for; ask for fewer, or give more.")
    best = sorted(pixels, key=lambda i: (-pixels[i], i))[: max(count, round(top * len(pixels)))]
    # Sorted, so that the draw depends on the set of images alone, not on the order of their areas.
    drawn = np.random.default_rng(seed).choice(sorted(best), size=count, replace=False)
    return Lazy(sorted(int(d) for d in drawn), lambda i: shot_of(data, i, name))


def read_shot_folder(folder: str | Path) -> Sequence[Shot]:
    """Read the shots of one class: ``images/NAME.*`` with ``masks/NAME.*``, 0 off the class, one other value on it.

    255 is void, unless the masks hold 0 and 255 and no other value: then it is the class. An image is read when its
    shot is asked for. Raises ``OwsegError`` for an image without a mask, a mask without an image, two files of one
    name, and any other mask.
    """
    folder = Path(folder).expanduser()
    masks, images = by_stem(folder / "masks"), by_stem(folder / "images")
    if unmatched := sorted(images.keys() - masks.keys()):
        raise unpaired(images[unmatched[0]], "mask", folder / "masks")
    if unmatched := sorted(masks.keys() - images.keys()):
        raise unpaired(masks[unmatched[0]], "image", folder / "images")
    check_count(len(images))
    white = are_black_and_white(masks.values())  # decided for the folder: a single mask may lack the void of the others
    marks = {name: tuple(map(Rle.of, read_class_mask(masks[name], white))) for name in images}

    def read(name: str) -> Shot:
        positives, void = (rle.mask() for rle in marks[name])
        return Shot(read_image(images[name], upright=False), positives, name, void)

    return Lazy(list(images), read)


def read_counterexamples(folder: str | Path) -> Sequence[Shot]:
    """Read images that show what is *not* a class, which their masks mark; raises as ``read_shot_folder`` does."""
    marked = read_shot_folder(folder)

    def read(i: int) -> Shot:
        shot = marked[i]
        return Shot.counterexample(shot.image, shot.positives, shot.id)

    return Lazy(range(len(marked)), read)

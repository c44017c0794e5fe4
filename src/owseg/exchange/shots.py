"""From annotations to the shots that a class is learned from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath

from owseg._files import fits
from owseg.data.images import SUFFIXES, read_image
from owseg.data.lazy import Lazy
from owseg.data.shots import read_shot_folder
from owseg.errors import FormatNotRecognised, OwsegError
from owseg.exchange.annotation import VOID, Annotation, by_image
from owseg.exchange.formats import read
from owseg.types import Shot

UPLOAD_PREFIX = re.compile("^[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the file name of an image that is uploaded to it."""


def read_shots(path: str | Path, name: str, images: str | Path | None = None) -> Sequence[Shot]:
    """Read the shots of the class ``name`` from a folder with ``images/`` and ``masks/``, or from annotations.

    ``images`` is the folder of the annotated images; by default the one that the annotations are in. The masks of a
    folder are of one class, and ``name`` does not matter. An image is read when its shot is asked for. Raises what
    ``read_shot_folder`` or ``shots_of`` raises, and ``OwsegError`` for a folder of neither.
    """
    path = Path(path).expanduser()
    if (path / "masks").is_dir():
        return read_shot_folder(path)
    try:
        return shots_of(read(path), images or (path if path.is_dir() else path.parent), name)
    except FormatNotRecognised:
        if not path.is_dir():
            raise
        hint = f"; give its parent, {path.parent}" if (path.parent / "masks").is_dir() else "; give a folder that does"
        raise OwsegError(f"{path} holds neither images/ and masks/ nor annotations of a known format{hint}.") from None


def shots_of(annotations: Iterable[Annotation], images: str | Path, name: str) -> Sequence[Shot]:
    """Return the images that are annotated with the class ``name`` as shots; ``images`` is the folder they are in.

    The class has to be marked wherever an image shows it: all other pixels are negatives, except those annotated as
    ``VOID``, which are ignored. What is annotated twice in an image, such as in two files, is joined. Raises
    ``OwsegError`` if no image is annotated with the class, one is not found, or one has masks of two sizes, and a shot
    does when it is asked for if its mask is of another size than its image.
    """
    names: dict[str, None] = {}

    def wanted() -> Iterator[Annotation]:
        for a in annotations:
            names[a.name] = None
            if a.name in (name, VOID) and a.mask.any():
                yield a

    marked, _ = by_image(wanted())  # run lengths: an export may be far more than memory holds
    masks = {image: found.masks[name] for image, found in marked.items() if name in found.masks}
    voids = {image: found.masks[VOID] for image, found in marked.items() if VOID in found.masks}
    if not masks:
        there = f"; the classes are {', '.join(names)}" if names else ", nor with another class; give other annotations"
        raise OwsegError(f"no image is annotated with {name!r}{there}.")
    listed = cache(_images_by_stem)  # each folder once, however many images are looked for in it
    paths = {image: find_annotated(image, images, listed) for image in masks}

    def read_one(image: str) -> Shot:
        path, mask = paths[image], masks[image].mask()
        pixels = read_image(path)
        if pixels.shape[1:] != mask.shape:
            raise OwsegError(
                f"{path} is {pixels.shape[2]}x{pixels.shape[1]} and was annotated as {mask.shape[1]}x"
                f"{mask.shape[0]}; give the image that was annotated (was it turned by its EXIF tag?)."
            )
        # Where a pixel is marked as both, it has the class.
        void = voids[image].mask() & ~mask if image in voids else None
        return Shot(pixels, mask, image, void)

    return Lazy(list(masks), read_one)


def find_annotated(
    image: str, folder: str | Path, listed: Callable[[Path], Mapping[str, Sequence[Path]]] | None = None
) -> Path:
    """Return the file in ``folder``, or in its ``images/``, that an annotation calls ``image``.

    It is found by its path; by its file name alone; by the latter without ``UPLOAD_PREFIX``; and each of these with
    any suffix, which some formats leave out. It is never a file outside of ``folder``. ``listed`` returns the images in
    a folder by their names without suffix; by default it is read. Raises ``OwsegError`` if there is no such file, or
    several.
    """
    folder = Path(folder).expanduser()
    path = PurePosixPath(image.replace("\\", "/"))
    # An annotation comes from elsewhere: its path must not reach a file outside of the folder.
    inside = not path.is_absolute() and ".." not in path.parts
    names = [path] if inside else []
    names += [PurePosixPath(path.name), PurePosixPath(UPLOAD_PREFIX.sub("", path.name, count=1))]
    # Without a name, such as "/" and ".", a path is that of the folder itself, and beside that are files of others.
    places = [root / name for name in names if name.name for root in (folder, folder / "images")]
    for place in filter(fits, places):
        if place.is_file():
            return place
        if place.parent.is_dir():
            found = (listed or _images_by_stem)(place.parent).get(place.name, ())
            if len(found) > 1:
                raise OwsegError(f"{place} may be {' or '.join(sorted(p.name for p in found))}; keep one.")
            if found:
                return found[0]
    image = image if len(image) < 200 else f"{image[:200]}..."
    raise OwsegError(f"there is no image {image} in {folder}; name the folder that has it (--images).")


def _images_by_stem(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        if path.suffix.lower() in SUFFIXES:
            found.setdefault(path.stem, []).append(path)
    return found

"""The images that names stand for: files, folders and patterns, as they are given to a command."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from owseg.data.images import SUFFIXES, no_image
from owseg.data.lists import LISTS, common_folder, read_list
from owseg.errors import OwsegError

OTHERS = (".gif", ".avif", ".heic", ".heif", ".jp2", ".jxl", ".tga", ".ico", ".svg", ".eps", ".psd", ".pgm", ".pbm",
          ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2")  # fmt: skip
"""Images of formats that are not read; where a folder has some, it is said."""


VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
"""Videos, which are refused with advice."""


@dataclass(frozen=True)
class ImageFiles:
    """Images that were found: their ``paths``, sorted, and for each its name (see ``search_images``).

    ``notes`` says, one sentence each, what was not taken: images in subfolders, and files of other formats.
    """

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def search_images(names: Sequence[str], recursive: bool = False, apart: Path | None = None) -> ImageFiles:
    """Return the images that ``names`` stand for: files, folders, glob patterns (``**`` is any folder), and lists.

    A list is a file of ``LISTS`` (see ``read_list``); whether its images are there is found when they are read. Of a
    folder, ``recursive`` takes its subfolders as well, but hidden ones and the folder ``apart``. Each image is taken
    once. Its name has no suffix; it is its path below the folder, or below the fixed part of the pattern, or the folder
    of the list, by which it was found first, and of a file that was named itself the name of that. Raises
    ``OwsegError`` for a name that stands for no image.
    """
    named: dict[Path, str] = {}
    notes: list[str] = []
    for name in names:
        path = Path(name).expanduser()
        if re.match(r"[a-z][a-z0-9+.-]*://", name, re.IGNORECASE):
            raise OwsegError(f"{name} is an address, and nothing is downloaded; save the image, and name its file.")
        if path.suffix.lower() in VIDEOS and path.is_file():
            raise OwsegError(f"{name} is a video; owseg video labels it, or save its frames and name their folder.")
        if path.suffix.lower() in LISTS and path.is_file():
            found = read_list(path)
            root = common_folder(path, found)
        elif path.is_dir():
            found, root = _in_folder(path, recursive, apart, notes), path
        elif path.exists():
            found, root = [path], path.parent
        else:
            found, root = _matching(name, path)
        above = len(root.parts)
        for image in found:
            named.setdefault(image, "/".join((*image.parts[above:-1], image.stem)))
    paths = sorted(named, key=lambda path: path.parts)  # as paths compare, but each is divided once
    return ImageFiles(tuple(paths), tuple(named[path] for path in paths), tuple(notes))


def _in_folder(folder: Path, recursive: bool, apart: Path | None, notes: list[str]) -> list[Path]:
    taken: list[Path] = []
    left: list[str] = []
    deeper = 0
    for path in _below(folder, apart and apart.resolve()):
        suffix, is_own = path.suffix.lower(), recursive or path.parent == folder
        if suffix in SUFFIXES and is_own:
            taken.append(path)
        elif suffix in SUFFIXES:
            deeper += 1
        elif suffix in OTHERS and is_own:
            left.append(suffix)
    files, kinds = f"{len(left)} file{'s'[: len(left) > 1]}", ", ".join(sorted(set(left)))
    if not taken and (deeper or left):
        way = "--recursive takes them" if deeper else "convert what is to be read to PNG or JPEG"
        what = f"{deeper} in its subfolders" if deeper else f"{files} of another format ({kinds})"
        raise OwsegError(f"{folder} holds no image that can be read, but {what}; {way}.")
    if not taken:
        raise no_image(folder)
    if deeper:
        notes.append(f"{deeper} more image{'s'[: deeper > 1]} in subfolders of {folder}; --recursive takes them, too.")
    if left:
        notes.append(f"{files} left out of {folder} ({kinds}); convert to PNG or JPEG what is to be read.")
    return taken


def _below(folder: Path, apart: Path | None) -> Iterator[Path]:
    """Yield the files in a folder and its subfolders; hidden ones and the folder ``apart`` are left out."""
    next(folder.iterdir(), None)  # unlike os.walk, raises where it cannot be read
    for place, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith(".") and Path(place, f).resolve() != apart]
        here = Path(place)  # divided into its parts once, not with each of its files
        # macOS leaves a hidden ._NAME.jpg, which is no image, beside each NAME.jpg on foreign disks.
        yield from (here / file for file in files if not file.startswith("."))


def _matching(name: str, pattern: Path) -> tuple[list[Path], Path]:
    # Unlike Path.glob, glob.glob takes absolute patterns.
    matched = [Path(p) for p in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207
    images = [p for p in matched if p.suffix.lower() in SUFFIXES and p.is_file()]
    if not images:
        if not glob.has_magic(name):
            raise OwsegError(f"{name} does not exist; name an image, a folder, or a pattern such as 'photos/*.jpg'.")
        raise OwsegError(f"no image matches {name}; name a folder, or a pattern of images ({', '.join(SUFFIXES)}).")
    fixed = next(i for i, part in enumerate(pattern.parts) if glob.has_magic(part))
    return images, Path(*pattern.parts[:fixed])

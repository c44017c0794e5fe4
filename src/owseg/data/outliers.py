"""Images of things that are none of the known classes, to be pasted into streets: three layouts, one shape."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from owseg.data.images import by_stem, load_image, read_image, read_marks, two_valued
from owseg.errors import OwsegError
from owseg.labels import LabelSpace

SYNONYMS = (
    frozenset({"person", "pedestrian", "rider", "bicyclist", "motorcyclist", "people", "human"}),
    frozenset({"bicycle", "bicyclist", "cyclist", "bike"}),
    frozenset({"motorcycle", "motorbike", "motorcyclist"}),
    frozenset({"car", "vehicle", "automobile"}),
    frozenset({"truck", "lorry", "vehicle"}),
    frozenset({"bus", "vehicle"}),
    frozenset({"train", "tram", "on rails"}),
    frozenset({"traffic light", "sign"}),
    frozenset({"traffic sign", "stop sign", "sign"}),
    frozenset({"pole", "column", "column pole"}),
    frozenset({"vegetation", "tree", "potted plant", "plant"}),
    frozenset({"sidewalk", "pavement"}),
)
"""Names under which data sets call one thing."""


@dataclass(frozen=True, eq=False)
class Outlier:
    """Something that no class is a name for: ``image`` (3, H, W) uint8, ``mask`` (H, W) bool where it is.

    ``void`` (H, W) bool, where given, marks what nobody could name.
    """

    image: np.ndarray
    mask: np.ndarray
    id: str
    void: np.ndarray | None = None


@dataclass(frozen=True)
class Outliers:
    """Outlier objects on disk: ``ids`` name them, ``categories`` say what each shows, ``read(i)`` gives one.

    ``in_context`` if the images show the objects where they were photographed, as CoroCL needs them.
    """

    name: str
    ids: tuple[str, ...]
    categories: tuple[frozenset[str], ...]
    read: Callable[[int], Outlier]
    in_context: bool = True

    def __len__(self) -> int:
        return len(self.ids)

    def without(self, names: Iterable[str]) -> Outliers:
        """Return those that show none of the categories ``names``.

        Raises ``OwsegError`` for a name that no outlier has, and if none is left.
        """
        return leave_out(names, self)[0]

    def pick(self, numbers: Sequence[int]) -> Outliers:
        """Return the outliers ``numbers``, in that order."""
        ids, shown = tuple(self.ids[i] for i in numbers), tuple(self.categories[i] for i in numbers)
        return replace(self, ids=ids, categories=shown, read=lambda i: self.read(numbers[i]))

    def unknown_to(self, labels: LabelSpace) -> Outliers:
        """Return those that show no class of ``labels``, whatever their data set calls it (see ``SYNONYMS``).

        Raises ``OwsegError`` if none is left.
        """
        return self._showing_none(known_as(labels.names))

    def counts(self) -> dict[str, int]:
        """Return how many outliers show each category, most first."""
        every = [c for shown in self.categories for c in shown]
        return dict(sorted(((c, every.count(c)) for c in set(every)), key=lambda item: (-item[1], item[0])))

    def _showing_none(self, unwanted: set[str]) -> Outliers:
        kept = [i for i, shown in enumerate(self.categories) if not unwanted & {plain(c) for c in shown}]
        if not kept:
            raise OwsegError(
                f"every outlier in {self.name} shows what is known or left out "
                f"({', '.join(sorted({c for shown in self.categories for c in shown}))}); give others."
            )
        return self.pick(kept)


def leave_out(
    names: Iterable[str], objects: Outliers, context: Outliers | None = None
) -> tuple[Outliers, Outliers | None]:
    """Return ``objects`` and ``context`` less what shows one of the categories ``names``.

    Raises ``OwsegError`` for a name that neither has, and if none is left of either.
    """
    given = {plain(n): n for n in names}
    there = {plain(c) for some in (objects, context) if some for shown in some.categories for c in shown}
    if strange := [name for key, name in given.items() if key not in there]:
        raise OwsegError(f"no outlier shows {strange[0]!r}, to be left out; they show {', '.join(sorted(there))}.")
    return objects._showing_none(set(given)), context._showing_none(set(given)) if context else None


def open_outliers(place: str | Path) -> Outliers:
    """Open a folder of outliers; raise ``OwsegError`` if it holds none. It may be laid out in three ways:

    * ``images/`` and ``masks/`` of the same stems: 0 off the objects, one other value on them, 255 void, unless the
      masks hold 0 and 255 and nothing else: then 255 is on the objects;
    * ``images/`` and a COCO annotation ``*.json``: the objects of an image are one outlier;
    * RGBA cut-outs, opaque where the object is.

    ``index.json``, a list of ``{"file": ..., "category": ...}`` or ``{..., "categories": [...]}``, names what they
    show; without it a cut-out is what its name says up to the last ``_``, and an image with a mask shows "outlier".
    """
    root = Path(place).expanduser()
    if not root.is_dir():
        raise OwsegError(f"{root} is not a folder; give the folder that holds the outliers.")
    if (root / "masks").is_dir():
        return _masked(root)
    annotations = [p for p in sorted(root.glob("*.json")) if p.name != "index.json"]
    if annotations and (root / "images").is_dir():
        return _coco(root, annotations[0])
    return _cutouts(root)


def known_as(classes: Iterable[str]) -> set[str]:
    """Return every name under which one of ``classes`` may go, in lower case (see ``SYNONYMS``)."""
    names = {plain(n) for n in classes}
    return names | {s for group in SYNONYMS for s in group if names & group}


def plain(name: str) -> str:
    """Return a name in lower case, words parted by single spaces."""
    return " ".join(re.split(r"[\s_-]+", name.strip().lower()))


def _cutouts(root: Path) -> Outliers:
    paths, shown = list(by_stem(root).values()), _index(root)
    categories = tuple(shown.get(p.name, frozenset({plain(p.stem.rpartition("_")[0] or p.stem)})) for p in paths)

    def read(i: int) -> Outlier:
        picture = load_image(paths[i])
        if not picture.has_transparency_data:
            raise OwsegError(f"{paths[i]} is not transparent; a cut-out is an RGBA image, or has a mask.")
        rgba = np.asarray(picture.convert("RGBA")).transpose(2, 0, 1)
        return _shown(Outlier(np.ascontiguousarray(rgba[:3]), rgba[3] > 127, paths[i].stem), paths[i])

    return Outliers(root.name, tuple(p.stem for p in paths), categories, read, in_context=False)


def _masked(root: Path) -> Outliers:
    masks, paths, shown = by_stem(root / "masks"), list(by_stem(root / "images").values()), _index(root)
    for path in paths:
        if path.stem not in masks:
            raise OwsegError(f"{path} has no mask of the same name in {root / 'masks'}.")

    white = two_valued(masks.values())

    def read(i: int) -> Outlier:
        image, (mask, void) = read_image(paths[i], upright=False), read_marks(masks[paths[i].stem], white)
        if mask.shape != image.shape[1:]:
            raise OwsegError(
                f"the mask of {paths[i].name} is {mask.shape[1]}x{mask.shape[0]} and its image "
                f"{image.shape[2]}x{image.shape[1]}; they must be of one size."
            )
        return Outlier(image, mask, paths[i].stem, void)

    categories = tuple(shown.get(p.name, frozenset({"outlier"})) for p in paths)
    return Outliers(root.name, tuple(p.stem for p in paths), categories, read)


def _coco(root: Path, annotations: Path) -> Outliers:
    """Read polygons; an object that is given as run lengths (a crowd) leaves its image out."""
    try:
        value = json.loads(annotations.read_text())
        names = {c["id"]: str(c["name"]) for c in value["categories"]}
        files = {p["id"]: root / "images" / p["file_name"] for p in value["images"]}
        objects: dict[Any, list[Any]] = {}
        for a in value["annotations"]:
            objects.setdefault(a["image_id"], []).append(a)
        pictures = [k for k, found in objects.items() if all(isinstance(a["segmentation"], list) for a in found)]
        categories = tuple(frozenset(names[a["category_id"]] for a in objects[k]) for k in pictures)
        paths = [files[k] for k in pictures]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise OwsegError(f"{annotations} is no COCO annotation ({error!r}).") from None
    if not paths:
        raise OwsegError(f"{annotations} annotates no image with polygons.")

    def read(i: int) -> Outlier:
        image = read_image(paths[i], upright=False)
        drawn = Image.new("1", (image.shape[2], image.shape[1]))
        for a in objects[pictures[i]]:
            for polygon in a["segmentation"]:
                ImageDraw.Draw(drawn).polygon([float(v) for v in polygon], fill=1)
        return _shown(Outlier(image, np.asarray(drawn), paths[i].stem), paths[i])

    return Outliers(root.name, tuple(p.stem for p in paths), categories, read)


def _shown(outlier: Outlier, path: Path) -> Outlier:
    if not outlier.mask.any():
        raise OwsegError(f"{path} shows no outlier: no pixel of it is opaque, or outlined; remove it.")
    return outlier


def _index(root: Path) -> dict[str, frozenset[str]]:
    """Return the categories by file name that ``index.json`` gives; nothing where there is none."""
    path = root / "index.json"
    if not path.exists():
        return {}
    try:
        entries = json.loads(path.read_text())
        return {e["file"]: frozenset(e["categories"] if "categories" in e else [e["category"]]) for e in entries}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise OwsegError(f"{path} is no list of files and their categories ({error!r}).") from None

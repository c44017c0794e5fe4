"""Images of objects that are none of the known classes, for outlier exposure: three layouts on disk, one type."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from owseg._files import MAX_ANNOTATIONS, read_json, state_of
from owseg.data.decoding import load_image
from owseg.data.images import are_black_and_white, by_stem, read_class_mask, read_image, unpaired
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
"""Class names that different data sets use for the same or an overlapping class."""


@dataclass(frozen=True, eq=False)
class Outlier:
    """An image with objects of no known class: ``image`` (3, H, W) uint8, ``mask`` (H, W) bool where they are.

    ``void`` (H, W) bool, where given, marks pixels that are ignored.
    """

    image: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)
    id: str
    void: np.ndarray | None = field(default=None, repr=False)


@dataclass(frozen=True, repr=False)
class Outliers:
    """Outlier images on disk: ``ids`` name them, ``categories`` say what each shows, ``read(i)`` returns one.

    ``in_context`` is true for whole photographs of objects in their surroundings, which CoroCL needs, and false for
    objects that are cut out.
    """

    name: str
    ids: tuple[str, ...]
    categories: tuple[frozenset[str], ...]
    read: Callable[[int], Outlier]
    in_context: bool = True

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Outliers({self.name!r}, {len(self)} images, in_context={self.in_context})"

    def without(self, names: Iterable[str]) -> Outliers:
        """Return the outliers that show none of the categories ``names``.

        Raises ``OwsegError`` for a category that no outlier shows, and if no outlier is left.
        """
        return leave_out(names, self)[0]

    def pick(self, numbers: Sequence[int]) -> Outliers:
        """Return the outliers ``numbers``, in that order."""
        ids, shown = tuple(self.ids[i] for i in numbers), tuple(self.categories[i] for i in numbers)
        return replace(self, ids=ids, categories=shown, read=lambda i: self.read(numbers[i]))

    def unknown_to(self, labels: LabelSpace) -> Outliers:
        """Return the outliers that show no class of ``labels``, under that name or another (see ``SYNONYMS``).

        Raises ``OwsegError`` if no outlier is left.
        """
        return self.showing_none_of(synonyms_of(labels.names))

    def counts(self) -> dict[str, int]:
        """Return how many outliers show each category, most first."""
        every = Counter(c for shown in self.categories for c in shown)
        return dict(sorted(every.items(), key=lambda item: (-item[1], item[0])))

    def showing_none_of(self, unwanted: set[str]) -> Outliers:
        """Return the outliers none of whose categories, as ``normalized`` has them, is in ``unwanted``."""
        kept = [i for i, shown in enumerate(self.categories) if not unwanted & {normalized(c) for c in shown}]
        if not kept:
            raise OwsegError(
                f"every outlier in {self.name} shows what is known or left out "
                f"({', '.join(sorted({c for shown in self.categories for c in shown}))}); give others."
            )
        return self.pick(kept)


def leave_out(
    names: Iterable[str], objects: Outliers, context: Outliers | None = None
) -> tuple[Outliers, Outliers | None]:
    """Return ``objects`` and ``context`` without the outliers that show one of the categories ``names``.

    Raises ``OwsegError`` for a category that neither shows, and if no outlier is left of either.
    """
    given = {normalized(n): n for n in names}
    present = {normalized(c) for some in (objects, context) if some for shown in some.categories for c in shown}
    if absent := [name for key, name in given.items() if key not in present]:
        raise OwsegError(f"no outlier shows {absent[0]!r}, to be left out; they show {', '.join(sorted(present))}.")
    return objects.showing_none_of(set(given)), context.showing_none_of(set(given)) if context else None


def open_outliers(place: str | Path) -> Outliers:
    """Open a folder of outliers; raise ``OwsegError`` if it holds none. It may be laid out in three ways:

    * ``images/NAME.*`` and ``masks/NAME.*``: 0 off the objects, one other value on them, 255 void, unless the masks
      hold 0 and 255 and no other value: then 255 is on the objects;
    * ``images/`` and a COCO annotation ``*.json``: all objects of an image are one outlier;
    * RGBA images of cut-out objects, opaque where the object is.

    ``index.json``, a list of ``{"file": ..., "category": ...}`` or ``{..., "categories": [...]}``, says what each file
    shows. Without it the category of a cut-out is its file name up to the last ``_``, that of an image with a mask is
    "outlier"; COCO annotations have categories of their own.
    """
    root = Path(place).expanduser()
    if not root.is_dir():
        raise OwsegError(f"{root} {state_of(root)}; give the folder that holds the outliers.")
    if (root / "masks").is_dir():  # preferred where a folder has both: masks are exact
        return _masked(root)
    annotations = [p for p in sorted(root.glob("*.json")) if p.name != "index.json"]
    if annotations and (root / "images").is_dir():
        return _coco(root, annotations[0])
    return _cutouts(root)


def synonyms_of(classes: Iterable[str]) -> set[str]:
    """Return ``classes`` and all their ``SYNONYMS``, as ``normalized`` has them."""
    names = {normalized(n) for n in classes}
    return names | {s for group in SYNONYMS for s in group if names & group}


def normalized(name: str) -> str:
    """Return a name in lower case, its words separated by single spaces instead of ``_`` and ``-``."""
    return " ".join(re.split(r"[\s_-]+", name.strip().lower()))


def _cutouts(root: Path) -> Outliers:
    paths, shown = list(by_stem(root).values()), _index(root)
    categories = tuple(shown.get(p.name, frozenset({normalized(p.stem.rpartition("_")[0] or p.stem)})) for p in paths)

    def read(i: int) -> Outlier:
        image = load_image(paths[i])
        if not image.has_transparency_data:
            raise OwsegError(f"{paths[i]} is not transparent; a cut-out is an RGBA image, or has a mask.")
        rgba = np.asarray(image.convert("RGBA")).transpose(2, 0, 1)
        # Pixels that are half transparent belong to the soft edge of the cut.
        return _not_empty(Outlier(np.ascontiguousarray(rgba[:3]), rgba[3] > 127, paths[i].stem), paths[i])

    return Outliers(root.name, tuple(p.stem for p in paths), categories, read, in_context=False)


def _masked(root: Path) -> Outliers:
    masks, paths, shown = by_stem(root / "masks"), list(by_stem(root / "images").values()), _index(root)
    for path in paths:
        if path.stem not in masks:
            raise unpaired(path, "mask", root / "masks")
    white = are_black_and_white(masks.values())  # decided once: a single mask may lack the void of the others

    def read(i: int) -> Outlier:
        image, (mask, void) = read_image(paths[i], upright=False), read_class_mask(masks[paths[i].stem], white)
        if mask.shape != image.shape[1:]:
            raise OwsegError(
                f"the mask of {paths[i].name} is {mask.shape[1]}x{mask.shape[0]} and its image "
                f"{image.shape[2]}x{image.shape[1]}; they must be of one size."
            )
        return Outlier(image, mask, paths[i].stem, void)

    categories = tuple(shown.get(p.name, frozenset({"outlier"})) for p in paths)
    return Outliers(root.name, tuple(p.stem for p in paths), categories, read)


def _coco(root: Path, annotations: Path) -> Outliers:
    """Open images with COCO polygons; images with an object that is given as run lengths (a crowd) are left out."""
    try:
        value = read_json(annotations, "a COCO annotation", MAX_ANNOTATIONS)
        names = {c["id"]: str(c["name"]) for c in value["categories"]}
        files = {p["id"]: root / "images" / p["file_name"] for p in value["images"]}
        objects: dict[Any, list[Any]] = {}
        for a in value["annotations"]:
            objects.setdefault(a["image_id"], []).append(a)
        # Polygons are a list; the run lengths of a crowd are a dict.
        image_ids = [k for k, found in objects.items() if all(isinstance(a["segmentation"], list) for a in found)]
        categories = tuple(frozenset(names[a["category_id"]] for a in objects[k]) for k in image_ids)
        paths = [files[k] for k in image_ids]
    except (KeyError, TypeError) as error:
        raise OwsegError(f"{annotations} is not a COCO annotation ({error!r}).") from None
    if not paths:
        raise OwsegError(f"{annotations} annotates no image with polygons.")

    def read(i: int) -> Outlier:
        image = read_image(paths[i], upright=False)
        drawn = Image.new("1", (image.shape[2], image.shape[1]))
        for a in objects[image_ids[i]]:
            for polygon in a["segmentation"]:
                ImageDraw.Draw(drawn).polygon([float(v) for v in polygon], fill=1)
        return _not_empty(Outlier(image, np.asarray(drawn), paths[i].stem), paths[i])

    return Outliers(root.name, tuple(p.stem for p in paths), categories, read)


def _not_empty(outlier: Outlier, path: Path) -> Outlier:
    if not outlier.mask.any():
        raise OwsegError(f"{path} shows no outlier: none of its pixels is opaque, or inside a polygon; remove it.")
    return outlier


def _index(root: Path) -> dict[str, frozenset[str]]:
    """Return the categories by file name that ``index.json`` gives; an empty dict where there is no such file."""
    path = root / "index.json"
    if not path.exists():
        return {}
    try:
        entries = read_json(path, "a list of files and their categories", MAX_ANNOTATIONS)
        return {e["file"]: frozenset(e["categories"] if "categories" in e else [e["category"]]) for e in entries}
    except (KeyError, TypeError) as error:
        raise OwsegError(f"{path} is not a list of files and their categories ({error!r}).") from None

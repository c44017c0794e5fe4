"""The label space: the ordered known classes, and the three ids that are no class."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from owseg.errors import OwsegError

KNOWN = 253
"""Id of a pixel of some known class that is not given: an inlier to a score, ignored in any IoU."""


UNKNOWN = 254
"""Id of a pixel that belongs to no known class (an outlier pixel)."""


IGNORE = 255
"""Id of a pixel that is ignored everywhere (void)."""


RESERVED = {UNKNOWN: "unknown", IGNORE: "void"}
"""The names of two of these ids in files that name their classes; no class can have these names."""


BACKGROUND = "background"
"""The name of the class for all pixels of no other class, where a network is trained with one."""


MAX_NAME = 60
"""How many characters the name of a class may have."""


Color = tuple[int, int, int]


@dataclass(frozen=True)
class LabelSpace:
    """The ordered known classes; class ``names[i]`` has id ``i`` and colour ``colors[i]`` (RGB, 0..255).

    Raises ``OwsegError`` for no class, a repeated name, one that ``is_class_name`` refuses, more than 253 classes, or a
    bad colour.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.names:
            raise OwsegError("a label space needs at least one class; name one.")
        if len(self.names) > KNOWN:
            raise OwsegError(f"a label space holds at most {KNOWN} classes, not {len(self.names)}.")
        for name in self.names:
            check_class_name(name)
            if self.names.count(name) > 1:
                raise OwsegError(f"the class {name!r} is named twice; give every class one name of its own.")
        if len(self.colors) != len(self.names):
            raise OwsegError(f"{len(self.names)} classes need as many colours, not {len(self.colors)}.")
        for name, color in zip(self.names, self.colors, strict=True):
            if len(color) != 3 or not all(isinstance(c, int) and 0 <= c <= 255 for c in color):
                raise OwsegError(f"the colour {color!r} of {name!r} is not three integers from 0 to 255.")

    @classmethod
    def of(cls, names: Iterable[str], colors: Iterable[Color] | None = None) -> LabelSpace:
        """Return a label space of ``names``; without ``colors`` each class gets a distinct one."""
        names = tuple(names)
        given = tuple((int(r), int(g), int(b)) for r, g, b in colors) if colors is not None else None
        return cls(names, given if given is not None else tuple(distinct_color(i) for i in range(len(names))))

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def index(self, name: str) -> int:
        """Return the id of the class ``name``; raise ``OwsegError`` if there is no such class."""
        try:
            return self.names.index(name)
        except ValueError:
            raise OwsegError(f"there is no class {name!r}; the classes are {', '.join(self.names)}.") from None

    def without(self, names: Iterable[str]) -> LabelSpace:
        """Return the label space without the classes ``names``; raise ``OwsegError`` for one that is not in it."""
        drop = {self.index(name) for name in names}
        keep = [i for i in range(len(self)) if i not in drop]
        return LabelSpace(tuple(self.names[i] for i in keep), tuple(self.colors[i] for i in keep))

    def extend(self, name: str, color: Color | None = None) -> LabelSpace:
        """Return the label space with the class ``name`` added at the end, so that no id changes."""
        return LabelSpace((*self.names, name), (*self.colors, color or distinct_color(len(self))))

    def lookup(self, source: LabelSpace, unknown: int = UNKNOWN) -> np.ndarray:
        """Return the table (256,) uint8 that maps the ids of ``source`` to those of this label space, by class name.

        Classes of ``source`` that this label space does not have become ``unknown``; KNOWN stays, all else is IGNORE.
        """
        table = np.full(256, IGNORE, np.uint8)
        table[KNOWN] = KNOWN
        for i, name in enumerate(source.names):
            table[i] = self.names.index(name) if name in self.names else unknown
        return table

    def palette(self) -> np.ndarray:
        """Return the colours of all 256 ids, (256, 3) uint8; UNKNOWN is magenta, KNOWN grey, IGNORE black."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self)] = self.colors
        table[KNOWN] = (120, 120, 120)
        table[UNKNOWN] = (255, 0, 200)
        return table

    def to_json(self) -> list[dict[str, object]]:
        """Return ``[{"name": ..., "color": [r, g, b]}, ...]``."""
        return [{"name": n, "color": list(c)} for n, c in zip(self.names, self.colors, strict=True)]

    @classmethod
    def from_json(cls, classes: object) -> LabelSpace:
        """Read what ``to_json`` wrote, or a plain list of names; raise ``OwsegError`` for anything else."""
        if isinstance(classes, list) and classes and all(isinstance(c, str) for c in classes):
            return cls.of(classes)
        try:
            names = [str(c["name"]) for c in classes]  # type: ignore[attr-defined]
            colors = [tuple(int(v) for v in c["color"]) if "color" in c else None for c in classes]  # type: ignore[attr-defined]
        except (TypeError, KeyError, ValueError):
            raise OwsegError(
                'classes are a list of names, ["soil", "crop"], or of {"name": ..., "color": [r, g, b]}.'
            ) from None
        return cls(tuple(names), tuple(c or distinct_color(i) for i, c in enumerate(colors)))  # type: ignore[misc]


def is_class_name(name: object) -> bool:
    """Return whether ``name`` is 1 to 60 printable characters on one line, not all of them blank.

    Control characters are not printable, nor are those that change the order of others.
    """
    return isinstance(name, str) and name.strip() != "" and len(name) <= MAX_NAME and name.isprintable()


def check_class_name(name: object) -> None:
    """Raise ``OwsegError`` for what ``is_class_name`` refuses."""
    if not is_class_name(name):
        raise OwsegError(f"{name!r:.99} is not a class name; write 1 to {MAX_NAME} characters on one line.")


def short_name(name: str) -> str:
    """Return the name of a class of a published network in ``MAX_NAME`` characters: its first word for it, if need be.

    Some data sets list all words for a class, with commas.
    """
    return name if len(name) <= MAX_NAME else name.partition(",")[0][:MAX_NAME].strip()


def check_class_names(names: Iterable[str]) -> None:
    """Raise ``OwsegError`` for a name of a new class that is none, or is reserved (see ``RESERVED``), in any case.

    So it does for blanks at either end: nobody sees them, and classes are compared by name. Label spaces take them, as
    knowledge bases that were stored with such names have to open.
    """
    for name in names:
        check_class_name(name)
        if name.strip().lower() in RESERVED.values():
            raise OwsegError(
                f"no class can have the name {name!r}, which is reserved; rename the class or leave it out."
            )
        if name != name.strip():
            raise OwsegError(f"the class name {name!r} begins or ends with a blank; write {name.strip()!r}.")


def distinct_color(i: int) -> Color:
    """Return the i-th colour of a fixed sequence of colours that are far apart."""
    # Steps of the golden ratio in hue never come close to an earlier hue; value and saturation alternate besides.
    hue = (0.08 + i * 0.61803398875) % 1.0
    r, g, b = colorsys.hsv_to_rgb(hue, 0.75 if i % 2 else 0.55, 0.9 if i % 3 else 0.7)
    return int(r * 255), int(g * 255), int(b * 255)

"""Annotations to and from labelling tools: one file a format, with ``read(path)`` and ``write(annotations, path)``.

Every reader yields one ``Annotation`` for each class that is marked in an image, one at a time; every writer takes as
many as there are. In between, masks are packed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from owseg.errors import OwsegError
from owseg.exchange import coco, cvat, cvat_masks, labelme, labelstudio
from owseg.exchange.annotation import Annotation
from owseg.exchange.archive import opened, parsed

READERS = {"coco": coco, "cvat": cvat, "cvat-masks": cvat_masks, "labelstudio": labelstudio, "labelme": labelme}
"""The formats that can be read, by the names they have on the command line."""


WRITERS = {"coco": ".json", "cvat": ".xml", "cvat-masks": ".zip", "labelstudio": ".json"}
"""The suffix of the formats that can be written."""


def read(path: str | Path, kind: str | None = None) -> Iterator[Annotation]:
    """Yield the annotations at ``path``, of the format ``kind`` or the one it is recognised as."""
    kind = kind or recognise(path)
    if kind is None:
        raise OwsegError(f"{path} holds no annotations that are recognised; name their format: {', '.join(READERS)}.")
    if kind not in READERS:
        raise OwsegError(f"there is no format {kind!r}; it is one of {', '.join(READERS)}.")
    return READERS[kind].read(path)


def write(
    annotations: Iterable[Annotation],
    place: str | Path,
    kind: str,
    predicted: bool = False,
    url: str | None = None,
) -> Path:
    """Write annotations in the format ``kind`` and return the file: ``place`` itself if it has the format's suffix.

    Otherwise ``place`` is a folder, and the file in it is ``annotations`` with that suffix. ``predicted`` marks what no
    person has checked, where the format can; ``url`` is Label Studio's (see its ``write``), and no other format's.
    """
    if url is not None and kind != "labelstudio":
        raise OwsegError("--url is Label Studio's; leave it out.")
    if kind not in WRITERS:
        raise OwsegError(f"the format {kind!r} cannot be written; take one of {', '.join(WRITERS)}.")
    path = Path(place).expanduser()
    path = path if path.suffix.lower() == WRITERS[kind] else path / f"annotations{WRITERS[kind]}"
    if kind == "labelstudio":
        return labelstudio.write(annotations, path, predicted, labelstudio.LOCAL if url is None else url)
    return {"coco": coco, "cvat": cvat, "cvat-masks": cvat_masks}[kind].write(annotations, path, predicted)


def recognise(path: str | Path) -> str | None:
    """Return the format of a file, folder or zip of annotations, from what it holds; None if it is of none.

    A broken file does not matter where another tells the format; raises ``OwsegError`` where none does.
    """
    broken: OwsegError | None = None
    with opened(path, "a file of annotations") as files:
        if any(PurePosixPath(name).name == cvat_masks.LABELMAP for name in files):
            return "cvat-masks"
        for name, data in files.items():
            if name.lower().endswith(".xml") and cvat.fits(data()):
                return "cvat"
            if name.lower().endswith(".json"):
                try:
                    value = parsed(name, data())
                except OwsegError as error:
                    broken = broken or error
                    continue
                for kind, module in (("coco", coco), ("labelstudio", labelstudio), ("labelme", labelme)):
                    if module.fits(value):
                        return kind
        if broken:
            raise broken
    return None

"""Images that are left out of what is measured, as they or their masks cannot be read, with the reasons."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from owseg.data.dataset import DataSet, Labelled
from owseg.data.images import failure
from owseg.errors import OwsegError
from owseg.models.over_images import FAILURES


class Skipped(NamedTuple):
    """The name of an image that could not be measured, and a sentence that says why."""

    image: str
    why: str


def skipping(data: DataSet) -> Callable[[int, Exception], Skipped]:
    """Return what ``over_images`` of the images of ``data`` calls where one of them fails."""

    def failed(i: int, error: Exception) -> Skipped:
        return Skipped(data.source.ids[i], failure(data.source.ids[i], error))

    return failed


def unreadable(data: DataSet) -> dict[str, str]:
    """Return why an image of ``data`` cannot be measured, by its name: it or its mask cannot be read."""
    samples, failed, found = Labelled(data, "evaluation"), skipping(data), list[Skipped]()
    for i in range(len(data)):
        try:
            samples[i]
        except FAILURES as error:
            found.append(failed(i, error))
    return dict(found)


def without(data: DataSet, skipped: Collection[str]) -> DataSet:
    """Return ``data`` without the images of the names ``skipped``: itself where there are none."""
    if not skipped:
        return data
    return data.pick([i for i, name in enumerate(data.source.ids) if name not in skipped])


def measured(data: DataSet, skipped: Mapping[str, str]) -> int:
    """Return how many images of ``data`` are left; raise ``OwsegError`` where all of them are ``skipped``."""
    if skipped and len(skipped) >= len(data):
        first = next(iter(skipped.values()))
        raise OwsegError(f"none of the {len(data)} images of {data.source.name} can be measured; the first: {first}")
    return len(data) - len(skipped)

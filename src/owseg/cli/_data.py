"""Images that a command reads more than once: to measure, and to say what they were and what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from owseg.data.cached import ReadOnce
    from owseg.data.dataset import DataSet

GIGABYTES = 2
"""The memory that decoded images may take; those that do not fit are decoded each time."""


def decoded_once(data: DataSet) -> DataSet:
    """Return ``data`` with its images and masks kept in memory once they were read, up to ``GIGABYTES``."""
    from owseg.data.cached import cached

    return cached(data, GIGABYTES << 30)


def files_decoded_once() -> ReadOnce:
    """Return what reads files twice and decodes them once, up to ``GIGABYTES``."""
    from owseg.data.cached import ReadOnce

    return ReadOnce(GIGABYTES << 30)

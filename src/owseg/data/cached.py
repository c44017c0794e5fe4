"""Images that are decoded once: data sets for training, which reads them in every epoch, and files read twice."""

from __future__ import annotations

import mmap
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Protocol, TypeAlias

import numpy as np

from owseg.data.dataset import DataSet
from owseg.data.images import read_image
from owseg.data.loader import can_fork

LIMIT = 4 << 30
"""The memory that decoded images take at most, in bytes."""

Frame: TypeAlias = tuple[np.ndarray, np.ndarray | None]


def cached(data: DataSet, limit: int = LIMIT, shared: bool = False) -> DataSet:
    """Return ``data`` with images and masks kept in memory once read, as long as all of them fit into ``limit`` bytes.

    What does not fit is read from disk each time. The arrays are the same at every reading: copy one to change it. If
    ``shared``, what a process that is forked later reads is there for all of them (see ``read_ahead``), and ``limit``
    is that of all together.
    """
    frames: _Frames = _SharedFrames(len(data), limit) if shared and can_fork() else _OwnFrames(limit)

    def read(i: int) -> Frame:
        found = frames.get(i)
        if found is None:
            found = data.source.read(i)
            frames.keep(i, found)
        return found

    return replace(data, source=replace(data.source, read=read))


class ReadOnce:
    """Images by their paths for two readers, of which the second gets what the first decoded, up to ``limit`` bytes.

    What does not fit is decoded twice. Several threads may read.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.bytes_left = limit
        self._kept: dict[Path, np.ndarray] = {}
        self._lock = Lock()

    def first(self, path: Path) -> np.ndarray:
        """Read an image as ``read_image`` does, and keep it where there is memory for it."""
        image = read_image(path)
        with self._lock:
            if path not in self._kept and image.nbytes <= self.bytes_left:
                self._kept[path], self.bytes_left = image, self.bytes_left - image.nbytes
        return image

    def second(self, path: Path) -> np.ndarray:
        """Return an image that was kept, which is then forgotten; read any other."""
        with self._lock:
            image = self._kept.pop(path, None)
            self.bytes_left += 0 if image is None else image.nbytes
        return read_image(path) if image is None else image


class _Frames(Protocol):
    """Decoded images by number."""

    def get(self, i: int) -> Frame | None:
        """Return frame ``i``, or None where it is not kept."""

    def keep(self, i: int, frame: Frame) -> None:
        """Keep frame ``i`` where there is memory for it."""


class _OwnFrames:
    """Those that this process has read."""

    def __init__(self, limit: int) -> None:
        self.kept: dict[int, Frame] = {}
        self.bytes_left = limit

    def get(self, i: int) -> Frame | None:
        return self.kept.get(i)

    def keep(self, i: int, frame: Frame) -> None:
        size = _bytes_of(frame)
        if size <= self.bytes_left:
            self.kept[i], self.bytes_left = frame, self.bytes_left - size


class _SharedFrames:
    """Those that this process and its forks have read: one after another in memory that all of them see.

    The system gives a page of it when it is first written to. A row of ``table`` says where a frame begins, its height
    and width, and those of its mask, 0 without one; the last row where the next may begin. A frame without a row of its
    own has zeros.
    """

    def __init__(self, count: int, limit: int) -> None:
        self.limit = max(1, min(limit, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2))
        self.memory = np.frombuffer(mmap.mmap(-1, self.limit), np.uint8)
        self.table = np.frombuffer(mmap.mmap(-1, (count + 1) * 5 * 8), np.int64).reshape(count + 1, 5)
        self.lock = multiprocessing.get_context("fork").Lock()

    def get(self, i: int) -> Frame | None:
        with self.lock:
            start, height, width, tall, wide = self.table[i].tolist()
        if not height:
            return None
        end = start + 3 * height * width
        image = self.memory[start:end].reshape(3, height, width)
        return image, self.memory[end : end + tall * wide].reshape(tall, wide) if tall else None

    def keep(self, i: int, frame: Frame) -> None:
        image, mask = frame
        size = _bytes_of(frame)
        with self.lock:
            start = int(self.table[-1, 0])
            if self.table[i, 1] or start + size > self.limit:
                return
            self.table[-1, 0] = start + size
        self.memory[start : start + image.nbytes] = image.ravel()
        if mask is not None:
            self.memory[start + image.nbytes : start + size] = mask.ravel()
        with self.lock:
            self.table[i] = (start, *image.shape[1:], *((0, 0) if mask is None else mask.shape))


def _bytes_of(frame: Frame) -> int:
    image, mask = frame
    return image.nbytes + (0 if mask is None else mask.nbytes)

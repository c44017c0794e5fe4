"""Where a queue is stored: the database in its folder, or the files of the old layout until somebody writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from sqlite3 import Connection
from threading import RLock

from owseg.discovery import old_layout
from owseg.discovery.contents import QueueInfo
from owseg.discovery.database import DATABASE, create, exclusively, in_memory, kept_open, reading, writing
from owseg.discovery.rows import insert_info, read_info
from owseg.errors import OwsegError


class Storage:
    """The database of the queue in ``folder``, at ``path``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / DATABASE
        self._lock = RLock()

    def begin(self, info: QueueInfo) -> None:
        """Make an empty queue, or go on with the one that is there.

        Raises ``OwsegError`` if that one was made otherwise, and where the folder holds something else.
        """
        if not self.path.is_file() and not old_layout.is_old(self.folder):
            # A run that was killed as it began may have left hidden files.
            if self.folder.exists() and not (
                self.folder.is_dir() and all(path.name.startswith(".") for path in self.folder.iterdir())
            ):
                raise OwsegError(f"{self.folder} exists and is not a queue; give --out a new or empty folder.")
            with exclusively(self.path):
                if not self.path.exists():  # no other process was faster
                    create(self.path, lambda db: insert_info(db, info))
        there = self.read_info()
        if info.fingerprint != there.fingerprint:
            raise OwsegError(f"{self.folder} holds a queue of another knowledge base; give another --out.")
        for what, ours, theirs in (
            ("images below another folder", info.root, there.root),
            ("another least area", info.min_area, there.min_area),
            ("another limit of splitting", info.split_at, there.split_at),
        ):
            if ours != theirs:
                raise OwsegError(f"{self.folder} holds a queue of {what} ({theirs}, not {ours}); give another --out.")

    def read_info(self) -> QueueInfo:
        """Return how the queue was made; raise ``OwsegError`` for none, one that is damaged, or of another format."""
        if not self._is_converted:
            try:
                return old_layout.read_info(self.folder)
            except OwsegError:
                if not self.path.is_file():  # else another process has just converted it
                    raise
        with reading(self.path) as db:
            return read_info(db)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection that reads what is stored; see ``database.reading``."""
        if self._is_converted or not self._is_in_memory:
            with reading(self.path) as db:
                yield db
        else:
            with self._lock:
                yield self._memory

    @contextmanager
    def writing(self, synced: bool = True) -> Iterator[Connection]:
        """Yield a connection that alone may write, once old files are converted; see ``database.writing``."""
        if old_layout.is_old(self.folder):
            old_layout.convert(self.folder)
        with writing(self.path, synced) as db:
            yield db

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Keep the database open, if it is there; see ``database.kept_open``."""
        with kept_open(self.path) if self._is_converted else nullcontext():
            yield

    @property
    def _is_converted(self) -> bool:
        """Whether the database is there; raises ``OwsegError`` where there is no queue at all."""
        is_old = old_layout.is_old(self.folder)  # before the other: a conversion removes the old file once all is there
        if not self.path.is_file() and not is_old:
            raise OwsegError(f"{self.folder} is not a queue; make one with `owseg discover KB IMAGES --out QUEUE`.")
        return self.path.is_file()

    @property
    def _is_in_memory(self) -> bool:
        """Whether the old files were read, now or before; if not, another process has just converted them.

        It makes the database before it removes the first of them, so that without one all were still there.
        """
        try:
            with self._lock:
                return bool(self._memory) and not self.path.is_file()
        except OwsegError:
            if self.path.is_file():
                return False
            raise

    @cached_property
    def _memory(self) -> Connection:
        return in_memory(partial(old_layout.fill, self.folder))

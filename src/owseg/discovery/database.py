"""A queue's database: SQLite with a write-ahead log, opened anew for each piece of work, which is stored whole or not.

What is read is what was committed when the reading began; who writes waits for others that do. No connection outlives
its work, so a process may fork, and any thread may ask. Nothing that a file says is trusted: it has to have just the
tables that are made here, so that no view or trigger of others runs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import repeat
from pathlib import Path

from owseg._files import locked, replacing
from owseg.errors import OwsegError

DATABASE, LOCK, THUMBNAILS = "queue.db", ".lock", "thumbnails"
"""The names in a queue's folder."""

APPLICATION, FORMAT = 0x6F777351, 2
"""What the header says: that it is a queue, and of which format; format 1 was a folder of JSON files."""

PATIENCE = 60.0
"""The seconds that a writer waits for the others."""

SCHEMA = (
    "CREATE TABLE queue (kb BLOB, fingerprint TEXT, root BLOB, min_area REAL, split_at REAL, grouped INTEGER)",
    "CREATE TABLE classes (number INTEGER PRIMARY KEY, name BLOB)",
    "CREATE TABLE images (id TEXT PRIMARY KEY, name BLOB, sha256 TEXT, height INTEGER, width INTEGER, unknown BLOB)",
    "CREATE TABLE regions (image TEXT, number INTEGER, x INTEGER, y INTEGER, width INTEGER, height INTEGER, "
    "area INTEGER, core_area INTEGER, mean REAL, peak REAL, nearest BLOB, distance REAL, mask BLOB, core BLOB, "
    "embedding BLOB)",
    # Lists read this index alone, which has a hundredth of the bytes.
    "CREATE INDEX summaries ON regions (image, number, core_area, nearest)",
    "CREATE TABLE groups (number INTEGER PRIMARY KEY, priority REAL)",
    "CREATE TABLE members (place INTEGER PRIMARY KEY, number INTEGER, region TEXT, copy_of TEXT)",
    "CREATE TABLE actions (id INTEGER PRIMARY KEY, time TEXT, user TEXT, do TEXT, name BLOB, regions TEXT, "
    "height INTEGER, width INTEGER, mask BLOB)",
    "CREATE TABLE shots (name BLOB, place INTEGER, image TEXT)",
)
"""The tables. Masks are COCO's compressed run lengths, embeddings float32, least byte first; free text is UTF-8 in
bytes, as names of files may be none. ``grouped`` counts how often the groups were written."""

_OUTSIDE = {
    "unable to open database file": "check its permissions",
    "attempt to write a readonly database": "check its permissions",
    "disk I/O error": "free some space, or check the disk",
    "database or disk is full": "free some space",
    "database is locked": "another process has been writing for a minute: wait for it, or stop it",
}
"""What SQLite says where the file itself is sound, and what to do about it."""


def damaged(path: Path) -> OwsegError:
    """Return the error for a file whose contents are not what a queue writes."""
    return OwsegError(f"{path} is damaged; restore it from a copy, or run `owseg discover` with another --out.")


@contextmanager
def sound(path: Path) -> Iterator[None]:
    """Turn whatever is wrong with the values of a file into an ``OwsegError``."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError):
        raise damaged(path) from None


@contextmanager
def exclusively(path: Path) -> Iterator[None]:
    """Hold the lock beside ``path``, whose folder is made if need be: for what is done before the database is there.

    Raises ``OwsegError`` where nothing can be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(LOCK)):
            yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OwsegError(f"{path} cannot be written ({reason}); make room, or check its permissions.") from None


def create(path: Path, fill: Callable[[sqlite3.Connection], None]) -> None:
    """Make the database ``path``, with what ``fill`` adds to its empty tables, or leave nothing of it.

    Raises ``OwsegError`` where it cannot be written.
    """
    with replacing(path) as aside, _explained(path, "written"), closing(_opened(f"{aside.absolute().as_uri()}?")) as db:
        db.execute("PRAGMA journal_mode = OFF")  # what is half made is thrown away
        _make_tables(db, fill)
        db.execute("PRAGMA journal_mode = WAL")


def in_memory(fill: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    """Return a database in memory with what ``fill`` adds to its empty tables; threads take turns with it."""
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    _make_tables(db, fill)
    return db


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection that reads what is committed.

    Whatever is wrong with the file, or with the values that the block makes of it, is an ``OwsegError``.
    """
    with _explained(path, "read"), closing(_to_read(path)) as db, sound(path):
        db.execute("BEGIN")
        yield db


@contextmanager
def writing(path: Path, synced: bool = True) -> Iterator[sqlite3.Connection]:
    """Yield a connection that alone may write; once the block ends well, all that it wrote is on the disk.

    Without ``synced`` it survives the end of the process, but perhaps no power cut. An error in the block leaves the
    database as it was. Raises ``OwsegError`` where it cannot be written.
    """
    with _explained(path, "written"), closing(_connected(path, "mode=rw")) as db:
        db.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
        db.execute("BEGIN IMMEDIATE")
        yield db
        db.execute("COMMIT")


@contextmanager
def kept_open(path: Path) -> Iterator[None]:
    """Keep a connection open, so that SQLite need not put its log away after each piece of work, which takes longest.

    A process that forks meanwhile must not use the database in the child.
    """
    with _explained(path, "read"), closing(_to_read(path)):
        yield


def _make_tables(db: sqlite3.Connection, fill: Callable[[sqlite3.Connection], None]) -> None:
    db.execute("BEGIN")
    for statement in SCHEMA:
        db.execute(statement)
    fill(db)
    db.execute(f"PRAGMA application_id = {APPLICATION}")
    db.execute(f"PRAGMA user_version = {FORMAT}")
    db.execute("COMMIT")


def _to_read(path: Path) -> sqlite3.Connection:
    try:
        return _connected(path, "mode=rw")
    except sqlite3.OperationalError:
        # To read, SQLite makes a file beside the database. Where it cannot (no permission, a full disk), the database
        # itself is all there is to read, unless somebody writes or was killed.
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            raise
        return _connected(path, "mode=ro&immutable=1")


def _connected(path: Path, options: str) -> sqlite3.Connection:
    db = _opened(f"{path.absolute().as_uri()}?{options}")
    try:
        # A page that is named again and again would be read as often: ten steps a byte, and three million, are enough.
        left = repeat(0, 30 + path.stat().st_size // 10_000)
        db.set_progress_handler(lambda: next(left, 1), 100_000)
        application, number = (db.execute(f"PRAGMA {key}").fetchone()[0] for key in ("application_id", "user_version"))
        if application != APPLICATION:
            raise OwsegError(f"{path} is no database of a queue; restore it, or name the folder of a queue.")
        if number != FORMAT:
            raise OwsegError(f"{path} is of format {number}; this owseg reads format {FORMAT}.")
        tables = [sql for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]
        if sorted(tables) != sorted(SCHEMA):
            raise damaged(path)
    except BaseException:
        db.close()
        raise
    return db


def _opened(address: str) -> sqlite3.Connection:
    db = sqlite3.connect(address, PATIENCE, isolation_level=None, uri=True)
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cell_size_check = ON")
    return db


@contextmanager
def _explained(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if advice := _OUTSIDE.get(str(error)):
            raise OwsegError(f"{path} cannot be {what} ({error}); {advice}.") from None
        raise damaged(path) from None

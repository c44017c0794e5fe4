"""Where notes, errors and progress go: to standard error, and to a file that ``--log-file`` names."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from owseg._progress import STEP, Step, logger
from owseg.errors import OwsegError


class StderrHandler(logging.Handler):
    """Prints the text of each record on standard error.

    Not logging's StreamHandler, which would keep the file that it was at the start: a progress bar replaces it.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record."""
        print(self.format(record), file=sys.stderr)


class LastStep(logging.Handler):
    """Keeps the last step of any loop, for whoever says how far the work is when it is stopped."""

    step: Step | None = None

    def __init__(self) -> None:
        super().__init__(STEP)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the step."""
        if isinstance(record.msg, Step):
            self.step = record.msg


@contextmanager
def logged() -> Iterator[None]:
    """Print notes, errors and progress on standard error; afterwards the logger is as it was."""
    level, handlers = logger.level, logger.handlers[:]
    logger.setLevel(STEP)
    logger.handlers[:] = [*handlers, StderrHandler(logging.INFO), LastStep()]
    try:
        yield
    finally:
        for handler in (h for h in logger.handlers if h not in handlers):
            handler.close()
        logger.setLevel(level)
        logger.handlers[:] = handlers


def choose_log(quiet: bool, verbose: bool, file: Path | None) -> None:
    """Let standard error have errors alone or everything, and write everything, with the time, to ``file`` as well.

    Raises ``OwsegError`` for quiet and verbose at once, and for a file that cannot be written.
    """
    if quiet and verbose:
        raise OwsegError("--quiet prints less and --verbose more; give one of them.")
    if quiet or not sys.stderr.isatty():
        # The bars of transformers and its hub, which read this once, when they are imported.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    level = logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO
    for handler in logger.handlers:
        if isinstance(handler, StderrHandler):
            handler.setLevel(level)
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            to_file = logging.FileHandler(file, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise OwsegError(f"{file} cannot be written ({reason}); give another file.") from None
        to_file.setLevel(logging.DEBUG)
        to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(to_file)


def last_step() -> Step | None:
    """Return how far the last loop was, or None where there was none."""
    return next((h.step for h in logger.handlers if isinstance(h, LastStep)), None)

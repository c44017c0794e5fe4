"""How far a loop is: a bar on a terminal, and elsewhere a line every 30 seconds."""

import io
import logging

import pytest
from rich.console import Console

from owseg import _progress
from owseg._progress import STEP, Step, logger, progress, track


@pytest.fixture
def terminal(monkeypatch):
    text = io.StringIO()
    monkeypatch.setattr(_progress, "Console", lambda stderr: Console(file=text, force_terminal=True, width=100))
    return text


@pytest.fixture
def clock(monkeypatch):
    """A clock whose hand the test moves: ``clock.now += 5``."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(_progress, "monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture
def records(monkeypatch):
    """The level and the text of every record."""
    found = []

    class Handler(logging.Handler):
        def emit(self, record):
            found.append((record.levelno, record.getMessage()))

    handler = Handler()
    monkeypatch.setattr(logger, "handlers", [handler])
    before = logger.level
    logger.setLevel(STEP)
    yield found
    logger.setLevel(before)


def lines(records):
    return [text for level, text in records if level == logging.INFO]


def test_without_a_terminal_there_is_a_line_every_30_seconds(records, clock, capsys):
    for number in track(range(10), "reading", 10):
        clock.now += 29 if number == 0 else 8
    # At 29, 37, 45, 53, 61, 69, 77, 85, 93 and 101 s: 30 s have passed at the second, then after four steps more.
    assert lines(records) == [
        "reading: 2 of 10, 0:02:28 left", "reading: 6 of 10, 0:00:46 left", "reading: 10 of 10, 0:00:00 left",
    ]  # fmt: skip
    assert len(records) == 10 and capsys.readouterr() == ("", "")


def test_a_line_has_the_note_and_counts_from_where_a_run_goes_on(records, clock):
    with progress("training", 9, done=5) as step:
        clock.now += 31
        step("epoch 2/3  loss 0.5")
    assert lines(records) == ["training: 6 of 9 (epoch 2/3 loss 0.5), 0:01:33 left"]


def test_a_short_loop_says_nothing(records, clock):
    assert list(track("abc", "reading", 3)) == ["a", "b", "c"]
    assert not lines(records)


def test_where_nobody_configured_logging_the_line_is_on_standard_error(clock, capsys, monkeypatch):
    monkeypatch.setattr(logger, "propagate", False)  # pytest has handlers of its own
    monkeypatch.setattr(logger, "handlers", [])
    with progress("reading", 2) as step:
        step("")
        clock.now += 30
        step("")
    assert capsys.readouterr() == ("", "reading: 2 of 2, 0:00:00 left\n")


def test_a_terminal_shows_title_steps_and_note(terminal, records, clock):
    with progress("reading", 5, done=2) as step:
        clock.now += 31
        step("loss 0.5")
    assert "reading" in terminal.getvalue() and "3/5" in terminal.getvalue() and "loss 0.5" in terminal.getvalue()
    assert [level for level, _ in records] == [logging.DEBUG]  # for a file; the bar says it to whoever watches


def test_who_wants_errors_alone_sees_no_bar(terminal, monkeypatch):
    monkeypatch.setattr(logger, "handlers", [logging.Handler(logging.ERROR)])
    assert list(track("abc", "reading", 3)) == ["a", "b", "c"]
    assert terminal.getvalue() == ""


def test_every_item_is_a_step(terminal):
    assert list(track("abc", "reading", 3)) == ["a", "b", "c"]
    assert "3/3" in terminal.getvalue()


def test_the_text_of_a_step():
    assert str(Step("reading", 3, 5)) == "reading: 3 of 5"
    assert str(Step("reading", 3, 5, "a  b", 61.4)) == "reading: 3 of 5 (a b), 0:01:01 left"

"""The progress bar: drawn on a terminal, and on nothing else."""

import io

import pytest
from rich.console import Console

from owseg import _progress
from owseg._progress import progress, track


@pytest.fixture
def terminal(monkeypatch):
    text = io.StringIO()
    monkeypatch.setattr(_progress, "Console", lambda stderr: Console(file=text, force_terminal=True, width=100))
    return text


def test_nothing_is_drawn_where_nobody_watches(capsys):
    assert list(track("abc", "reading", 3)) == ["a", "b", "c"]
    with progress("reading", 2) as step:
        step("note")
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_title_steps_and_note(terminal):
    with progress("reading", 5, done=2) as step:
        step("loss 0.5")
    assert "reading" in terminal.getvalue() and "3/5" in terminal.getvalue() and "loss 0.5" in terminal.getvalue()


def test_every_item_is_a_step(terminal):
    assert list(track("abc", "reading", 3)) == ["a", "b", "c"]
    assert "3/3" in terminal.getvalue()

"""``--quiet``, ``--verbose`` and ``--log-file``, which every command has."""

import logging
import os
import re
import subprocess
import sys

import pytest
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from owseg import _progress
from owseg._progress import logger
from owseg.cli._log import LastStep, StderrHandler, last_step, logged
from owseg.cli._printing import print_error, print_note
from tests.support import tiny
from tests.support.commands import replace_all


def test_notes_and_errors_go_to_standard_error(capsys):
    with logged():
        print_note("100 % of a note")
        print_error("an error")
        logger.info("progress")
        logger.debug("detail")
    assert capsys.readouterr() == ("", "100 % of a note\nan error\nprogress\n")


def test_afterwards_the_logger_is_as_it_was():
    level, handlers = logger.level, logger.handlers[:]
    with pytest.raises(KeyError), logged():
        assert {type(h) for h in logger.handlers} >= {StderrHandler, LastStep}
        raise KeyError
    assert (logger.level, logger.handlers) == (level, handlers)


def test_the_last_step_is_kept():
    with logged():
        assert last_step() is None
        list(_progress.track("abcd", "reading", 9))
        assert str(last_step()).startswith("reading: 4 of 9")
    assert last_step() is None


@pytest.fixture
def noisy(monkeypatch):
    """``owseg history`` with a note, an error and a line of progress."""

    def history(name):
        print_note("a note")
        print_error("an error")
        logger.info("a line")
        raise SystemExit(0)

    monkeypatch.setattr("owseg.knowledge.pretrained.resolve", history)


def test_quiet_prints_errors_alone(run_cli, noisy):
    assert run_cli("history", "K", "--quiet") == (0, "", "an error\n")
    assert run_cli("history", "K") == (0, "", "a note\nan error\na line\n")


def test_libraries_draw_no_bar_away_from_a_terminal(tmp_path):
    config = SegformerConfig(**tiny.CONFIGS["segformer"], decoder_hidden_size=8, num_labels=2)
    SegformerForSemanticSegmentation(config).save_pretrained(tmp_path / "net")
    command = [sys.executable, "-m", "owseg", "info", "hf:net"]
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_PROGRESS_BARS"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("hf:net")


def test_verbose_prints_more(run_cli, noisy):
    _, out, err = run_cli("history", "K", "--verbose")
    assert out == "" and "a note\nan error\na line\n" in err and "history K --verbose" in err


def test_verbose_says_where_an_error_was_raised(run_cli, tmp_path):
    _, _, err = run_cli("history", tmp_path / "none", "--verbose")
    assert "Traceback" in err and "in resolve" in err and f"error: {tmp_path / 'none'} does not exist" in err


def test_the_file_has_everything_with_the_time(run_cli, noisy, tmp_path):
    file = tmp_path / "new" / "a.log"
    for option in ("--quiet", "--verbose"):
        run_cli("history", "K", option, "--log-file", file)
    text = file.read_text()
    assert len(re.findall(r"^\d{4}-\d\d-\d\d .* WARNING a note$", text, re.M)) == 2  # the second is added
    assert "ERROR an error" in text and "INFO a line" in text and "DEBUG owseg" in text
    assert not any(isinstance(h, logging.FileHandler) for h in logger.handlers)


def test_mistakes_end_in_one_sentence(fails, tmp_path):
    assert "give one of them" in fails("history", "street", "--quiet", "--verbose")
    assert "is a directory" in fails("history", "street", "--log-file", tmp_path)


def test_warnings_are_notes(run_cli, monkeypatch):
    replace_all(monkeypatch)
    warn = "import warnings; warnings.warn('so it is')"
    monkeypatch.setattr("owseg.knowledge.versions.version_history", lambda directory: exec(warn) or [])
    assert run_cli("history", "K")[2] == "warning: so it is\n"
    assert run_cli("history", "K", "--quiet")[2] == ""

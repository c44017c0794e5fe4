"""Ctrl-C and SIGTERM: what is done is said, files are whole, and the exit code is that of the signal."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from owseg._progress import track
from owseg.cli._log import logged
from owseg.cli._stopping import Stopped, sentence, stoppable
from tests.support.commands import replace_all


@pytest.fixture(autouse=True)
def interruptible():
    """Whoever runs the tests in the background ignores Ctrl-C, which a process inherits."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


CODES = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.parametrize("number, code", CODES)
def test_a_signal_is_raised_with_its_exit_code(number, code):
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stop, stoppable():
        os.kill(os.getpid(), number)
        time.sleep(10)  # the handler runs between two instructions
    assert stop.value.exit_code == code and signal.getsignal(number) == before


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as of a command in the background
    try:
        with stoppable():
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_sentence_says_how_far_it_is_and_how_to_go_on(tmp_path):
    with logged():
        assert sentence("fit", None).startswith("stopped; ")
        list(track("abc", "reading", 7))
        assert "after 3 of 7 steps of reading" in sentence("fit", None)
        assert "starts anew" not in sentence("video", None) and "what is written plays" in sentence("video", None)
        assert "starts anew" in sentence("train", tmp_path)
        (tmp_path / "member-1").mkdir()
        (tmp_path / "member-1" / "last.ckpt").touch()
        assert f"--resume goes on from the last checkpoint, in {tmp_path}" in sentence("train", tmp_path)
        assert "goes on from there" in sentence("discover", None)
        assert "starts anew" in sentence("evaluate", None) and "starts anew" in sentence("fit", None, True)
        assert "goes on from there" in sentence("evaluate", None, True)


@pytest.mark.parametrize("number, code", CODES)
def test_what_is_predicted_is_printed(run_cli, monkeypatch, kb, photos, stored_kb, tmp_path, number, code):
    """The second of three images is never finished."""
    from owseg.knowledge.base import KnowledgeBase

    real, seen = KnowledgeBase.decide, []

    def decide(self, sample, output):
        seen.append(sample)
        if len(seen) % 3 == 2:
            os.kill(os.getpid(), number)
            time.sleep(0.5)  # what is under way is waited for
        return real(self, sample, output)

    monkeypatch.setattr(KnowledgeBase, "decide", decide)
    line = ("predict", photos, "--kb", stored_kb, "--workers", 1, "--out", tmp_path / "out")
    ended, out, err = run_cli(*line, "--json")
    value = json.loads(out)
    assert ended == code and value["stopped"] and [r["path"] for r in value["results"]] == [str(photos / "p0.png")]
    assert err.startswith("stopped after 1 of 3 steps of predicting; ") and err.count("\n") == 1
    assert all(path.exists() for path in map(type(tmp_path), value["results"][0]["files"]))
    seen.clear()
    ended, out, err = run_cli(*line)
    assert ended == code and "2 of 3 images labelled (1 of them before)" in out and "stopped after 2 of 3" in err
    assert not list((tmp_path / "out").glob(".*"))  # nothing half-written


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_any_other_command_says_so_once(run_cli, monkeypatch, options):
    replace_all(monkeypatch)

    def stop(*_):
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr("owseg.evaluation.evaluate.evaluate", stop)
    code, out, err = run_cli("evaluate", "K", "--data", "folder:D", *options)
    assert code == 143 and err.startswith("stopped; ") and err.count("\n") == 1
    assert json.loads(out) == {"stopped": err.strip()} if options else out == ""


def test_a_real_process_ends_with_the_code_of_the_signal(tmp_path):
    """Stopped while it waits for its standard input, so that it surely runs."""
    script = (
        "import sys; from owseg import cli; from owseg.knowledge import pretrained\n"
        "def wait(name): print('ready', flush=True); sys.stdin.read()\n"
        "pretrained.resolve = wait; sys.argv = ['owseg', 'history', 'K']; cli.main()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and err.startswith("stopped; ") and err.count("\n") == 1

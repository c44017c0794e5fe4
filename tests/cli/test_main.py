"""The command line as a whole: version, errors, exit codes."""

import builtins
import os
import subprocess
import sys

import pytest

import owseg
from owseg import cli
from owseg.knowledge.load import load


def test_the_version(run_cli):
    assert run_cli("--version") == (0, f"owseg {owseg.__version__}\n", "")


def test_python_runs_the_package(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "owseg", "history", tmp_path / "none"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and "does not exist" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("typed, expected", [
    ("owseg pre", ["predict"]),
    ("owseg predict --ba", ["--batch"]),
    ("owseg train-", ["train-negative", "train-residual"]),
])  # fmt: skip
def test_a_shell_completes_commands_and_options(typed, expected):
    words = {"_OWSEG_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    run = [sys.executable, "-c", "import sys; sys.argv[0] = 'owseg'; from owseg.cli import main; main()"]
    done = subprocess.run(run, env={**os.environ, **words}, capture_output=True, text=True, check=False)
    assert done.stdout.split() == expected and done.stderr == ""


FULL = "cannot be written (the disk is full); free some space and try again.\n"


@pytest.mark.parametrize("error, sentence", [
    (owseg.OwsegError("it is so."), "error: it is so.\n"),
    (OSError(28, "No space left on device", "f.png"), f"error: f.png {FULL}"),
    (OSError(28, "No space left on device"), f"error: the result {FULL}"),
    (OSError(5, "Input/output error", "f.png"), "error: f.png: Input/output error.\n"),
    (OSError(5, "Input/output error"), "error: the disk: Input/output error.\n"),
    (BrokenPipeError(), ""),
])  # fmt: skip
def test_an_error_is_one_sentence_and_exit_code_1(monkeypatch, capsys, error, sentence):
    def fail(**_):
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1 and capsys.readouterr() == ("", sentence)


def test_a_mistake_in_the_command_itself_is_exit_code_2(run_cli):
    assert run_cli("predict")[0] == run_cli("no-such-command")[0] == run_cli("demo", "--no-such-option")[0] == 2


@pytest.mark.parametrize("line, sentence", [
    ("preditc a", "there is no command 'preditc'; did you mean predict?"),
    ("data chek", "there is no command 'chek'; did you mean check?"),
    ("nothing", "there is no command 'nothing'; see owseg --help."),
    ("predict", "owseg predict needs IMAGES; see owseg predict --help."),
    ("train kb", "owseg train needs --data; see owseg train --help."),
    ("predict a --siz 3", "owseg predict has no option --siz; did you mean --size?"),
    ("predict a --data d", "owseg predict has no option --data; see owseg predict --help."),
    ("predict a --size x", "--size is a whole number; see owseg predict --help."),
    ("predict a --size 3", "--size is 32 or more; see owseg predict --help."),
    ("rollback kb x", "VERSION is a whole number; see owseg rollback --help."),
    ("import rpl:f -o kb --fpr x", "--fpr is a number; see owseg import --help."),
    ("predict a --size", "--size needs a value; write it behind the option."),
    ("data list camvid", "owseg data list has no place for 'camvid'; leave it out, or see owseg data list --help."),
])  # fmt: skip
def test_a_command_line_that_cannot_be_read_is_one_sentence(run_cli, line, sentence):
    assert run_cli(*line.split()) == (2, "", f"error: {sentence}\n")


def test_a_command_without_arguments_prints_help(run_cli):
    code, out, err = run_cli("data")
    assert (code, err) == (2, "") and "Usage: " in out and "check" in out


def test_a_knowledge_base_that_cannot_be_written(fails, stored_kb, own_data, monkeypatch):
    real = builtins.open

    def refuse(path, mode="r", *args, **kwargs):
        if any(m in mode for m in "wxa") and str(stored_kb) in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, mode, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", refuse)
    err = fails("learn", stored_kb, "rock", "--data", f"folder:{own_data}", "--count", "2", "--method", "npm")
    assert "ermission" in err
    monkeypatch.undo()
    assert load(stored_kb).labels.names[-1] == "tree"


@pytest.mark.parametrize("name, meant", [("strret", "street"), ("sintetic", "synthetic"), ("stret8", "street8")])
def test_a_mistyped_shipped_name_is_recognised(fails, name, meant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"did you mean {meant}?" in fails("history", name)
    assert "did you mean" not in fails("history", "nothing-like-it")

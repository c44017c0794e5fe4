"""The README is run: its Python, and the commands that need no training; the commands of every page parse."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil

import pytest
import typer

import owseg
from owseg.cli import app
from tests.support.own_folders import write_own_folders
from tests.support.pages import PAGES, README, blocks, commands

TEXT = README.read_text()
COMMANDS = commands()


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_pages_parses(line):
    _, *args = shlex.split(line, comments=True)
    command = typer.main.get_command(app)
    context = command.make_context("owseg", args[:1], resilient_parsing=True)
    while hasattr(command, "commands"):  # owseg data check ...
        name, *args = args
        command = command.commands[name]
    with command.make_context(name, args, parent=context) as parsed:
        assert parsed.params


def test_there_are_commands():
    assert len(COMMANDS) >= 20


@pytest.fixture(scope="module")
def place(tmp_path_factory, half_size):
    """A folder with what the README names: photo.jpg, photos/, annotated/, mydata/, and a quick ``street``."""
    return write_own_folders(tmp_path_factory.mktemp("readme"), half_size)


def test_the_python_runs_as_one_program(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    names: dict[str, object] = {}
    for block in blocks("python", TEXT):
        exec(block, names)
    assert names["prediction"].open_set.shape == (192, 256)
    assert (place / "out" / "photo.labels.png").is_file()
    assert names["region"].nearest in names["kb"].labels
    assert names["kb"].learned_classes == ("scooter",) and names["kb"].threshold.target_fpr == 0.02
    assert owseg.load("mykb").labels == names["kb"].labels
    assert names["evaluation"].images == 3 and "'joint@segments'" in capsys.readouterr().out
    shutil.rmtree(place / "mykb")


def test_each_of_the_five_uses_takes_three_lines_at_most():
    found = blocks("python", TEXT)
    assert len(found) == 5
    for block in found:
        lines = [line for line in block.splitlines() if line.strip() and not line.startswith("import ")]
        assert len(lines) <= 3


def test_the_quick_commands_run_one_after_another(place, monkeypatch, run_cli):
    monkeypatch.chdir(place)
    quick = next(block for block in blocks("sh", TEXT) if block.startswith("owseg "))
    lines = quick.splitlines()
    assert len(lines) == 6
    for line in lines:
        code, _, errors = run_cli(*shlex.split(line, comments=True)[1:])
        assert code == 0, f"{line}\n{errors}"
    assert owseg.load("mykb").learned_classes == ("scooter",)
    assert all((place / "out" / f"photo.{suffix}").is_file() for suffix in ("labels.png", "score.png", "open.jpg"))
    assert owseg.Queue.open("queue").groups


def test_the_commands_of_the_readme_are_named_in_the_help(run_cli):
    _, out, _ = run_cli("--help")
    for name in set(re.findall(r"owseg ([a-z][a-z-]+)", "\n".join(blocks("sh", TEXT)))):
        assert re.search(rf"^\W*{name}\b", out, re.M), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_name_of_python_on_a_page_is_there(page):
    """``owseg.knowledge.calibration.find_threshold`` and the like: modules that are there, and names in them."""
    for name in sorted(set(re.findall(r"\bowseg(?:\.[A-Za-z_]\w*)+", page.read_text()))):
        if not any(name.endswith(f".{suffix}") for suffix in ("safetensors", "json", "html")):
            assert found(name) is not None, name


def found(name: str) -> object:
    """Return what a dotted name stands for; None where there is nothing."""
    parts = name.split(".")
    for i in range(len(parts), 0, -1):
        module = ".".join(parts[:i])
        try:
            value: object = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        for part in parts[i:]:
            value = getattr(value, part, None)
        return value
    return None


def test_the_new_names_of_the_changelog_are_there():
    rows = re.findall(r"^\| `.+?\| (`.+) \|$", (README.parent / "CHANGELOG.md").read_text(), re.M)
    names = [name for row in rows for name in re.findall(r"`(owseg\.[\w.]+)`", row)]
    assert len(rows) > 25 and [name for name in names if found(name) is None] == []

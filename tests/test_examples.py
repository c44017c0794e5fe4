"""The programs in examples/ run."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys

import pytest
from PIL import Image

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import owseg
from owseg.data.synthetic.scene import scene
from tests.support.pages import ROOT

EXAMPLES = ROOT / "examples"


@pytest.fixture
def run(half_size_here, capsys):
    """``run("evaluate", ...)`` calls the main function of an example in a fresh folder; returns the lines it prints."""

    def call(name: str, *arguments: str) -> list[str]:
        runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](*arguments)
        return capsys.readouterr().out.splitlines()

    return call


def numbers(line: str) -> list[float]:
    return [float(text) for text in re.findall(r"\d+\.\d+", line)]


def test_predict_folder(run, tmp_path):
    (tmp_path / "photos").mkdir()
    for i in range(2):
        Image.fromarray(scene("test", 7 + i)[0]).save(tmp_path / "photos" / f"p{i}.jpg")
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    lines = run("predict_folder", "photos", "out")
    assert lines[0].startswith("left out: ") and "notes.txt" in lines[0]
    assert [line[:7] for line in lines[1:]] == ["p0.jpg:", "p1.jpg:"] and "largest unknown region" in lines[1]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"p{i}.{suffix}" for i in range(2) for suffix in ("labels.png", "score.png", "open.jpg", "regions.json")
    }


def test_learn_class(run, tmp_path, few_shots):
    before, after, stored = run("learn_class", "kb")
    assert before.startswith("8 classes") and after.startswith("9 classes")
    novel = numbers(after.split("miou_novel")[1])[0]
    assert novel > 0.1 and stored == "kb is at version 1."
    assert owseg.load(tmp_path / "kb").learned_classes == ("animal",)


def test_own_scorer(run):
    lines = run("own_scorer")
    assert [line.split()[0] for line in lines] == ["msp", "joint", "margin"]
    assert all(0.5 < numbers(line)[0] < 1 for line in lines)


def test_evaluate(run):
    lines = run("evaluate")
    known = [numbers(line)[0] for line in lines if line.startswith("asked")]
    assert known == sorted(known) and len(known) == 3
    assert any(line.startswith("joint@segments | ") for line in lines)


def test_every_example_has_a_test():
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {name.removeprefix("test_") for name in globals() if name.startswith("test_")} & names
    assert len(names) == 4


def test_a_plug_in_is_known_by_name_once_it_is_installed(tmp_path):
    """As pip installs it: its module and its entry points on the path."""
    folder = EXAMPLES / "plugin"
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    (group, points), *others = project["entry-points"].items()
    info = tmp_path / f"{project['name'].replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in points.items()))
    program = (
        "import owseg; from owseg.scorers import SCORERS; kb = owseg.load('synthetic');"
        "score = kb.require_scorer('margin')(kb.forward(owseg.open_dataset('synthetic', 'test')[0].image, size=64));"
        "print(SCORERS.entries['margin'].help, score.ndim, 0 <= score.min() <= score.max() <= 1)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(folder), str(ROOT / "src")])}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "how close the two most likely classes are 3 tensor(True)\n" and not others

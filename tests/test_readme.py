"""The README is run: its commands parse, its Python works."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from owseg.cli import app
from owseg.data.synthetic.canvas import CLASSES
from owseg.data.synthetic.scene import scene

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language, text=README):
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


PAGES = [README, *(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))]
COMMANDS = [
    line for page in PAGES for block in blocks("sh", page) for line in block.splitlines() if line.startswith("owseg ")
]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme_parses(line):
    _, name, *args = shlex.split(line, comments=True)
    command = typer.main.get_command(app).commands[name]
    with command.make_context(name, args) as context:
        assert context.params


def test_there_are_commands():
    assert len(COMMANDS) >= 5


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    animal = CLASSES.index("animal")
    for i in range(3):
        image, labels = scene("shots", i)
        for kind, array in (("images", image), ("masks", (labels == animal).astype(np.uint8))):
            Path("annotated", kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(Path("annotated", kind, f"{i}.png"))
    Image.fromarray(scene("test", 0)[0]).save("photo.jpg")
    (code,) = blocks("python")
    names: dict[str, object] = {}
    exec(code, names)
    assert names["prediction"].open_set.shape == (192, 256)
    assert Path("mykb", "CURRENT").is_file()
    assert names["wiser"].labels.names[-1] == "scooter"

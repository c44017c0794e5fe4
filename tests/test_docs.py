"""docs/extending.md is run: each plug-in, in a package of its own, is found by its name and used."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from owseg.data.synthetic.scene import scene
from tests.support import tiny
from tests.support.pages import ROOT, blocks

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = (ROOT / "docs" / "extending.md").read_text()
PACKAGE = "owseg_extras"

CHECKS = {
    "A scorer": [
        "kb.scorer == 'margin'",
        "((0 <= prediction.score) & (prediction.score <= 1)).all() and prediction.score.std() > 0",
        "kb.threshold.value > 0.1 and 0 < prediction.unknown < 1",
    ],
    "A fitted scorer": [
        "'rarity' not in kb.scorers",
        "score.counts.sum() > 4 * 10_000",
        "np.unique(score(kb.forward(owseg.read_image('photo.jpg')))).size > 1",
    ],
    "An image scorer": [
        "score.shape == (192, 256) and score.dtype == np.float32",
        "0 < score.mean() < 1 and 0 <= score.min() and score.max() <= 1",
    ],
    "A data set": [
        "len(data) == 2 and data.labels.names == ('soil', 'crop', 'weed')",
        "sample.id == 'f0' and set(np.unique(sample.target)) == {0, 1, 2}",
    ],
    "A decoder": [
        "type(network.decoder).__name__ == 'UpSum' and type(again.decoder).__name__ == 'UpSum'",
        "again.load_state_dict(network.state_dict()) is not None",
        "network(torch.zeros(1, 3, 64, 64)).logits.shape[:2] == (1, 3)",
    ],
    "A family of backbones": ["backbone.channels == (8, 16, 24, 32)", "backbone.strides == (4, 8, 16, 32)"],
    "A published network": [
        "kb.labels.names == ('road', 'sky', 'tree')",
        "kb.scorers['msp'](kb.forward(owseg.read_image('photo.jpg'))).std() > 0",
    ],
    "A way to learn": [
        "updated.learned_classes == ('animal',)",
        "updated.increments[0].least == 0.5",
        "(updated.predict(shots[0].image).labels[shots[0].positives] == updated.labels.index('animal')).mean() > 0.5",
        "(labels == updated.predict('photo.jpg').labels).all()",
    ],
    "An annotation format": [
        "recognise('cows.outlines.csv') == 'outlines' and recognise(path) == 'coco'",
        "[(a.name, int(a.mask.sum())) for a in annotations] == [('cow', 600), ('void', 16)]",
        "{a.image for a in annotations} == {'photo.jpg'} and annotations[0].mask.shape == (192, 256)",
        "len(shots) == 1 and shots[0].positives[10, 10] and not shots[0].positives[35, 35]",
        "(shots[0].positives == annotations[0].mask).all() and (shots[0].void == annotations[1].mask).all()",
    ],
}
"""What must be true after the last block of a section, by the section's heading."""

RUN = """
import json, sys
from importlib import import_module
from owseg._registry import Registry

def registries():
    for package in json.load(open("groups.json")):
        for value in vars(import_module(package)).values():
            if isinstance(value, Registry) and value.package == package:
                yield value

before = {r.package: {name: entry.help for name, entry in r.entries.items() if entry.point} for r in registries()}
before["imported"] = sorted(name for name in sys.modules if name == "torch" or name.startswith("owseg_extras"))

import numpy as np, torch, traceback, owseg
from owseg.data.synthetic.scene import SPLITS
torch.set_num_threads(1)
SPLITS["shots"] = SPLITS["shots"][0], 20  # those that show animals: 80 take seconds to draw
wrong = {}
for name, (code, checks) in json.load(open("uses.json")).items():
    names = {"owseg": owseg, "np": np, "torch": torch}
    try:
        exec(code, names)
        wrong[name] = [check for check in checks if not eval(check, names)]
    except Exception:
        wrong[name] = [traceback.format_exc()]
after = [name for name in sys.modules if name.startswith("owseg_extras.")]
print(json.dumps({"before": before, "wrong": wrong, "after": after}))
"""
"""Run in a process of its own, whose path holds the package: names first, which must import nothing; then each use."""


def sections() -> dict[str, str]:
    """Return the parts of the page by heading; a fitted scorer is a part of its own."""
    parts = re.split(r"^## (.+)\n", PAGE, flags=re.M)[1:]
    found = dict(zip(parts[::2], parts[1::2], strict=True))
    plain, fitted = found["A scorer"].split("Where it needs something")
    return {**found, "A scorer": plain, "A fitted scorer": fitted}


def files(text: str) -> dict[str, str]:
    """Return the blocks that are files, by their paths: a file's first line is its path."""
    named = ((re.match(rf"# ({PACKAGE}/\w+\.py)\n", block), block) for block in blocks("python", text))
    return {match[1]: block for match, block in named if match}


def uses(text: str) -> str:
    return "\n".join(block for block in blocks("python", text) if not block.startswith(f"# {PACKAGE}/"))


def entry_points(text: str) -> dict[str, dict[str, str]]:
    """Return the entry points by group."""
    found: dict[str, dict[str, str]] = {}
    for block in blocks("toml", text):
        for group, points in tomllib.loads(block)["project"]["entry-points"].items():
            found.setdefault(group, {}).update(points)
    return found


def install(place: Path) -> None:
    """Write the page's package and its metadata, as pip would have."""
    info = place / f"{PACKAGE}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n")
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in named.items())
        for group, named in entry_points(PAGE).items()
    )
    (info / "entry_points.txt").write_text(points)
    for name, text in {f"{PACKAGE}/__init__.py": "", **files(PAGE)}.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(text)


def prepare(place: Path) -> None:
    """Write what the page's blocks open: an image, a data set, the weights of a network."""
    Image.fromarray(scene("test", 0)[0]).save(place / "photo.jpg", quality=95)
    (place / "fields" / "train").mkdir(parents=True)
    for i in range(2):
        Image.fromarray(tiny.image(i).transpose(1, 2, 0)).save(place / "fields" / "train" / f"f{i}.jpg")
        ids = np.arange(48 * 64).reshape(48, 64) % 3
        Image.fromarray(ids.astype(np.uint8)).save(place / "fields" / "train" / f"f{i}.png")
    outlines = ("cow,10,10,30,10,30,30,10,30", "cow,50,60,60,60,60,80,50,80", "void,0,0,4,0,4,4,0,4")
    (place / "cows.outlines.csv").write_text("".join(f"photo.jpg,192,256,{line}\n" for line in outlines))
    (place / "weights").mkdir()
    network = tiny.network(3)
    (place / "weights" / "network.json").write_text(json.dumps(network.config))
    (place / "weights" / "classes.json").write_text(json.dumps(["road", "sky", "tree"]))
    save_file(network.state_dict(), place / "weights" / "model.safetensors")


@pytest.fixture(scope="module")
def result(tmp_path_factory, half_size):
    place = tmp_path_factory.mktemp("extending")
    for name in ("street", "synthetic"):
        (place / name).symlink_to(half_size)
    install(place / "site")
    prepare(place)
    (place / "groups.json").write_text(json.dumps(list(entry_points(PAGE))))
    code = {name: (uses(text), CHECKS.get(name, [])) for name, text in sections().items()}
    (place / "uses.json").write_text(json.dumps(code))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(place / "site"), str(ROOT / "src")])}
    done = subprocess.run([sys.executable, "-c", RUN], cwd=place, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", CHECKS)
def test_a_section_runs(result, name):
    assert result["wrong"][name] == [], "\n".join(result["wrong"][name])


def test_every_section_is_checked():
    shown = {name for name, text in sections().items() if uses(text)}
    assert shown == CHECKS.keys()
    assert {name for name, text in sections().items() if files(text)} == {*CHECKS, "A kind of increment"}


def test_names_and_help_are_read_without_an_import(result):
    before = result["before"]
    assert before.pop("imported") == []
    assert {group: set(names) for group, names in before.items()} == {
        group: set(points) for group, points in entry_points(PAGE).items()
    }
    assert before["owseg.scorers"]["margin"] == "how close the two most likely classes are"
    assert {f"{PACKAGE}/{name.partition('.')[2]}.py" for name in result["after"]} == set(files(PAGE))


@pytest.mark.parametrize("name", files(PAGE))
def test_a_plug_in_takes_less_than_thirty_lines_of_code(name):
    code = re.sub(r'""".*?"""', "", files(PAGE)[name], flags=re.S)
    lines = [line for line in code.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(lines) < 30

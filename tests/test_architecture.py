"""The shape of the code: docs/architecture.md names the rooms that there are, and files and functions stay short."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.support.pages import ROOT

SRC = ROOT / "src" / "owseg"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
TOPS = ("src", "tests", "tools", "recipes", "benchmarks", "examples")
PYTHON = sorted(path for top in TOPS for path in (ROOT / top).rglob("*.py"))
MOST_LINES, MOST_IN_A_FUNCTION, MOST_AT_THE_ROOT = 300, 60, 10

DRAWINGS = {"animal", "vehicle"}
"""Functions that are a table of parts, drawn one after the other; cut in two they would be harder to follow."""


@cache
def nodes(path):
    """Return the functions and imports of a file, which is parsed once for all tests here."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Import, ast.ImportFrom)
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]


def functions(path):
    return [node for node in nodes(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def imported(path):
    """Yield what a file imports, as (module, name); ``import x`` has no name."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (("." * node.level + (node.module or ""), alias.name) for alias in node.names)


def order():
    """Return the rows of the page's table of rooms, lowest first, as lists of names."""
    rows = re.findall(r"^\| (`.*?`) \|", PAGE.split("## The folders")[1].split("## ")[0], re.M)
    return [re.findall(r"`(.*?)`", row) for row in rows]


def test_every_room_is_on_the_page_and_every_room_on_it_is_there():
    there = {f"{path.name}/" for path in SRC.iterdir() if (path / "__init__.py").is_file()}
    there |= {path.name for path in SRC.glob("*.py") if not path.name.startswith("__")}
    named = [name for row in order() for name in row]
    assert set(named) == there and len(named) == len(there)


def test_the_rooms_are_in_the_order_that_lint_imports_holds():
    text = (ROOT / "pyproject.toml").read_text()
    layers = re.findall(r'^    "(.+)",$', text.split('type = "layers"')[1].split("\n]")[0], re.M)
    height = {room.strip(): -i for i, layer in enumerate(layers) for room in layer.split("|")}
    assert height.keys() - {"__main__"} == {n.removesuffix("/").removesuffix(".py") for row in order() for n in row}
    heights = [height[name.removesuffix("/").removesuffix(".py")] for row in order() for name in row]
    assert heights == sorted(heights)


def test_every_file_that_the_page_names_is_there():
    named = set(re.findall(r"`([\w/]+(?:\.py|\.md|/))`", PAGE)) | set(re.findall(r"\]\(([\w.]+\.md)\)", PAGE))
    places = (SRC, ROOT, ROOT / "docs")
    assert [name for name in sorted(named) if not any((place / name).exists() for place in places)] == []
    assert len(named) > 30


def test_names_of_the_page_are_names_of_the_code():
    """Each noun of the table is defined in the file, or somewhere in the room, that its row gives."""
    for row in re.findall(r"^\| (`[A-Z].*?) \|.*\| (`.*?`) \|$", PAGE, re.M):
        named = re.findall(r"`(.*?)`", row[1])
        files = [SRC / name for name in named if name.endswith(".py")] or [SRC / "types.py"]
        assert all((SRC / name).exists() for name in named)
        for noun in re.findall(r"`(\w+)`", row[0]):
            defined = rf"^(class {noun}\b|{noun}\b.* = )"
            assert any(re.search(defined, path.read_text(), re.M) for path in files), noun


def test_the_root_of_the_package_has_few_files():
    assert len([path for path in SRC.iterdir() if path.is_file()]) <= MOST_AT_THE_ROOT


def test_files_are_short():
    counted = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in PYTHON}
    assert {name: lines for name, lines in counted.items() if lines > MOST_LINES} == {}


def test_functions_are_short():
    lengths = {
        (str(path.relative_to(ROOT)), node.name): (node.end_lineno or 0) - node.lineno + 1
        for path in PYTHON
        for node in functions(path)
    }
    long = {key: length for key, length in lengths.items() if length > MOST_IN_A_FUNCTION}
    drawings = {key for key in long if key[0].startswith("src/owseg/data/synthetic/") and key[1] in DRAWINGS}
    assert {key: length for key, length in long.items() if key not in drawings} == {}
    assert {name for _, name in drawings} == DRAWINGS, "no longer long: take it out of the list"


def test_test_modules_do_not_import_each_other():
    for path in (ROOT / "tests").rglob("*.py"):
        for module, name in imported(path):
            parts = [*module.split("."), name]
            assert not (parts[0] in ("tests", "") and any(p.startswith("test_") for p in parts)), f"{path} -> {module}"


def test_private_names_stay_in_their_file():
    """A name with an underscore is imported by no other file of the package; modules such as _files are for all."""
    taken = [
        f"{path.relative_to(ROOT)}: {module}.{name}"
        for path in SRC.rglob("*.py")
        for module, name in imported(path)
        if module.startswith("owseg") and name.startswith("_") and not name.startswith("__")
        and not (ROOT / "src" / module.replace(".", "/") / f"{name}.py").is_file()
    ]  # fmt: skip
    assert taken == []


def test_a_room_takes_from_the_package_itself_its_version_alone():
    """What ``owseg`` hands on is left out of the contracts, so no room may go that way around them."""
    for path in SRC.rglob("*.py"):
        for module, name in imported(path):
            if module == "owseg" and path.parent != SRC:
                assert name == "__version__" or (SRC / name).is_dir(), path


def test_nouns_and_data_need_no_torch():
    light = "data data.datasets data.check data.shots exchange exchange.shots errors labels openset types metrics"
    code = "".join(f"import owseg.{name}\n" for name in light.split()) + "import sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_imports_go_down():
    pytest.importorskip("importlinter", reason="lint-imports is part of make check; pip install import-linter")
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]

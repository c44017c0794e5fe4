"""What ``import owseg`` gives: its names, their types and docstrings; nothing heavy is imported before it is needed."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
import zipfile

import pytest
import typer

import owseg
from owseg.cli import app
from tests.support.pages import ROOT

SRC = ROOT / "src" / "owseg"
ROOMS = sorted(path for path in SRC.rglob("*.py") if path.name != "__main__.py")


def typed_names() -> dict[str, str]:
    """Return what ``owseg/__init__.py`` imports for type checkers: name -> module."""
    (block,) = (
        node
        for node in ast.parse((SRC / "__init__.py").read_text()).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    return {
        alias.asname or alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_the_names_for_checkers_are_the_names_that_are_imported_when_used():
    assert owseg.__all__ == sorted(typed_names())
    assert typed_names() == owseg._HOMES
    assert set(dir(owseg)) >= {*owseg.__all__, "__version__"}


@pytest.mark.parametrize("name", owseg.__all__)
def test_a_public_name_is_there_and_documented(name):
    value = getattr(owseg, name)
    assert value is getattr(importlib.import_module(owseg._HOMES[name]), name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__ and len(value.__doc__.split()) > 4
    if inspect.isclass(value):
        for key, member in vars(value).items():
            if not key.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                assert member.__doc__, f"{name}.{key}"


def test_names_stay_what_they_are_though_modules_are_called_the_same():
    code = "import owseg\nfor _ in range(2):\n    assert callable(owseg.evaluate) and callable(owseg.learn)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_misspelt_name_is_an_error():
    with pytest.raises(AttributeError, match="lod"):
        owseg.lod  # noqa: B018


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: path.relative_to(SRC).as_posix())
def test_every_public_function_and_class_has_a_docstring(path):
    """Of every room, not only of what ``owseg`` hands on."""
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), path
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    found = [node for node in tree.body if isinstance(node, kinds)]
    public = [node for node in found if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    found += [member for node in public for member in node.body if isinstance(member, kinds)]
    missing = [
        node.name
        for node in found
        if not node.name.startswith("_")
        and "overload" not in map(ast.unparse, node.decorator_list)
        and not ast.get_docstring(node)
    ]
    assert missing == []


def commands() -> list[tuple[str, ...]]:
    """Return the names of all commands, those of groups after the name of the group."""

    def below(command, names):
        yield names
        for name, child in getattr(command, "commands", {}).items():
            yield from below(child, (*names, name))

    return list(below(typer.main.get_command(app), ()))


HELP = """
import io, json, sys
from contextlib import redirect_stdout
import owseg
from owseg.cli import main
seen = {}
for names in json.loads(sys.argv[1]):
    sys.argv = ["owseg", *names, "--help"]
    with redirect_stdout(io.StringIO()) as out:
        try:
            main()
        except SystemExit:
            pass
    seen[" ".join(names)] = [len(out.getvalue()), "torch" in sys.modules]
print(json.dumps(seen))
"""


def test_no_help_waits_for_torch():
    """No timing here: what makes help slow is importing torch, and that can be seen."""
    asked = commands()
    assert len(asked) >= 19 and ("data", "list") in asked
    done = subprocess.run([sys.executable, "-c", HELP, json.dumps(asked)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert len(found) == len(asked)
    assert {name: loaded for name, (length, loaded) in found.items() if loaded or length < 200} == {}


def test_importing_owseg_imports_next_to_nothing():
    code = "import sys; before = set(sys.modules); import owseg; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "PIL", "typer"} & set(done.stdout.split())


def test_the_wheel_says_that_it_is_typed(tmp_path):
    builder = pytest.importorskip("hatchling.builders.wheel", reason="the builder of the wheel; pip install hatchling")
    (wheel,) = builder.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert "owseg/py.typed" in names
    assert names >= {path.relative_to(ROOT / "src").as_posix() for path in (*ROOMS, *SRC.rglob("*.safetensors"))}
    assert not [name for name in names if not name.startswith(("owseg/", f"owseg-{owseg.__version__}.dist-info/"))]

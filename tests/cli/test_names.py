"""Names of classes and files that no terminal should see as they are, in every command that prints them."""

import os
import subprocess
import sys

import pytest
from PIL import Image

from owseg.discovery.contents import image_id_of
from owseg.discovery.queue import Queue
from tests.support import tiny

BAD = b"bad\xff\x1b[31m.png"


@pytest.fixture
def odd_photos(tmp_path):
    """A folder of one image, whose name is neither UTF-8 nor printable."""
    (tmp_path / "odd").mkdir()
    path = os.fsencode(tmp_path / "odd") + b"/" + BAD
    try:
        with open(path, "wb") as file:  # noqa: PTH123
            Image.fromarray(tiny.image(0).transpose(1, 2, 0)).save(file, "PNG")
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    return tmp_path / "odd"


def run(*args, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "owseg", *args], capture_output=True, check=False, env={**os.environ, **environment}
    )
    return done.returncode, done.stdout, done.stderr


def test_a_file_name_that_is_no_utf_8(odd_photos, light_kb, tmp_path, run_cli):
    light_kb.save(tmp_path / "kb")
    code, out, err = run("predict", odd_photos, "--kb", tmp_path / "kb", "-o", tmp_path / "maps",
                         PYTHONIOENCODING="utf-8:strict")  # fmt: skip
    assert (code, b"Traceback" in err) == (0, False) and b"Most unknown: " in out and b"\x1b" not in out + err
    assert sum(path.name.startswith("bad") for path in (tmp_path / "maps").iterdir()) == 4
    code, out, err = run_cli("discover", tmp_path / "kb", odd_photos, "-o", tmp_path / "q", "--min-area", 20)
    assert code == 0 and "from 1 images" in out
    name = os.fsdecode(BAD)
    queue = Queue.open(tmp_path / "q")
    assert queue.has(name) and queue.entry(image_id_of(name)).name == name
    assert queue.image(image_id_of(name)).shape == (3, 48, 64)


def test_the_id_of_an_image_is_what_it_was_for_names_in_utf_8():
    assert image_id_of("p0.png") == "cd3982c8df1ade3a"
    assert image_id_of("\udcff") != image_id_of("\udcfe")


def test_a_terminal_of_ascii(stored_kb):
    for environment in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        code, out, err = run("history", stored_kb, **environment)
        assert (code, err) == (0, b"") and out.isascii() and b"calibrated" in out
        code, out, err = run("history", f"{stored_kb}é", **environment)
        assert code == 1 and err.startswith(b"error: ") and err.isascii() and err.count(b"\n") == 1


@pytest.mark.parametrize("name", ["e\x1b[31m", "a\nb", "x" * 61, "a\u202eb", "bad\udcff"])
def test_a_class_of_such_a_name_is_not_learned(fails, stored_kb, own_data, name):
    before = sorted(stored_kb.rglob("*"))
    assert "is not a class name; write 1 to 60 characters" in fails("learn", stored_kb, name, "--shots", own_data)
    assert sorted(stored_kb.rglob("*")) == before

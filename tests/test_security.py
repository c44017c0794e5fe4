"""docs/security.md names a test for every promise, and each of these tests is there."""

import re

from tests.support.pages import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ") and "**" not in line][1:]


def test_every_promise_names_its_tests():
    assert len(ROWS) > 20
    for promise, tests in ((row[0], row[-1]) for row in ROWS):
        assert re.fullmatch(r"`\S+\.py::test_\w+`(, `\S+\.py::test_\w+`)*", tests), promise


def test_every_test_that_is_named_is_there():
    for path, name in re.findall(r"`(\S+\.py)::(test_\w+)`", PAGE):
        assert f"def {name}(" in (ROOT / "tests" / path).read_text(), f"{path}::{name}"


def test_the_limits_are_those_of_the_code():
    source = (ROOT / "src" / "owseg" / "serve" / "limits.py").read_text()
    for line in ("MAX_CONNECTIONS = 200", "MAX_HEAD = 2**16", "MAX_SECONDS = 20.0", "MAX_MESSAGE = 2**20"):
        assert f"\n{line}\n" in source
    assert "MAX_BODY = 8 * 2**20" in (ROOT / "src" / "owseg" / "serve" / "guard.py").read_text()

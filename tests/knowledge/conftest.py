"""A directory with versions in it."""

from pathlib import Path

import pytest

from owseg.knowledge.commit import commit_version
from tests.support.versions import FILES


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Three versions in a row; the network stays, the knowledge changes."""
    for number in (1, 2, 3):
        commit_version(tmp_path / "kb", {**FILES, "knowledge.json": b"%d" % number}, f"learned {number}")
    return tmp_path / "kb"

import pytest

from tests.support.queues import make

pytest.importorskip("nicegui", reason="the page needs NiceGUI: pip install 'owseg[review]'")


def test_what_cannot_be_reviewed_is_refused(fails, tmp_path):
    for args, why in (
        (("synthetic", tmp_path / "queue"), "give --out"),
        (("synthetic", tmp_path / "none", "--out", tmp_path / "kb"), "not a queue"),
        (("synthetic", make(tmp_path).folder, "--out", tmp_path / "kb", "--port", 0), "synthetic does not"),
    ):
        assert why in fails("review", *args)

import socket
import sys

import pytest

from owseg.errors import OwsegError
from owseg.review.serve import _listen, serve
from tests.cli.test_cli import run
from tests.support.queues import make


def test_without_nicegui_a_sentence_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "nicegui", None)
    with pytest.raises(OwsegError, match=r"pip install nicegui"):
        serve("synthetic", str(tmp_path / "kb"), tmp_path / "queue")


def test_an_address_that_cannot_be_had_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OwsegError, match="another --port"):
            _listen("127.0.0.1", taken.getsockname()[1])
    for host, port in (("127.0.0.1", 70_000), ("no such host", 0)):
        with pytest.raises(OwsegError):
            _listen(host, port)


def test_the_command_line_refuses_what_it_cannot_review(capsys, tmp_path):
    pytest.importorskip("nicegui", reason="the page needs NiceGUI: pip install nicegui")
    for args, why in (
        (("synthetic", tmp_path / "queue"), "give --out"),
        (("synthetic", tmp_path / "none", "--out", tmp_path / "kb"), "no queue"),
        (("synthetic", make(tmp_path).folder, "--out", tmp_path / "kb", "--port", 0), "not synthetic"),
    ):
        code, _, err = run(capsys, "review", *args)
        assert code == 1 and why in err and len(err.splitlines()) == 1

import socket
import sys
from types import SimpleNamespace

import pytest

from owseg.errors import OwsegError
from owseg.review.serve import serve
from owseg.serve.address import listen
from tests.support.queues import make


def test_without_nicegui_a_sentence_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "nicegui", None)
    with pytest.raises(OwsegError, match=r"pip install 'owseg\[review\]'"):
        serve("synthetic", str(tmp_path / "kb"), tmp_path / "queue")


def test_an_address_that_cannot_be_had_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OwsegError, match="another --port"):
            listen("127.0.0.1", taken.getsockname()[1])
    for host, port in (("127.0.0.1", 70_000), ("no such host", 0)):
        with pytest.raises(OwsegError):
            listen(host, port)


@pytest.mark.parametrize("host, open_browser", [("127.0.0.1", True), ("0.0.0.0", False)])
def test_what_is_served_where_and_to_whom(stored_kb, tmp_path, monkeypatch, capsys, host, open_browser):
    pytest.importorskip("nicegui", reason="the page needs NiceGUI: pip install 'owseg[review]'")
    import uvicorn

    from owseg.review import pages

    made, sockets, opened = [], [], []
    monkeypatch.setattr(pages, "application", lambda *args: made.append(args))
    monkeypatch.setattr("owseg.serve.limits.bounded_config", lambda app: None)
    monkeypatch.setattr(uvicorn, "Server", lambda config: SimpleNamespace(run=lambda given: sockets.extend(given)))
    monkeypatch.setattr("owseg.review.serve.Timer", lambda _, act, args: SimpleNamespace(start=lambda: act(*args)))
    monkeypatch.setattr("owseg.review.serve.webbrowser.open", opened.append)
    queue = make(tmp_path).folder
    serve(str(stored_kb), str(tmp_path / "new"), queue, host, 0, open_browser)
    ((state, session, token, local),) = made
    output = capsys.readouterr().out
    url = next(word for word in output.split() if word.startswith("http"))
    assert state.queue.folder == queue and (session.source, session.target) == (str(stored_kb), str(tmp_path / "new"))
    assert url.startswith(f"http://{host}:") and opened == ([url] if open_browser else [])
    assert len(token) >= 32 and url.endswith(f"/?token={token}")
    assert local == (host == "127.0.0.1") and ("not encrypted" in output) == (not local)
    assert len(sockets) == 1 and str(tmp_path / "new") in output

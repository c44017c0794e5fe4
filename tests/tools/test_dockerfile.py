"""The Dockerfile is done step by step: files, variables, commands, and a service that has to live and end well."""

import json
import sys
from pathlib import Path

import pytest

from tools.dockerfile import ROOT, Build, instructions

SERVICE = """
import json, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        assert self.headers["Authorization"] == "Bearer of-this-check"
        assert self.rfile.read(int(self.headers["Content-Length"])).startswith(b"\\x89PNG")
        self.do_GET()
        self.wfile.write(json.dumps({"classes": {"road": 1.0}}).encode())

signal.signal(signal.SIGINT, lambda *_: sys.exit(int(sys.argv[2])))
HTTPServer(("127.0.0.1", int(sys.argv[1])), Answers).serve_forever()
"""
HEALTHY = "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"


def build(tmp_path: Path, text: str) -> Build:
    """What the instructions of ``text`` make of the folder of this test."""
    (tmp_path / "source" / "src" / "__pycache__").mkdir(parents=True)
    (tmp_path / "source" / "src" / "a.py").write_text("a")
    (tmp_path / "source" / "one.txt").write_text("one")
    made = Build(tmp_path / "image", tmp_path / "source", sys.executable)
    for word, rest in instructions(text):
        made.do(word, rest)
    return made


def service(tmp_path: Path, code: int, script: str = SERVICE) -> Build:
    (tmp_path / "service.py").write_text(script)
    entry, health = [sys.executable, str(tmp_path / "service.py"), "8000"], [sys.executable, "-c", HEALTHY]
    lines = ["WORKDIR /app", f"HEALTHCHECK --interval=1s CMD {json.dumps(health)}", f"ENTRYPOINT {json.dumps(entry)}"]
    return build(tmp_path, "\n".join([*lines, f'CMD ["{code}"]', "STOPSIGNAL SIGINT"]))


def test_files_variables_and_commands(tmp_path, capfd):
    python = f"{sys.executable} -c"
    made = build(
        tmp_path,
        f"""# a comment
ARG KIND=cpu
ENV NAME=value OTHER=2
WORKDIR /app
COPY one.txt ./
COPY src ./src
RUN {python} "import os; open('$KIND.txt', 'w').write(os.environ['NAME'] + \\
    os.environ['OTHER'])"
RUN useradd --system nobody-new
USER 10001
EXPOSE 8000
""",
    )
    app = tmp_path / "image" / "app"
    assert {str(p.relative_to(app)) for p in app.rglob("*")} == {"one.txt", "src", "src/a.py", "cpu.txt"}
    assert (app / "cpu.txt").read_text() == "value2" and made.variables["KIND"] == "cpu"
    assert "left out" in capfd.readouterr().out
    with pytest.raises(ValueError, match="ONBUILD"):
        made.do("ONBUILD", "RUN true")


def test_torch_comes_from_another_index_if_one_is_given(tmp_path, monkeypatch):
    ran: list[list[str]] = []
    monkeypatch.setattr(Build, "_run", lambda self, command, place: ran.append(command))
    for index in ("", "https://elsewhere"):
        Build(tmp_path, ROOT, sys.executable, index).do("RUN", "pip install torch --index-url https://here")
    assert [command[-1] for command in ran] == ["https://here", "https://elsewhere"]


def test_a_service_that_answers_and_ends(tmp_path, capsys):
    service(tmp_path, 0).serve()
    assert "an image: {'road': 1.0}" in capsys.readouterr().out


def test_a_service_that_ends_badly_is_a_fault(tmp_path):
    with pytest.raises(AssertionError, match="ended with 3 by SIGINT"):
        service(tmp_path, 3).serve()


def test_a_service_that_does_not_live_is_a_fault(tmp_path):
    with pytest.raises(AssertionError, match="ended before it was healthy"):
        service(tmp_path, 0, "raise SystemExit(1)").serve()


def test_every_instruction_of_the_dockerfile_is_known(monkeypatch):
    done: list[str] = []
    monkeypatch.setattr(Build, "_run", lambda self, command, place: done.append(command[0]))
    monkeypatch.setattr(Build, "_copy", lambda self, *names: done.append(names[-1]))
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    made = Build(Path("/image"), ROOT, "python3")
    for word, rest in instructions((ROOT / "Dockerfile").read_text()):
        made.do(word, rest)
    assert done == ["python3", "./", "./src", "pip", "pip"]
    assert made.entry[:2] == ["owseg", "serve"] and made.arguments == ["street"] and made.stop == "SIGTERM"
    assert made.health[0] == "python" and made.variables["OMP_WAIT_POLICY"] == "PASSIVE"

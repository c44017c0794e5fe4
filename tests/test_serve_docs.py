"""docs/serve.md is run: its curl and Python examples, and what its tables, the Dockerfile and the YAML say."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from dataclasses import fields

import pytest
import typer
import yaml

from tests.support import tiny
from tests.support.pages import ROOT, blocks

pytest.importorskip("prometheus_client", reason="pip install 'owseg[serve]'")
from PIL import Image

from owseg.cli import app as cli
from owseg.serve import limits
from owseg.serve.app import routes
from owseg.serve.images import MAX_RATIO
from owseg.serve.service import Service
from owseg.serve.settings import Limits
from tests.support.service import client_of, service_of, serving

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = (ROOT / "docs" / "serve.md").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TESTED = blocks("sh", PAGE.split("<!-- tested -->")[1])[0]


def lines_of(word: str) -> list[str]:
    """What the Dockerfile has after an instruction, a line each."""
    return [line.removeprefix(word).strip() for line in DOCKERFILE.splitlines() if line.startswith(f"{word} ")]


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table of a section, without its head."""
    lines = [line for line in PAGE.split(f"## {heading}\n")[1].split("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.fixture
def service(stored_kb) -> Service:
    return service_of(stored_kb)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_examples_run(stored_kb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photo.jpg", "other.png"):
        Image.fromarray(tiny.image(1).transpose(1, 2, 0)).save(name)
    commands = TESTED.strip().splitlines()
    assert len(commands) == 6
    (python,) = blocks("python", PAGE)
    with serving(stored_kb, folder=tmp_path) as server:
        for command in commands:
            here = shlex.split(command.replace("http://127.0.0.1:8000", server.url))
            done = subprocess.run([here[0], "--silent", *here[1:]], capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, command + done.stdout
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(python.replace("http://127.0.0.1:8000", server.url), {})
    assert [Image.open(name).mode for name in ("open_set.png", "overlay.png")] == ["P", "RGB"]
    assert "of the image is unknown" in out.getvalue() and "'road'" in out.getvalue()


def test_the_table_of_addresses_is_that_of_the_service(service):
    listed = {tuple(re.findall(r"`(\w+) (\S+)`", address)[0]) for address, _ in rows("Ask it")}
    page = routes(service).openapi()
    there = {(method.upper(), path) for path, methods in page["paths"].items() for method in methods}
    assert listed == there | {("GET", "/"), ("GET", "/openapi.json")}
    service.batcher.close()


def test_the_limits_are_those_of_the_command():
    command = typer.main.get_command(cli).commands["serve"]
    options = {p.opts[0]: p.default for p in command.params}
    table = {option.strip("`"): default for _, option, default, _ in rows("Limits") if option}
    assert {name: float(re.findall(r"[\d.]+", text)[0]) for name, text in table.items()} == {
        name: float(options[name]) for name in ("--max-bytes", "--max-pixels", "--max-queue", "--timeout")
    }
    usual = {field.name: field.default for field in fields(Limits)}
    assert usual["max_bytes"] == options["--max-bytes"] * 2**20 and usual["max_pixels"] == options["--max-pixels"] * 1e6
    assert usual["max_queue"] == options["--max-queue"] and usual["seconds"] == options["--timeout"]
    assert usual["max_wait"] * 1000 == options["--max-wait"] and f"({options['--max-wait']} ms)" in PAGE
    fixed = [default for _, option, default, _ in rows("Limits") if not option]
    assert fixed == [str(MAX_RATIO), f"{limits.MAX_HEAD >> 10} KiB", str(limits.MAX_CONNECTIONS)]


def test_the_metrics_are_those_of_the_service(service):
    with client_of(service) as client:
        text = client.get("/metrics").text
    kinds = dict(re.findall(r"^# TYPE (owseg_\w+) (\w+)$", text, re.M))
    there = {name for name in kinds if not name.endswith("_created")}
    named = {name for row in rows("Metrics") for name in re.findall(r"`(owseg_\w+)`", " ".join(row))}
    assert named == there


def test_the_dockerfile_fits_the_project():
    image, *_ = lines_of("FROM")
    minor = int(re.fullmatch(r"python:3\.(\d+)-slim", image)[1])
    assert minor >= int(PROJECT["requires-python"].removeprefix(">=3."))
    extras = re.findall(r"\[(\w+)\]", " ".join(lines_of("RUN")))
    assert extras == ["serve"] and "serve" in PROJECT["optional-dependencies"]
    torch = re.search(r"torch==([\d.]+)", " ".join(lines_of("RUN")))[0]
    assert torch in (ROOT / "constraints.txt").read_text().split()
    copied = [name for line in lines_of("COPY") for name in line.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept == set(copied) and {"src", "pyproject.toml", "README.md", "constraints.txt"} <= kept
    assert lines_of("USER") and lines_of("USER") != ["root"] and f"--uid {lines_of('USER')[-1]}" in DOCKERFILE
    assert "TORCH=cpu" in lines_of("ARG") and "$TORCH" in DOCKERFILE


def test_the_image_starts_the_service_and_asks_its_own_probe(service):
    (entry,), (arguments,), (port,) = (map(yaml.safe_load, lines_of(w)) for w in ("ENTRYPOINT", "CMD", "EXPOSE"))
    assert entry[:2] == ["owseg", "serve"] and "0.0.0.0" in entry
    with typer.main.get_command(cli).commands["serve"].make_context("serve", [*entry[2:], *arguments]) as parsed:
        assert parsed.params["port"] == port and parsed.params["host"] == "0.0.0.0"
    (health,) = lines_of("HEALTHCHECK")
    path = re.search(rf"http://127\.0\.0\.1:{port}(/\w+)", health)[1]
    with client_of(service, "s3cret", False) as client:
        assert client.get(path).status_code == 200  # without the token


def test_the_kubernetes_example_fits_the_image(service):
    found = {one["kind"]: one for one in yaml.safe_load_all(blocks("yaml", PAGE)[0])}
    assert set(found) == {"Secret", "Deployment", "Service"}
    pod = found["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert [p["containerPort"] for p in container["ports"]] == [int(lines_of("EXPOSE")[0])]
    probes = {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    with client_of(service, "s3cret", False) as client:
        assert all(client.get(path).status_code == 200 for path in probes) and len(probes) == 2
    secret = {e["name"]: e for e in container["env"]}["OWSEG_TOKEN"]["valueFrom"]["secretKeyRef"]
    assert secret["name"] == found["Secret"]["metadata"]["name"] and secret["key"] in found["Secret"]["stringData"]
    assert str(pod["spec"]["securityContext"]["runAsUser"]) == lines_of("USER")[-1]
    assert found["Service"]["spec"]["selector"] == pod["metadata"]["labels"]
    assert {"requests", "limits"} == set(container["resources"])
    from owseg.serve.run import GRACE

    grace, sleep = pod["spec"]["terminationGracePeriodSeconds"], container["lifecycle"]["preStop"]["exec"]["command"][1]
    assert grace >= GRACE + Limits().seconds + int(sleep)
    with typer.main.get_command(cli).commands["serve"].make_context("serve", container["args"]) as parsed:
        assert parsed.params["kb"] == "street"


@pytest.mark.skipif("OWSEG_DOCKERFILE" not in os.environ, reason="downloads torch; set OWSEG_DOCKERFILE=1")
@pytest.mark.timeout(1800)
def test_the_steps_of_the_dockerfile_run(tmp_path):
    """As plain commands, in an environment of their own, with nothing but what is copied."""
    for name in (name for line in lines_of("COPY") for name in line.split()[:-1]):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    venv.create(tmp_path / "env", with_pip=True)
    path = f"{tmp_path / 'env' / 'bin'}:{os.environ['PATH']}"
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    steps = [line for line in lines_of("RUN") if line.startswith("pip ")]
    assert len(steps) == 2
    for step in (*steps, "owseg serve --help"):
        subprocess.run(["sh", "-ec", step], cwd=tmp_path, env={**kept, "PATH": path, "TORCH": "cpu"}, check=True)

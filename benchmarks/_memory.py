"""The peak memory of this process."""

from __future__ import annotations

import resource
from pathlib import Path


def peak_memory() -> int:
    """Return the peak memory of this process, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux ru_maxrss would begin with the parent's
        return int(status.read_text().split("VmHWM:")[1].split()[0]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

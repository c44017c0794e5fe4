"""Several trainings of one kind, whose results are used together: where each runs, and with which seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from owseg.training.config import LoopConfig

Config = TypeVar("Config", bound=LoopConfig)


@dataclass(frozen=True)
class Member(Generic[Config]):
    """One of several trainings; ``title`` stands beside its progress."""

    config: Config
    run: Path
    resume: bool
    title: str = "training"


def members_of(count: int, config: Config, run: Path | str, resume: bool) -> list[Member[Config]]:
    """Return ``count`` trainings, each with a seed that none of another ``config.seed`` has, in a folder of its own.

    A single one has those given. With ``resume`` the first goes on, and those of the others that had begun.
    """
    if count == 1:
        return [Member(config, Path(run), resume)]
    found = []
    for i in range(count):
        place = Path(run) / f"member-{i + 1}"
        own = replace(config, seed=config.seed * count + i)
        goes_on = resume and (i == 0 or (place / "last.ckpt").is_file())
        found.append(Member(own, place, goes_on, f"training {i + 1} of {count}"))
    return found

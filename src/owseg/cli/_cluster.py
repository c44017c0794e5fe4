"""The options of commands that may share their images among the workers of a Ray cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli._compute import OPTIONS, PANEL, Compute
from owseg.errors import OwsegError

if TYPE_CHECKING:
    from owseg.models.cluster import Cluster


@dataclass(frozen=True)
class ClusterCompute(Compute):
    """``Compute`` of a command that may use a cluster: one that has a parameter of it has ``CLUSTER_OPTIONS``."""

    ray: str = ""
    ray_workers: str = ""

    def shared(self) -> tuple[Cluster | None, Compute]:
        """Return the cluster that is asked for, or None, and where this process has the network: then on its CPU.

        Raises ``OwsegError`` for numbers of workers that are none.
        """
        here = Compute(self.device, self.batch, self.workers, self.precision)
        if not self.ray:
            if self.ray_workers:
                raise OwsegError("--ray-workers is for --ray; give both, or --workers for threads.")
            return None, here
        from owseg.models.cluster import Cluster

        least, most = _bounds(self.ray_workers)
        cluster = Cluster(self.ray, least, most, self.workers or 1, self.device)
        return cluster, Compute("cpu", self.batch, self.workers, self.precision)


CLUSTER_OPTIONS = {
    **OPTIONS,
    "ray": Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", rich_help_panel=PANEL,
            help="Share the images among workers of a Ray cluster: HOST:PORT, auto for the one of this machine, or "
            "local for processes of this machine alone. Each has a GPU, or as many cores as --workers says.",
        ),
    ],
    "ray_workers": Annotated[
        str,
        typer.Option(
            metavar="N|MIN,MAX", rich_help_panel=PANEL,
            help="With --ray: how many workers, or between which numbers; by default as many as there is room for.",
        ),
    ],
}  # fmt: skip
"""The options by the name of the field; all of them are optional."""


def _bounds(text: str) -> tuple[int, int | None]:
    """Return the fewest and the most workers; None where that is not said."""
    parts = text.split(",") if text else []
    if len(parts) > 2 or not all(part.strip().isdecimal() for part in parts):
        raise OwsegError(f"--ray-workers is a number such as 4, or two such as 2,8, not {text!r}.")
    numbers = [int(part) for part in parts]
    return (1, None) if not numbers else (numbers[0], numbers[-1])

"""The options of every command that runs a network over images: on what, and how many at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from owseg._progress import logger
from owseg.cli._printing import print_note
from owseg.errors import OwsegError

if TYPE_CHECKING:
    from owseg.knowledge.base import KnowledgeBase
    from owseg.knowledge.model import Model

PANEL = "Compute"

EXPORTS = (".onnx", ".xml", ".pt")
"""How the names of exports end."""


def is_export(name: str) -> bool:
    """Return whether what is given as a knowledge base is a file that ``owseg export`` writes."""
    return Path(name).suffix in EXPORTS and Path(name).expanduser().is_file()


@dataclass(frozen=True)
class Compute:
    """What a person chose. A command that has a parameter of this type has ``OPTIONS`` in its place."""

    device: str = "auto"
    batch: int | None = None
    workers: int | None = None
    precision: str = "32"

    def load(self, name: str, version: int | None = None) -> KnowledgeBase:
        """Load a knowledge base, or a ``version`` of it, and move it to the device (see ``moved``)."""
        from owseg.knowledge.load import load

        device = self.checked()
        return self.moved(load(name, version), device)

    def open(self, name: str, task: str = "unknown") -> Model:
        """Load a knowledge base, for a ``task`` (see ``for_task``), or an export, which is for what it was made for."""
        if not is_export(name):
            from owseg.knowledge.tasks import for_task

            return for_task(self.load(name), task)
        from owseg.inference.runtime import load_export

        if task != "unknown":
            raise OwsegError("an export has one threshold; --task is for the knowledge base: export it again.")
        if self.device not in ("auto", "cpu"):
            raise OwsegError("an export runs on the CPU; omit --device.")
        return load_export(name, self.batch, self.workers, self.precision)

    def checked(self) -> Any:
        """Return the device; raise ``OwsegError`` for one that is not there, before any work."""
        from owseg.models.devices import choose_device

        return choose_device(self.device)

    def moved(self, kb: KnowledgeBase, device: Any) -> KnowledgeBase:
        """Return ``kb`` on ``device``, to be run as the other options say; name a device that is no CPU."""
        from owseg.models.devices import device_title

        line = f"Runs on {device_title(device)}."
        if device.type == "cpu":
            logger.debug(line)
        else:
            print_note(line)
        return kb.to(device, batch=self.batch, workers=self.workers, precision=self.precision)


OPTIONS = {
    "device": Annotated[
        str,
        typer.Option(
            rich_help_panel=PANEL, help="Where it runs: auto (a GPU if there is one), cpu, cuda, cuda:1 or mps."
        ),
    ],
    "batch": Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=PANEL, help="Images of one size run at once: 1 on a CPU, 8 on a GPU."),
    ],
    "workers": Annotated[
        int | None,
        typer.Option(
            min=1, rich_help_panel=PANEL,
            help="Threads that read images and work on them: as many as torch has (OMP_NUM_THREADS).",
        ),
    ],
    "precision": Annotated[
        str,
        typer.Option(
            rich_help_panel=PANEL,
            help="32, bf16 or 16 bits: fewer are faster on a GPU, and scores differ a little.",
        ),
    ],
}  # fmt: skip
"""The options by the name of the field; all of them are optional."""

"""What ``owseg train-residual`` and ``train-negative`` share: their options, what they read and how they end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli._options import data_spec, parse_names
from owseg.cli._printing import next_command, save_version

if TYPE_CHECKING:
    from owseg.data.dataset import DataSet
    from owseg.data.outliers import Outliers
    from owseg.knowledge.base import KnowledgeBase
    from owseg.labels import LabelSpace

Inliers = Annotated[
    str,
    typer.Option(
        callback=data_spec,
        help="Images of known classes only: a folder of images, or a data set (KIND:DIR). Labels are not needed.",
    ),
]


OutlierFolder = Annotated[
    Path,
    typer.Option(
        "--outliers", help="Folder of objects of unknown classes: RGBA cut-outs, images/ and masks/, or COCO."
    ),
]


Val = Annotated[
    str | None,
    typer.Option(callback=data_spec, help="Inliers to validate and calibrate on; by default an eighth of --inliers."),
]


Exclude = Annotated[
    str, typer.Option(help="Categories of outliers to leave out, besides the known classes: cow,sheep.")
]


@dataclass(frozen=True, eq=False)
class Given:
    """What a training on outliers starts from: the knowledge base, where the new one goes, the images by their use."""

    base: KnowledgeBase
    target: str
    train: DataSet
    choose: DataSet
    calibration: DataSet

    def finish(self, new: KnowledgeBase, fpr: float, slim: bool, as_json: bool) -> None:
        """Calibrate, store and print what to do next."""
        from owseg.evaluation.diagnostics import of_threshold
        from owseg.knowledge.calibration import calibrate
        from owseg.knowledge.versions import has_version

        new = calibrate(new, self.calibration, fpr)
        if not has_version(self.target):
            self.base.save(self.target, slim)  # so that it can be undone there, too
        hint = next_command("predict", "--kb", self.target, "IMAGES")
        if self.choose is self.calibration:
            few = f"{len(self.choose)} images to validate on are too few to be divided: they also calibrated."
            hint = f"Note: {few}\n{hint}"
        save_version(new, self.target, as_json, hint, slim, lambda: of_threshold(new.threshold))


def open_all(kb: str, out: str | None, inliers: str, val: str | None) -> Given:
    """Load the knowledge base and open the images; raise ``OwsegError`` where nothing can be stored, before a training.

    Half of ``val``, or of an eighth of ``inliers``, chooses the weights, the other half calibrates.
    """
    from owseg.data.unlabeled import hold_out, open_inliers
    from owseg.knowledge.calibration import divide_val
    from owseg.knowledge.load import load
    from owseg.knowledge.pretrained import writable

    target, base = writable(kb, out), load(kb)
    known = open_inliers(inliers, "train", base.labels)
    known, held_out = hold_out(known) if val is None else (known, open_inliers(val, "val", base.labels))
    return Given(base, str(target), known, *divide_val(held_out))


def open_objects(
    folder: Path, context: Path | None, exclude: str, labels: LabelSpace
) -> tuple[Outliers, Outliers | None]:
    """Return the outliers to paste, and those in their own images for CoroCL; None where there are only cut-outs."""
    from owseg.data.outliers import leave_out, open_outliers

    objects = open_outliers(folder).unknown_to(labels)
    others = open_outliers(context).unknown_to(labels) if context else objects
    return leave_out(parse_names(exclude), objects, others if context or others.in_context else None)

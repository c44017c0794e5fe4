"""``owseg correct``: a known class is found where annotated images show it, too."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli._compute import Compute
from owseg.cli._editing import KEPT_THRESHOLD
from owseg.cli._options import KB, Json, Out, Slim
from owseg.cli._printing import next_command, save_version
from owseg.cli._rebase import Rebase, on_newest
from owseg.cli.learn import (
    ImageFolder,
    Method,
    Not,
    Settings,
    Shots,
    annotated_shots,
    chosen_learner,
    diagnosis,
    with_counterexamples,
)
from owseg.errors import OwsegError

if TYPE_CHECKING:
    from owseg.knowledge.base import KnowledgeBase


def correct(
    kb: KB,
    known: Annotated[str, typer.Option(metavar="CLASS", help="The known class, of the network or learned.")],
    shots: Shots = None,
    images: ImageFolder = None,
    queue: Annotated[
        Path | None,
        typer.Option(help="Instead of --shots: a queue in which regions were marked as the class (owseg review, K)."),
    ] = None,
    not_: Not = None,
    method: Method = "",
    settings: Settings = None,
    rebase: Rebase = True,
    out: Out = None,
    slim: Slim = False,
    as_json: Json = False,
    compute: Compute = Compute(),  # noqa: B008
) -> None:
    """Extend a known class by what annotated images show: there it was unknown, or another class.

    Nothing is trained anew: what is learned of the images is added to the class. Undo with owseg rollback.
    """
    from owseg.discovery.queue_shots import shots_to_correct
    from owseg.knowledge.pretrained import writable
    from owseg.learners.learn import correct as corrected
    from owseg.learners.sequence import ClassShots, save_stages
    from owseg.models.cache import CachedForward

    if (shots is None) == (queue is None):
        raise OwsegError(f"give --shots FOLDER or --queue QUEUE, of what is {known}, and not both.")
    if images is not None and shots is None:
        raise OwsegError("--images says where the images of --shots are; with --queue leave it out.")
    target, base, learner = writable(kb, out), compute.load(kb), chosen_learner(method, settings)
    hint = KEPT_THRESHOLD + next_command("predict", "--kb", target, "IMAGES")

    def step(base: KnowledgeBase) -> None:
        forward = CachedForward(base.engine())
        if shots is not None:
            to_learn = annotated_shots([known], shots, images)
        else:
            to_learn = [ClassShots(known, shots_to_correct(queue or "", known, base, forward))]
        (new,) = to_learn if not_ is None else with_counterexamples(to_learn, not_)
        made = corrected(base, known, new.shots, method=learner, forward=forward)
        save_stages(base, [], target, slim)  # as it was, so that it can be undone
        check = partial(diagnosis, (base, made), [new], learner, forward, False)
        save_version(made, target, as_json, hint, slim, check)

    on_newest(step, kb, target, base, rebase, compute.load)

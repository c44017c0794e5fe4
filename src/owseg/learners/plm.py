"""DMLNet's pseudo-label method (PLM): a new head for each class, trained on pseudo-labels and the annotation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.increments.base import Increment
from owseg.knowledge.base import KnowledgeBase
from owseg.labels import IGNORE
from owseg.learners._head_training import HeadTraining, train_head, views_of
from owseg.models.ops import closed_map_at
from owseg.types import Forward, Output, Shot


@dataclass(frozen=True)
class PLM:
    """A new head for each class, in a space one dimension larger (DMLNet, Sec. 4.3, Algorithm 1).

    The head starts from the one before it and is trained by the network's own loss on the shots and their mirror
    images, whose pixels the old heads label and the annotation overrides; void stays void. Backbone and old heads
    are frozen, batch statistics included. With ``heads`` "all" each head predicts its own class, with "latest" the
    newest labels every pixel. It is trained for ``steps`` of one image with AdamW at ``lr``; ``variance_weight`` is
    lambda_VL, ``balance`` as in ``TrainConfig``. The pyramids of a few shots are computed once. Of a counterexample the
    old heads label all that is not void.
    """

    heads: str = "all"
    steps: int = 200
    lr: float = 1e-3
    variance_weight: float = 0.01
    balance: float = 0.5
    seed: int = 0
    method = "plm"

    def __call__(self, kb: KnowledgeBase, name: str, shots: Sequence[Shot], forward: Forward) -> tuple[Increment, ...]:
        """Return the increments with a head trained on ``pseudo_labels``."""
        if self.heads not in ("all", "latest"):
            raise OwsegError(f"the heads that PLM uses are 'all' or 'latest', not {self.heads!r}.")
        views = views_of(shots, forward, partial(pseudo_labels, kb))
        how = HeadTraining(self.steps, self.lr, self.variance_weight, self.balance, self.seed)
        return (*kb.increments, train_head(kb, name, views, how, self.heads == "latest"))


@torch.no_grad()
def pseudo_labels(kb: KnowledgeBase, output: Output, shot: Shot) -> np.ndarray:
    """Return the pseudo-label map (H, W) uint8 of a shot of the next class (DMLNet, Algorithm 1).

    The base head labels every pixel, each older increment writes its class where it predicts it, void becomes IGNORE,
    and the annotation is written last.
    """
    # The order is the paper's; its released code labels void as well, and lets older heads overwrite annotated pixels.
    labels = closed_map_at(output.logits, shot.size)
    for increment in kb.increments:
        labels = labels.masked_fill(increment.predict_mask(output, shot.size), kb.labels.index(increment.name))
    pseudo: np.ndarray = labels[0].to(torch.uint8).cpu().numpy()
    if shot.void is not None:
        pseudo[shot.void] = IGNORE
    pseudo[shot.positives] = len(kb.labels)
    return pseudo


CARDS = (
    Card(
        "plm",
        "DMLNet's pseudo-label method: a head for each class",
        make=PLM,
        source="Cen et al., ICCV 2021, Sec. 4.3",
        options={
            "heads": "all or latest",
            "steps": "training steps",
            "lr": "learning rate",
            "variance_weight": "lambda_VL",
            "balance": "a class of pixel frequency q weighs q^-balance in the cross-entropy",
            "seed": "of the training",
        },
    ),
)

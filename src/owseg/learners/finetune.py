"""Fine-tuning on the shots alone: the baseline that forgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from owseg._registry import Card
from owseg.data.lazy import Lazy
from owseg.increments.base import Increment
from owseg.knowledge.base import KnowledgeBase
from owseg.labels import IGNORE
from owseg.learners._head_training import HeadTraining, train_head, views_of
from owseg.types import Forward, Output, Shot


@dataclass(frozen=True)
class FineTune:
    """Train the newest head further, on the annotated pixels alone (the FT row of DMLNet, Table 4).

    No pseudo-labels are made of the other pixels, so nothing keeps the old classes in place, and counterexamples say
    nothing. The options are those of ``PLM``.
    """

    steps: int = 50
    lr: float = 1e-3
    variance_weight: float = 0.01
    balance: float = 0.0
    seed: int = 0
    method = "finetune"

    def __call__(self, kb: KnowledgeBase, name: str, shots: Sequence[Shot], forward: Forward) -> tuple[Increment, ...]:
        """Return the increments with a head that labels every pixel."""
        showing = Lazy([i for i, shot in enumerate(shots) if not shot.is_counterexample], shots.__getitem__)

        def target(_: Output, shot: Shot) -> np.ndarray:
            # The new class gets the next free id; all else is ignored, not background.
            return np.where(shot.positives, len(kb.labels), IGNORE).astype(np.uint8)

        how = HeadTraining(self.steps, self.lr, self.variance_weight, self.balance, self.seed)
        return (*kb.increments, train_head(kb, name, views_of(showing, forward, target), how, alone=True))


CARDS = (
    Card(
        "finetune",
        "fine-tuning on the shots alone: the baseline that forgets",
        make=FineTune,
        source="Cen et al., ICCV 2021, Table 4",
        options={
            "steps": "training steps",
            "lr": "learning rate",
            "variance_weight": "lambda_VL",
            "balance": "a class of pixel frequency q weighs q^-balance in the cross-entropy",
            "seed": "of the training",
        },
    ),
)

"""How to train: the settings of every kind of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from owseg.data.copy_paste import SIZES
from owseg.errors import OwsegError

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""The precisions that training can be asked for; all keep the weights in 32 bits, the last needs a GPU."""


def check_settings(config: Any) -> None:
    """Raise ``OwsegError`` for settings that no training can run with (those that all kinds of training share)."""
    least = {"epochs": 1, "batch": 1, "devices": 1, "validate_every": 1, "seed": 0}
    for name, limit in least.items():
        if getattr(config, name) < limit:
            raise OwsegError(f"{name} is {limit} or more, not {getattr(config, name)}.")
    if min(config.crop) < 32:
        raise OwsegError(f"a training view is at least 32x32 pixels, not {config.crop[0]}x{config.crop[1]}.")
    if config.precision not in PRECISIONS:
        raise OwsegError(f"there is no precision {config.precision!r}; it is one of {', '.join(PRECISIONS)}.")


@dataclass(frozen=True)
class TrainConfig:
    """How to train; what is most often changed is an option of ``owseg train``.

    The first ``small`` share of the epochs sees crops of half the size from images of half the size, at a quarter
    of the cost. ``ema`` is the decay per step of the averaged weights. A class of pixel frequency q weighs q^-balance
    in the cross-entropy. Learning rates follow one cycle.
    """

    epochs: int = 60
    batch: int = 8
    crop: tuple[int, int] = (256, 352)
    scale: tuple[float, float] = (0.75, 2.0)
    jitter: float = 0.3
    small: float = 0.4
    lr: float = 2e-3
    backbone_lr: float = 5e-4
    weight_decay: float = 1e-2
    variance_weight: float = 0.01
    balance: float = 0.5
    freeze_stem: bool = True
    ema: float = 0.99
    validate_every: int = 5
    seed: int = 0
    precision: str = "32-true"
    devices: int = 1

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class ResidualConfig:
    """How to train a residual pattern.

    ``pasted`` outliers of ``sizes`` (see ``paste``) are put into a street; a view of it is ``crop`` pixels, resized by
    a factor in ``scale``. The loss is ``inlier_weight (CE + entropy_weight EM) + outlier_weight PE +
    contrast_weight CoroCL`` (see ``owseg.outlier_losses``); CoroCL samples ``samples`` pixels of each of its four sets.
    Learning rates follow one cycle; ``final_lr`` is that of the last convolution, which starts at zero and has far to
    go. The paper's ``outlier_weight`` is 0.05 and its ``contrast_weight`` 1; they, ``pasted`` and ``final_lr`` were
    chosen on pasted val streets.
    """

    epochs: int = 20
    batch: int = 8
    crop: tuple[int, int] = (384, 512)
    scale: tuple[float, float] = (1.0, 2.0)
    jitter: float = 0.3
    pasted: int = 4
    sizes: tuple[float, float] = SIZES
    feather: float = 0.0
    lr: float = 1e-3
    final_lr: float = 1e-2
    weight_decay: float = 1e-2
    inlier_weight: float = 1.0
    entropy_weight: float = 1.0
    outlier_weight: float = 0.5
    contrast_weight: float = 0.1
    samples: int = 512
    temperature: float = 0.1
    validate_every: int = 2
    seed: int = 0
    precision: str = "32-true"
    devices: int = 1

    def __post_init__(self) -> None:
        check_settings(self)

"""How many epochs a training takes where its images are fewer than usual."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TypeVar

from owseg.training.config import LoopConfig

USUAL_IMAGES = 367
"""The images of CamVid's train split, for which the usual epochs were chosen."""

Config = TypeVar("Config", bound=LoopConfig)


def enough_epochs(config: Config, images: int) -> Config:
    """Return ``config`` with the number of epochs that suits so many images.

    Where they are fewer than ``USUAL_IMAGES``, for which the usual epochs were chosen, there are more epochs, so that
    there are as many steps; the training is validated as often as before.
    """
    usual, steps = (ceil(count / config.batch) for count in (USUAL_IMAGES, max(1, images)))
    epochs, every = (ceil(number * max(1, usual / steps)) for number in (config.epochs, config.validate_every))
    return replace(config, epochs=epochs, validate_every=every)

"""The normalisation that is stored beside published weights (preprocessor_config.json)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

FILES = ("preprocessor_config.json", "processor_config.json")


def stored_normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and standard deviation of RGB in [0, 1] of the model ``name``; None where nothing is said of them.

    ``name`` is a hub name or a local path. Raises ``OSError`` or ``ValueError`` for a file that is damaged.
    """
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        values = ImageProcessingMixin.get_image_processor_dict(name)[0]
    except OSError:
        if any((Path(name) / file).is_file() for file in FILES):
            raise
        return None
    return read_normalisation(values)


def read_normalisation(values: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and standard deviation of RGB in [0, 1] from a preprocessor's values; None where it has none.

    A preprocessor multiplies bytes by ``rescale_factor`` (by default 1/255), subtracts ``image_mean`` and divides by
    ``image_std``. Raises ``ValueError`` for values that are not three numbers, or deviations that are not positive.
    """
    if values.get("image_mean") is None or values.get("image_std") is None:
        return None
    # What the preprocessor makes of white, where [0, 1] has 1.
    white = 255 * values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 255.0
    mean, std = values["image_mean"], values["image_std"]
    if not values.get("do_normalize", True):
        mean, std = [0.0] * 3, [1.0] * 3
    for numbers in (mean, std):
        whole = isinstance(numbers, list) and len(numbers) == 3 and all(_is_number(n) for n in numbers)
        if not whole:
            raise ValueError(f"{FILES[0]} has {numbers!r} where three numbers are needed")
    if min(*std, white) <= 0:
        raise ValueError(f"{FILES[0]} has deviations or a factor that are not positive")
    return tuple(m / white for m in mean), tuple(s / white for s in std)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)

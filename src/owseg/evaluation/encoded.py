"""Arrays as bytes: a safetensors in a zstd frame with a checksum, so that a truncated or altered file is detected."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import zstandard
from safetensors import SafetensorError
from safetensors import numpy as safetensors

SUFFIX = ".safetensors.zst"


class Damaged(ValueError):
    """The bytes are not what ``encode`` returned."""


def encode(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays as bytes."""
    # safetensors writes the buffer of an array as it lies, whatever its strides say.
    whole = safetensors.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(whole)


def decode(data: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of what ``encode`` returned; raise ``Damaged`` for anything else."""
    try:
        arrays: dict[str, np.ndarray] = safetensors.load(zstandard.ZstdDecompressor().decompress(data))
    except (zstandard.ZstdError, SafetensorError, MemoryError) as error:  # an altered header asks for any memory
        raise Damaged(str(error)) from None
    return arrays

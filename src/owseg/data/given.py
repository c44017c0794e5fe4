"""Images as a caller has them, in the form of samples: paths, arrays, tensors, PIL images, one or many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from owseg.data.images import as_image, image_name
from owseg.types import Sample


@dataclass(frozen=True, eq=False)
class Given:
    """Samples without ground truth of ``images``, each what ``read`` takes and read when it is its turn.

    ``ids`` are by default the file names of those that are paths, and empty for others.
    """

    images: Sequence[Any]
    ids: Sequence[str] | None = None
    read: Callable[[Any], np.ndarray] = as_image

    def __len__(self) -> int:
        return len(self.images)

    def pick(self, numbers: Sequence[int]) -> Given:
        """Return the images ``numbers``, in that order."""
        return Given([self.images[i] for i in numbers], None if self.ids is None else [self.ids[i] for i in numbers])

    def __getitem__(self, i: int) -> Sample:
        """Read image ``i``; raise ``OwsegError`` for what is not one."""
        image = self.images[i]
        return Sample(self.read(image), None, image_name(image) if self.ids is None else self.ids[i])

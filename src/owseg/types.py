"""The values that flow: a sample goes in, an output comes out of the network, scorers and learners read it.

Shapes: B batch, K known classes, D embedding, (H, W) full resolution, (h, w) network resolution.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from owseg.errors import OwsegError

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_SHOTS = 5
"""How many images are drawn for a class where nobody says how many, as in DMLNet, Sec. 4.3; any number may be given."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One image and, where there is one, its ground truth.

    ``image`` (3, H, W) uint8 RGB; ``target`` (H, W) uint8 class ids with KNOWN, UNKNOWN and IGNORE, or None; ``id`` its
    name. A target to evaluate with may have more pixels than the image (see ``Source.finer``).
    """

    image: np.ndarray
    target: np.ndarray | None
    id: str

    def mask_for(self, use: str) -> np.ndarray:
        """Return the ground truth; raise ``OwsegError``, which names its ``use``, where there is none."""
        if self.target is None:
            raise OwsegError(f"{self.id} has no mask; {use} needs one for every image: add it, or remove the image.")
        return self.target


@dataclass(frozen=True, eq=False)
class Output:
    """The result of one forward pass, for scorers, learners and increments to read.

    ``features`` the backbone's pyramid, one (B, C_i, h_i, w_i) per stage, finest first; ``embedding`` (B, D, h, w);
    ``logits`` (B, K, h, w). With a prototype classifier D = K and ``logits[:, t] = -||embedding - m_t||^2``; then
    ``evidence`` (B, K, h, w) has the same softmax without the term ``-||embedding||^2``, which is common to all classes
    and whose size hides their differences in float32. ``residual`` (B, K, h, w) is the evidence with a residual pattern
    added, where one was learned (see ``owseg.models.residual_pattern``). ``negative`` (B, h, w) is the logit of
    what is none of them against all of them, where the network was shown outliers. ``image`` (B, 3, H, W) uint8 is what
    the network was run on, before it was resized; an ``Engine`` adds it.
    """

    features: tuple[Tensor, ...]
    embedding: Tensor
    logits: Tensor
    residual: Tensor | None = None
    evidence: Tensor | None = None
    negative: Tensor | None = None
    image: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Output:
        """Return the output with ``function`` of each of its tensors."""
        # A linear classifier's evidence is its logits: once the same tensor, always the same tensor.
        done: dict[int, Tensor] = {}

        def once(tensor: Tensor) -> Tensor:
            if id(tensor) not in done:
                done[id(tensor)] = function(tensor)
            return done[id(tensor)]

        values = {f.name: getattr(self, f.name) for f in fields(self)}
        stages = tuple(once(stage) for stage in values.pop("features"))
        rest: dict[str, Any] = {name: None if value is None else once(value) for name, value in values.items()}
        return Output(stages, **rest)

    def of(self, i: int) -> Output:
        """Return the output of image ``i`` of the batch alone, as a batch of one."""
        return self.map(lambda tensor: tensor[i : i + 1])

    @property
    def softmax_logits(self) -> Tensor:
        """What to take a softmax of, (B, K, h, w) float32: the evidence where there is one, else the logits."""
        return (self.logits if self.evidence is None else self.evidence).float()


Scorer: TypeAlias = Callable[[Output], "Tensor"]
"""``Output -> (B, h, w)``: any callable; higher means more anomalous."""

ImageScorer: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""Image (3, H, W) uint8 -> score (H, W) float32, where it needs more than one ``Output``; higher = more anomalous."""


class Forward(Protocol):
    """Image (3, H, W) uint8 -> ``Output``: ``KnowledgeBase.forward``, an ``Engine``, or one whose outputs are cached.

    The network sees the image at its working size, with sides ``scale`` times as long.
    """

    def __call__(self, image: np.ndarray, scale: float = 1.0) -> Output:
        """Return the output for ``image``."""
        ...


@dataclass(frozen=True, eq=False)
class Shot:
    """One annotated image: ``image`` (3, H, W) uint8, ``positives`` (H, W) bool where the class is.

    The positives mark the class wherever the image shows it. ``void`` (H, W) bool, where given, marks pixels that
    nobody could name; they are ignored. ``id`` is the image's name. A shot without positives is a counterexample: all
    that is not void in it is not the class.
    """

    image: np.ndarray
    positives: np.ndarray
    id: str
    void: np.ndarray | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.positives.shape[0], self.positives.shape[1]

    @property
    def negatives(self) -> np.ndarray:
        """Where the class is not, (H, W) bool: neither positive nor void."""
        return ~self.positives if self.void is None else ~(self.positives | self.void)

    @property
    def is_counterexample(self) -> bool:
        """Whether it says only what is not the class."""
        return not self.positives.any()

    @classmethod
    def counterexample(cls, image: np.ndarray, negatives: np.ndarray, id: str) -> Shot:
        """Return a shot that says of ``negatives`` (H, W) bool that they are not the class, and nothing of the rest."""
        return cls(image, np.zeros_like(negatives), id, ~negatives)

    def mirrored(self) -> Shot:
        """Return the shot flipped horizontally."""
        image, positives = np.ascontiguousarray(self.image[:, :, ::-1]), np.ascontiguousarray(self.positives[:, ::-1])
        void = None if self.void is None else np.ascontiguousarray(self.void[:, ::-1])
        return Shot(image, positives, self.id, void)

    def fingerprint(self) -> str:
        """Return the first 16 hexadecimal digits of the SHA-256 of image, positives and void."""
        digest = hashlib.sha256(np.ascontiguousarray(self.image).tobytes() + np.packbits(self.positives).tobytes())
        if self.void is not None and self.void.any():
            digest.update(np.packbits(self.void).tobytes())
        return digest.hexdigest()[:16]

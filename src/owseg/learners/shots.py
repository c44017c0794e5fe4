"""Shots: the one to five annotated pictures that a class is learned from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F

from owseg.errors import OwsegError
from owseg.labels import IGNORE
from owseg.types import Output

if TYPE_CHECKING:
    from owseg.data.source import DataSet

MAX_SHOTS = 5
"""A person annotates at most this many pictures of a class (DMLNet, Sec. 4.3)."""

Look: TypeAlias = Callable[[np.ndarray], Output]
"""A picture (3, H, W) uint8 -> what the network makes of it: ``KnowledgeBase.forward``, or one that remembers."""


@dataclass(frozen=True, eq=False)
class Shot:
    """One annotated picture: image (3, H, W) uint8, ``mask`` (H, W) bool where the class is.

    The mask marks the class wherever the picture shows it. ``void`` (H, W) bool, where given, marks what nobody could
    name; it counts for nothing. All other pixels carry no annotation.
    """

    image: np.ndarray
    mask: np.ndarray
    id: str
    void: np.ndarray | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.mask.shape[0], self.mask.shape[1]

    @property
    def elsewhere(self) -> np.ndarray:
        """Where the class is not, (H, W) bool: neither mask nor void."""
        return ~self.mask if self.void is None else ~(self.mask | self.void)

    def mirrored(self) -> Shot:
        """Return the shot as a mirror shows it."""
        void = None if self.void is None else np.ascontiguousarray(self.void[:, ::-1])
        image, mask = np.ascontiguousarray(self.image[:, :, ::-1]), np.ascontiguousarray(self.mask[:, ::-1])
        return Shot(image, mask, self.id, void)

    def scaled(self, factor: float) -> Shot:
        """Return the shot with sides ``factor`` times as long."""
        if factor == 1:
            return self
        size = [max(1, round(factor * side)) for side in self.size]
        image = F.interpolate(torch.from_numpy(self.image)[None].float(), size=size, mode="bilinear", antialias=True)
        mask, void = (
            None if m is None else F.interpolate(torch.from_numpy(m)[None, None].float(), size=size)[0, 0].numpy() > 0
            for m in (self.mask, self.void)
        )
        assert mask is not None
        return Shot(image[0].round().byte().numpy(), mask, self.id, void)

    def fingerprint(self) -> str:
        """Return the first 16 hexadecimal digits of the SHA-256 of picture, mask and void."""
        digest = hashlib.sha256(np.ascontiguousarray(self.image).tobytes() + np.packbits(self.mask).tobytes())
        if self.void is not None and self.void.any():
            digest.update(np.packbits(self.void).tobytes())
        return digest.hexdigest()[:16]


def shot_of(data: DataSet, i: int, name: str) -> Shot:
    """Return frame ``i`` of ``data`` as a shot of the class ``name``; every other class of its truth is hidden."""
    image, raw = data.source.read(i)
    if raw is None:
        raise OwsegError(f"{data.source.ids[i]} has no mask; a shot needs one.")
    return Shot(image, raw == data.source.classes.index(name), data.source.ids[i], raw == IGNORE)


def shots_from(data: DataSet, name: str, count: int, seed: int = 0, top: float = 0.2) -> list[Shot]:
    """Draw ``count`` shots of the class ``name`` from ``data``: a seeded draw among the frames that show it best.

    Of the frames that show the class at all, the share ``top`` in which it covers most pixels (at least ``count``
    frames) are drawn from: what a person would choose who wants to teach it. Raises ``OwsegError`` for too few.
    """
    if not 1 <= count <= MAX_SHOTS:
        raise OwsegError(f"a class is learned from 1 to {MAX_SHOTS} shots, not {count}.")
    if seed < 0:
        raise OwsegError(f"a seed is 0 or above, not {seed}.")
    if not 0 < top <= 1:
        raise OwsegError(f"shots are drawn from the best share of the frames, above 0 and at most 1, not {top}.")
    label = data.source.classes.index(name)
    pixels = {}
    for i in range(len(data)):
        raw = data.source.read(i)[1]
        if raw is not None and (covered := int((raw == label).sum())):
            pixels[i] = covered
    if len(pixels) < count:
        raise OwsegError(f"only {len(pixels)} pictures of {data.source.name} show {name}; {count} are needed.")
    best = sorted(pixels, key=lambda i: (-pixels[i], i))[: max(count, round(top * len(pixels)))]
    drawn = np.random.default_rng(seed).choice(sorted(best), size=count, replace=False)
    return [shot_of(data, i, name) for i in sorted(int(d) for d in drawn)]


def shots_in(folder: str | Path) -> list[Shot]:
    """Read ``images/NAME.*`` and ``masks/NAME.*``; a mask is 0 off the class and one other value on it.

    255 is void, as everywhere, unless the masks hold 0 and 255 and nothing else: then it is the class. Raises
    ``OwsegError`` for a picture without a mask, a mask without a picture, two of one name, and what is no such mask.
    """
    from owseg.data.images import by_stem, read_image, read_marks, two_valued

    folder = Path(folder).expanduser()
    masks, images = by_stem(folder / "masks"), by_stem(folder / "images")
    if lonely := sorted(images.keys() - masks.keys()):
        raise OwsegError(f"{images[lonely[0]]} has no mask of the same name in {folder / 'masks'}.")
    if lonely := sorted(masks.keys() - images.keys()):
        raise OwsegError(f"{masks[lonely[0]]} has no picture of the same name in {folder / 'images'}.")
    white = two_valued(masks.values())
    marks = {name: read_marks(masks[name], white) for name in images}
    pictures = {name: read_image(path, upright=False) for name, path in images.items()}
    return [Shot(pictures[name], mask, name, void) for name, (mask, void) in marks.items()]


def check_shots(name: str, shots: Sequence[Shot]) -> None:
    """Raise ``OwsegError`` for no shot, more than five, masks of another size, or one that does not show the class."""
    if not 1 <= len(shots) <= MAX_SHOTS:
        raise OwsegError(f"a class is learned from 1 to {MAX_SHOTS} shots, not {len(shots)}.")
    for shot in shots:
        if shot.image.ndim != 3 or len(shot.image) != 3 or shot.image.dtype != np.uint8:
            what = f"{shot.image.shape} {shot.image.dtype}"
            raise OwsegError(f"the picture of {shot.id} is {what}; give (3, H, W) uint8.")
        for mask in (shot.mask, shot.void):
            if mask is not None and mask.dtype != bool:
                raise OwsegError(f"a mask of {shot.id} is {mask.dtype}; give bool, true on the class.")
            if mask is not None and mask.shape != shot.image.shape[1:]:
                raise OwsegError(
                    f"the mask of {shot.id} is {mask.shape[1]}x{mask.shape[0]} and its picture "
                    f"{shot.image.shape[2]}x{shot.image.shape[1]}; they must be of one size."
                )
        if not shot.mask.any():
            reason = " (it is all void)" if shot.void is not None and shot.void.all() else ""
            raise OwsegError(
                f"the mask of {shot.id} marks no pixel of {name}{reason}; mark the class or leave the shot out."
            )


def remember(look: Look, gigabytes: float = 2.0) -> Look:
    """Return ``look`` with a memory: each picture is looked at once, as long as what was seen fits into ``gigabytes``.

    Learning never touches the network, so what it once made of a picture stays true. Outputs take about 4 MB for a
    MobileNetV2 at 480x360; once the memory is full, further pictures are looked at each time.
    """
    seen: dict[str, Output] = {}
    room = gigabytes * 2**30

    def looked(image: np.ndarray) -> Output:
        nonlocal room
        key = hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()
        if key in seen:
            return seen[key]
        output = look(image)
        size = sum(t.numel() * t.element_size() for t in (*output.features, output.embedding, output.logits))
        if size <= room:
            seen[key], room = output, room - size
        return output

    return looked

"""A camera, the light of a scene, and a canvas that paints image and labels with the same strokes.

World coordinates are metres: x to the right, y up from the ground, z away from the camera.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from owseg.labels import LabelSpace

CLASSES = LabelSpace.from_json(
    [
        {"name": "road", "color": (104, 92, 120)},
        {"name": "pavement", "color": (216, 148, 176)},
        {"name": "building", "color": (150, 110, 84)},
        {"name": "sky", "color": (120, 184, 230)},
        {"name": "tree", "color": (84, 150, 66)},
        {"name": "pole", "color": (238, 200, 60)},
        {"name": "vehicle", "color": (44, 74, 176)},
        {"name": "person", "color": (222, 52, 56)},
        {"name": "animal", "color": (255, 128, 0)},
        {"name": "mattress", "color": (0, 214, 190)},
        {"name": "boulder", "color": (150, 40, 200)},
        {"name": "balloon", "color": (170, 240, 40)},
    ]
)
"""The eight known classes, then the four kinds of anomalies."""


Color = Sequence[float]


Point = tuple[float, float]


Point3 = tuple[float, float, float]


_T = TypeVar("_T")


def pick(rng: Generator, items: Sequence[_T]) -> _T:
    """Return one of ``items`` at random, each with the same probability."""
    return items[int(rng.integers(len(items)))]


def mix(a: Color, b: Color, t: float) -> tuple[float, float, float]:
    """Return the colour a fraction ``t`` of the way from ``a`` to ``b``."""
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t


def jitter(rng: Generator, color: Color, amount: float = 12.0) -> tuple[float, float, float]:
    """Return ``color`` with its brightness and its hue changed at random, by up to ``amount``."""
    d = rng.uniform(-1, 1, 4) * amount
    return color[0] + d[0] + d[3] / 2, color[1] + d[0] + d[1] / 2, color[2] + d[0] + d[2] / 2


@dataclass(frozen=True)
class View:
    """A pinhole camera at height ``eye``, ``side`` metres off the middle of a street that bends.

    A point (x, y, z) is projected to ``(cx + f/z (x - side + bend z^2), cy + f/z (eye - y))`` pixels, f being
    ``focal``.
    """

    width: int
    height: int
    focal: float
    cx: float
    cy: float
    eye: float
    side: float
    bend: float

    def at(self, x: float, y: float, z: float) -> Point:
        """Return the projection of a point, in pixels."""
        # Pixels per metre at this depth; the street bends as a parabola.
        s = self.focal / z
        return self.cx + s * (x - self.side + self.bend * z * z), self.cy + s * (self.eye - y)

    @property
    def near(self) -> float:
        """The depth of the ground at the lower edge of the image."""
        return self.focal * self.eye / (self.height - self.cy)


@dataclass(frozen=True)
class Light:
    """The time of day and the weather.

    Sky colours, tints of lit and of shaded surfaces, strength of shadows 0..255, haze per metre, clouds 0..1, lamps on
    or off, and the ``side`` on which the sun is: 1 right, -1 left.
    """

    zenith: Color
    horizon: Color
    sun: Color
    shade: Color
    shadow: int
    haze: float
    cloud: float
    lamps: bool
    side: int = 1


class Canvas:
    """An image and its label map, painted by the same strokes, so that they agree to the pixel."""

    def __init__(self, view: View, light: Light):
        self.view, self.light = view, light
        self.image = Image.new("RGB", (view.width, view.height))
        self.labels = Image.new("L", (view.width, view.height), CLASSES.index("sky"))
        self._ink, self._glaze = ImageDraw.Draw(self.image), ImageDraw.Draw(self.image, "RGBA")
        self._mark = ImageDraw.Draw(self.labels)

    def tone(self, color: Color, z: float, lit: float = 1.0) -> tuple[int, int, int]:
        """Return ``color`` in this light, ``lit`` 0 (shade) to 1 (sun), through ``z`` metres of haze."""
        c = [a * b for a, b in zip(color, mix(self.light.shade, self.light.sun, lit), strict=True)]
        # Beer-Lambert: the light of the object falls off as exp(-haze z), that of the air takes its place.
        r, g, b = mix(c, self.light.horizon, 1 - math.exp(-z * self.light.haze))
        return min(max(int(r), 0), 255), min(max(int(g), 0), 255), min(max(int(b), 0), 255)

    def polygon(self, points: Sequence[Point], ink: tuple[int, int, int], name: str) -> None:
        """Fill a polygon of canvas pixels with a colour, and with the class ``name``."""
        self._ink.polygon(points, ink)
        self._mark.polygon(points, CLASSES.index(name))

    def ellipse(self, box: Sequence[float], ink: tuple[int, int, int], name: str) -> None:
        """Fill the ellipse in ``box`` (left, top, right, bottom) with a colour, and with the class ``name``."""
        self._ink.ellipse(box, ink)
        self._mark.ellipse(box, CLASSES.index(name))

    def face(self, points: Sequence[Point3], color: Color, name: str, lit: float = 1.0) -> None:
        """Fill a polygon that is given in world coordinates."""
        # One tone for the whole face, that of its mean depth.
        z = sum(p[2] for p in points) / len(points)
        self.polygon([self.view.at(*p) for p in points], self.tone(color, z, lit), name)

    def glaze(self, points: Sequence[Point], color: Color, alpha: float) -> None:
        """Blend a colour, ``alpha`` 0..255, over a polygon of the image; the labels stay."""
        self._glaze.polygon(points, (int(color[0]), int(color[1]), int(color[2]), int(alpha)))

    def glow(self, x: float, y: float, radius: float, color: Color) -> None:
        """Blend a soft light of a radius in pixels around a canvas point; the labels stay."""
        # Discs on top of each other: the smaller, the brighter.
        for r in (1.0, 0.84, 0.7, 0.57, 0.46, 0.36, 0.27, 0.18):
            box = (x - r * radius, y - r * radius, x + r * radius, y + r * radius)
            self._glaze.ellipse(box, (int(color[0]), int(color[1]), int(color[2]), 16))


class Billboard:
    """A flat upright object at (x, z): u to the right and v up in ``unit`` metres, u scaled by ``turn``."""

    def __init__(self, canvas: Canvas, x: float, z: float, name: str, unit: float = 1.0, turn: float = 1.0):
        self.canvas, self.z, self.name, self.turn = canvas, z, name, turn
        self.ox, self.oy = canvas.view.at(x, 0.0, z)
        self.scale = canvas.view.focal / z * unit

    def at(self, u: float, v: float) -> Point:
        """Return the canvas point of (u, v)."""
        return self.ox + u * self.turn * self.scale, self.oy - v * self.scale

    def polygon(self, points: Sequence[Point], color: Color, lit: float = 0.8) -> None:
        """Fill a polygon."""
        self.canvas.polygon([self.at(u, v) for u, v in points], self.canvas.tone(color, self.z, lit), self.name)

    def box(self, u0: float, v0: float, u1: float, v1: float, color: Color, lit: float = 0.8) -> None:
        """Fill the rectangle between two corners."""
        self.polygon([(u0, v0), (u1, v0), (u1, v1), (u0, v1)], color, lit)

    def ellipse(self, u: float, v: float, ru: float, rv: float, color: Color, lit: float = 0.8) -> None:
        """Fill an ellipse about (u, v)."""
        (x, y), rx, ry = self.at(u, v), abs(ru * self.turn) * self.scale, rv * self.scale
        self.canvas.ellipse((x - rx, y - ry, x + rx, y + ry), self.canvas.tone(color, self.z, lit), self.name)

    def limb(self, joints: Sequence[tuple[float, float, float]], color: Color, lit: float = 0.8) -> None:
        """Paint a limb through the joints (u, v, half width): tapered pieces with round ends."""
        for (u0, v0, r0), (u1, v1, r1) in pairwise(joints):
            du, dv = (u1 - u0) * abs(self.turn), v1 - v0
            n = max((du * du + dv * dv) ** 0.5, 1e-6)
            # The normal of the piece; its u is divided by the turn, so that a limb at an angle to the view is as thick.
            a, b = -dv / n / max(abs(self.turn), 0.3), du / n
            corners = [(u0 + a * r0, v0 + b * r0), (u1 + a * r1, v1 + b * r1)]
            self.polygon([*corners, (u1 - a * r1, v1 - b * r1), (u0 - a * r0, v0 - b * r0)], color, lit)
        for u, v, r in joints:
            # Below that a round end is less than a few pixels, and is not drawn.
            if r * self.scale > 1.5:
                self.ellipse(u, v, r / max(abs(self.turn), 0.3), r, color, lit)


def smooth(points: Sequence[Point], steps: int = 5) -> list[Point]:
    """Return the closed Catmull-Rom curve through ``points``."""
    p = np.asarray(points, float)
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    a, b, c, d = (np.roll(p, k, axis=0)[:, None] for k in (1, 0, -1, -2))
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return [(float(u), float(v)) for u, v in curve.reshape(-1, 2)]


def blob(u: float, v: float, ru: np.ndarray, rv: np.ndarray) -> list[Point]:
    """Return the closed outline about (u, v) whose radii, in equal steps of the angle, are ``ru`` and ``rv``."""
    turn = np.linspace(0, 2 * np.pi, len(ru), endpoint=False)
    return list(zip((u + ru * np.cos(turn)).tolist(), (v + rv * np.sin(turn)).tolist(), strict=True))

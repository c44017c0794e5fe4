"""What stands in a synthetic street: a canvas that paints picture and labels with one brush, and the things drawn on it.

World coordinates are metres: x to the right, y up from the ground, z away from the camera. A thing is a function
``(canvas, rng, x, z, ...) -> None`` that paints itself at its place; whoever calls paints the far ones first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from owseg.labels import LabelSpace

CLASSES = LabelSpace(
    ("road", "pavement", "building", "sky", "tree", "pole", "vehicle", "person")
    + ("animal", "mattress", "boulder", "balloon"),
    ((104, 92, 120), (216, 148, 176), (150, 110, 84), (120, 184, 230), (84, 150, 66), (238, 200, 60), (44, 74, 176))
    + ((222, 52, 56), (255, 128, 0), (0, 214, 190), (150, 40, 200), (170, 240, 40)),
)
"""The eight known street classes, then the four anomaly classes."""

Color = Sequence[float]
Point = tuple[float, float]
Point3 = tuple[float, float, float]
_T = TypeVar("_T")


def pick(rng: Generator, items: Sequence[_T]) -> _T:
    """Return one of ``items``, each as likely as the other."""
    return items[int(rng.integers(len(items)))]


def mix(a: Color, b: Color, t: float) -> tuple[float, float, float]:
    """Return the colour a fraction ``t`` of the way from ``a`` to ``b``."""
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t


def jitter(rng: Generator, color: Color, amount: float = 12.0) -> tuple[float, float, float]:
    """Return ``color`` a little brighter or darker, and a little off in hue."""
    d = rng.uniform(-1, 1, 4) * amount
    return color[0] + d[0] + d[3] / 2, color[1] + d[0] + d[1] / 2, color[2] + d[0] + d[2] / 2


@dataclass(frozen=True)
class View:
    """A pinhole camera above a street that bends: ``(x + bend z^2, y, z)`` is seen at ``f/z``; canvas pixels."""

    width: int
    height: int
    focal: float
    cx: float
    cy: float
    eye: float
    side: float
    bend: float

    def at(self, x: float, y: float, z: float) -> Point:
        """Return where the world point is seen."""
        s = self.focal / z
        return self.cx + s * (x - self.side + self.bend * z * z), self.cy + s * (self.eye - y)

    @property
    def near(self) -> float:
        """The depth of the ground at the lower edge of the picture."""
        return self.focal * self.eye / (self.height - self.cy)


@dataclass(frozen=True)
class Light:
    """The time of day: sky colours, tints of lit and of shaded surfaces, shadow strength 0..255, haze per metre."""

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
    """A picture and its label map, painted by the same strokes so that they agree to the pixel."""

    def __init__(self, view: View, light: Light):
        self.view, self.light = view, light
        self.image = Image.new("RGB", (view.width, view.height))
        self.labels = Image.new("L", (view.width, view.height), CLASSES.index("sky"))
        self._ink, self._glaze = ImageDraw.Draw(self.image), ImageDraw.Draw(self.image, "RGBA")
        self._mark = ImageDraw.Draw(self.labels)

    def tone(self, color: Color, z: float, lit: float = 1.0) -> tuple[int, int, int]:
        """Return ``color`` under this light, ``lit`` 0 (shade) to 1 (sun) or beyond, seen through ``z`` metres of haze."""
        c = [a * b for a, b in zip(color, mix(self.light.shade, self.light.sun, lit), strict=True)]
        r, g, b = mix(c, self.light.horizon, 1 - np.exp(-z * self.light.haze))
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
        """Fill a polygon given in the world."""
        z = sum(p[2] for p in points) / len(points)
        self.polygon([self.view.at(*p) for p in points], self.tone(color, z, lit), name)

    def glaze(self, points: Sequence[Point], color: Color, alpha: float) -> None:
        """Lay a see-through colour, ``alpha`` 0..255, over the picture; the labels stay."""
        self._glaze.polygon(points, (int(color[0]), int(color[1]), int(color[2]), int(alpha)))

    def glow(self, x: float, y: float, radius: float, color: Color) -> None:
        """Lay a soft light of a radius in pixels around a canvas point; the labels stay."""
        for r in (1.0, 0.7, 0.45):
            box = (x - r * radius, y - r * radius, x + r * radius, y + r * radius)
            self._glaze.ellipse(box, (int(color[0]), int(color[1]), int(color[2]), 38))


class Stand:
    """A brush for a flat thing upright at (x, z): u to the right and v up, in ``unit`` metres, u scaled by ``turn``."""

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

    def ellipse(self, u: float, v: float, ru: float, rv: float, color: Color, lit: float = 0.8) -> None:
        """Fill an ellipse about (u, v)."""
        (x, y), rx, ry = self.at(u, v), abs(ru * self.turn) * self.scale, rv * self.scale
        self.canvas.ellipse((x - rx, y - ry, x + rx, y + ry), self.canvas.tone(color, self.z, lit), self.name)

    def limb(self, joints: Sequence[tuple[float, float, float]], color: Color, lit: float = 0.8) -> None:
        """Paint a jointed limb through (u, v, half width): tapered pieces with round ends."""
        for (u0, v0, r0), (u1, v1, r1) in zip(joints, joints[1:], strict=False):
            du, dv = (u1 - u0) * abs(self.turn), v1 - v0
            n = max((du * du + dv * dv) ** 0.5, 1e-6)
            a, b = -dv / n / max(abs(self.turn), 0.3), du / n
            corners = [(u0 + a * r0, v0 + b * r0), (u1 + a * r1, v1 + b * r1)]
            self.polygon([*corners, (u1 - a * r1, v1 - b * r1), (u0 - a * r0, v0 - b * r0)], color, lit)
        for u, v, r in joints:
            if r * self.scale > 1.5:
                self.ellipse(u, v, r / max(abs(self.turn), 0.3), r, color, lit)


def smooth(points: Sequence[Point], steps: int = 5) -> list[Point]:
    """Return the closed Catmull-Rom curve through ``points``."""
    p = np.asarray(points, float)
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    a, b, c, d = (np.roll(p, k, axis=0)[:, None] for k in (1, 0, -1, -2))
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return [(float(u), float(v)) for u, v in curve.reshape(-1, 2)]


def tree(canvas: Canvas, rng: Generator, x: float, z: float) -> None:
    """A round tree, a poplar, a fir or a bush: a trunk and a crown of leaf clumps, brighter towards the sun."""
    kind = pick(rng, ("round", "round", "round", "poplar", "fir", "bush"))
    height = {"round": 6.5, "poplar": 9.0, "fir": 7.0, "bush": 1.5}[kind] * rng.uniform(0.8, 1.2)
    leaf = jitter(rng, pick(rng, ((78, 122, 52), (60, 108, 58), (104, 130, 50), (92, 116, 70), (176, 122, 48))), 16)
    s = Stand(canvas, x, z, "tree", height)
    sun = canvas.light.side
    if kind != "bush":
        bark = jitter(rng, (96, 74, 58))
        s.limb([(0, 0, 0.034), (0.01, 0.25, 0.024), (0, 0.6, 0.014)], bark, 0.4)
        s.limb([(0.012 * sun, 0, 0.012), (0.014 * sun, 0.4, 0.008)], bark, 0.9)
    if kind == "fir":
        for i in range(6):
            v, w = 0.14 + 0.125 * i, 0.25 - 0.036 * i
            s.polygon([(-w, v), (-w / 2, v + 0.03), (0, v - 0.02), (w / 2, v + 0.03), (w, v), (0, v + 0.26)], leaf, 0.25)
            s.polygon([(sun * w, v), (sun * w / 3, v + 0.05), (0, v + 0.26)], leaf, 0.75)
        return
    mid, ru, rv = {"round": (0.68, 0.34, 0.28), "poplar": (0.58, 0.12, 0.4), "bush": (0.45, 0.75, 0.42)}[kind]
    angle = np.linspace(0, 2 * np.pi, 22, endpoint=False)
    radius = rng.uniform(0.82, 1.1, 22)
    s.polygon([(ru * r * np.cos(a), mid + rv * r * np.sin(a)) for a, r in zip(angle, radius, strict=True)], leaf, 0.0)
    clumps = 46 if s.scale > 90 else 24
    spots = rng.uniform(-1, 1, (clumps, 4))
    for i, (a, b, c, d) in enumerate(spots[np.argsort(spots[:, 0] * sun + spots[:, 1])]):
        reach = (0.15 + 0.75 * ((a + 1) / 2) ** 0.5) if i % 3 else 0.95
        turn = np.arctan2(b, a)
        u, v = reach * np.cos(turn), reach * np.sin(turn)
        lit = 0.42 + 0.3 * (u * sun + 1.3 * v) + 0.15 * c
        r = 0.075 + 0.03 * d
        s.ellipse(u * ru, mid + v * rv, r * (1 if kind == "round" else 0.8 + ru), r, leaf, lit)


def pole(canvas: Canvas, rng: Generator, x: float, z: float) -> None:
    """A street lamp whose arm reaches over the road, a traffic sign or a traffic light."""
    kind = pick(rng, ("lamp", "lamp", "sign", "signal"))
    metal = jitter(rng, pick(rng, ((92, 98, 102), (70, 84, 78), (132, 134, 136))))
    s = Stand(canvas, x, z, "pole", 1.0, -1.0 if x > 0 else 1.0)
    top = {"lamp": rng.uniform(5.0, 6.8), "sign": rng.uniform(2.4, 3.0), "signal": rng.uniform(3.2, 4.0)}[kind]
    s.limb([(0, 0, 0.1), (0, top, 0.065)], metal, 0.5)
    s.polygon([(0.03, 0), (0.1, 0), (0.065, top), (0.02, top)], metal, 1.1)
    s.polygon([(-0.15, 0), (0.15, 0), (0.11, 0.5), (-0.11, 0.5)], metal, 0.3)
    if kind == "lamp":
        reach = rng.uniform(1.0, 1.8)
        s.limb([(0, top, 0.065), (reach * 0.4, top + 0.3, 0.055), (reach, top + 0.35, 0.05)], metal, 0.6)
        s.polygon([(reach - 0.15, top + 0.42), (reach + 0.55, top + 0.36), (reach + 0.5, top + 0.2), (reach - 0.1, top + 0.2)], metal)
        if canvas.light.lamps:
            s.polygon([(reach, top + 0.26), (reach + 0.5, top + 0.26), (reach + 0.4, top + 0.14), (reach, top + 0.14)], (400, 360, 250), 1)
            canvas.glow(*s.at(reach + 0.25, top + 0.2), s.scale * 0.9, (255, 214, 130))
    elif kind == "sign":
        if rng.random() < 0.5:
            s.ellipse(0, top, 0.36, 0.36, (205, 38, 40), 1)
            s.ellipse(0, top, 0.26, 0.26, (240, 240, 236), 1)
        else:
            s.polygon([(-0.36, top - 0.3), (0.36, top - 0.3), (0.36, top + 0.36), (-0.36, top + 0.36)], (34, 86, 176), 1)
            s.polygon([(-0.2, top - 0.14), (0.2, top - 0.14), (0, top + 0.24)], (240, 240, 236), 1)
    else:
        s.polygon([(-0.2, top - 0.95), (0.2, top - 0.95), (0.2, top + 0.1), (-0.2, top + 0.1)], (38, 42, 44))
        on = int(rng.integers(3))
        for i, lamp in enumerate(((235, 50, 40), (245, 180, 40), (60, 220, 110))):
            s.ellipse(0, top - 0.1 - 0.31 * i, 0.12, 0.12, lamp if i == on else mix(lamp, (20, 20, 20), 0.8), 1)


PROFILES: dict[str, tuple[float, tuple[tuple[float, float, str], ...]]] = {
    "hatch": (1.75, ((0, 0.3, "rear"), (0, 0.95, "glass"), (0.4, 1.45, "body"), (2.2, 1.5, "glass"), (3.0, 1.0, "body"), (3.8, 0.82, "front"), (3.9, 0.3, ""))),
    "sedan": (1.8, ((0, 0.3, "rear"), (0, 0.92, "body"), (0.7, 0.98, "glass"), (1.3, 1.4, "body"), (2.6, 1.43, "glass"), (3.4, 0.98, "body"), (4.4, 0.8, "front"), (4.5, 0.3, ""))),
    "van": (1.95, ((0, 0.35, "rear"), (0, 1.0, "glass"), (0.08, 1.95, "body"), (3.7, 2.0, "glass"), (4.3, 1.15, "body"), (4.9, 1.0, "front"), (5.0, 0.35, ""))),
    "bus": (2.4, ((0, 0.35, "rear"), (0, 1.3, "glass"), (0.05, 2.75, "body"), (8.4, 2.75, "glass"), (8.6, 1.2, "front"), (8.6, 0.35, ""))),
}  # fmt: skip
"""Width and side view of each kind of vehicle: (metres from the rear, height, what the surface up to the next is)."""
_PAINTS = ((186, 40, 38), (36, 72, 140), (226, 226, 222), (46, 48, 52), (140, 146, 150), (222, 170, 40), (44, 104, 78), (150, 196, 214), (120, 52, 84))  # fmt: skip


def vehicle(canvas: Canvas, rng: Generator, x: float, z: float, heading: float = 0.0, kind: str = "hatch") -> None:
    """A car, van or bus whose nearest point is at depth ``z``; heading 0 drives away, pi comes, pi/2 crosses to the right."""
    width, profile = PROFILES[kind]
    length, top = profile[-1][0], max(y for _, y, _ in profile)
    paint, cos, sin = jitter(rng, pick(rng, _PAINTS)), np.cos(heading), np.sin(heading)
    mid = z + (abs(cos) * length + abs(sin) * width) / 2

    def world(u: float, v: float, y: float) -> Point3:
        v *= 1.0 if y < 1.05 else 1 - 0.14 * (y - 1.0) / (top - 0.9)
        return float(x + v * cos + (u - length / 2) * sin), y, float(mid + (u - length / 2) * cos - v * sin)

    def face(points: Sequence[Point3], color: Color, lit: float) -> None:
        canvas.face(points, color, "vehicle", lit)

    def seen(points: Sequence[Point3]) -> bool:
        p = [canvas.view.at(*q) for q in points]
        return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(p, p[1:] + p[:1], strict=True)) > 0

    glass = (255, 226, 150) if canvas.light.lamps and kind == "bus" else (58, 74, 90)
    half, radius = width / 2, 0.32 if kind in ("hatch", "sedan") else 0.42
    wheels = (0.19 * length, 0.81 * length)
    for u in wheels:
        for v in (-half + 0.12, half - 0.12):
            face([world(u - 0.3, v - 0.1, 0), world(u - 0.3, v + 0.1, 0), world(u + 0.3, v + 0.1, 0.5), world(u + 0.3, v - 0.1, 0.5)], (24, 24, 26), 0.4)
            face([world(u - 0.3, v - 0.1, 0), world(u - 0.3, v + 0.1, 0), world(u - 0.3, v + 0.1, 0.5), world(u - 0.3, v - 0.1, 0.5)], (24, 24, 26), 0.4)
    parts: list[tuple[float, list[Point3], str]] = []
    for (u0, y0, surface), (u1, y1, _) in zip(profile, profile[1:], strict=False):
        quad = [world(u0, -half, y0), world(u0, half, y0), world(u1, half, y1), world(u1, -half, y1)]
        parts.append((sum(q[2] for q in quad) / 4, quad, surface))
    for v, order in ((-half, -1), (half, 1)):
        side = [world(u, v, y) for u, y, _ in profile][:: -order]
        parts.append((sum(q[2] for q in side) / len(side), side, "left" if v < 0 else "right"))
    for _, quad, surface in sorted(parts, key=lambda part: -part[0]):
        if not seen(quad):
            continue
        if surface in ("left", "right"):
            v = -half if surface == "left" else half
            outward = v * cos * canvas.light.side
            face(quad, paint, 0.75 if outward > 0 else 0.3)
            _vehicle_side(face, world, kind, profile, v, wheels, radius, glass)
        elif surface == "body":
            face(quad, paint, 1.15 if quad[0][1] > 0.8 else 0.6)
        elif surface == "glass":
            face(quad, paint, 0.6)
            face([_within(quad, a, b) for a, b in ((0.08, 0.1), (0.92, 0.1), (0.9, 0.9), (0.1, 0.9))], glass, 0.7)
            face([_within(quad, a, b) for a, b in ((0.15, 0.45), (0.45, 0.2), (0.6, 0.2), (0.2, 0.85))], mix(glass, (220, 235, 245), 0.35), 0.8)
        else:
            lamp = (205, 24, 26) if surface == "rear" else (250, 246, 224)
            lit = 1.3 if canvas.light.lamps else 0.85
            face(quad, paint, 0.55)
            if surface == "front":
                quad = [quad[3], quad[2], quad[1], quad[0]]
            face([_within(quad, a, b) for a, b in ((0, 0), (1, 0), (1, 0.25), (0, 0.25))], mix(paint, (30, 30, 32), 0.75), 0.5)
            face([_within(quad, a, b) for a, b in ((0.36, 0.3), (0.64, 0.3), (0.64, 0.5), (0.36, 0.5))], (232, 230, 214), 0.7)
            for a in (0.04, 0.78):
                face([_within(quad, a + c, b) for c, b in ((0, 0.58), (0.18, 0.58), (0.18, 0.88), (0, 0.88))], lamp, lit)

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
    (
        (104, 92, 120),
        (216, 148, 176),
        (150, 110, 84),
        (120, 184, 230),
        (84, 150, 66),
        (238, 200, 60),
        (44, 74, 176),
    )
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
        self.canvas.polygon(
            [self.at(u, v) for u, v in points], self.canvas.tone(color, self.z, lit), self.name
        )

    def box(self, u0: float, v0: float, u1: float, v1: float, color: Color, lit: float = 0.8) -> None:
        """Fill the rectangle between two corners."""
        self.polygon([(u0, v0), (u1, v0), (u1, v1), (u0, v1)], color, lit)

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


def blob(u: float, v: float, ru: Color, rv: Color) -> list[Point]:
    """Return the closed outline about (u, v) whose radii, going round, are ``ru`` and ``rv``."""
    turn = np.linspace(0, 2 * np.pi, len(ru), endpoint=False)
    return list(zip((u + ru * np.cos(turn)).tolist(), (v + rv * np.sin(turn)).tolist(), strict=True))


def tree(canvas: Canvas, rng: Generator, x: float, z: float) -> None:
    """A round tree, a poplar, a fir or a bush: a trunk and a crown of leaf clumps, brighter towards the sun."""
    kind = pick(rng, ("round", "round", "round", "poplar", "fir", "bush"))
    height = {"round": 6.5, "poplar": 9.0, "fir": 7.0, "bush": 1.5}[kind] * rng.uniform(0.8, 1.2)
    leaf = jitter(
        rng, pick(rng, ((78, 122, 52), (60, 108, 58), (104, 130, 50), (92, 116, 70), (176, 122, 48))), 16
    )
    s, sun = Stand(canvas, x, z, "tree", height), canvas.light.side
    if kind != "bush":
        bark = jitter(rng, (96, 74, 58))
        s.limb([(0, 0, 0.034), (0.01, 0.25, 0.024), (0, 0.6, 0.014)], bark, 0.4)
        s.limb([(0.012 * sun, 0, 0.012), (0.014 * sun, 0.4, 0.008)], bark, 0.9)
    if kind == "fir":
        for i in range(6):
            v, w = 0.14 + 0.125 * i, 0.25 - 0.036 * i
            s.polygon(
                [(-w, v), (-w / 2, v + 0.03), (0, v - 0.02), (w / 2, v + 0.03), (w, v), (0, v + 0.26)],
                leaf,
                0.25,
            )
            s.polygon([(sun * w, v), (sun * w / 3, v + 0.05), (0, v + 0.26)], leaf, 0.75)
        return
    mid, ru, rv = {"round": (0.68, 0.34, 0.28), "poplar": (0.58, 0.12, 0.4), "bush": (0.45, 0.75, 0.42)}[kind]
    radius = rng.uniform(0.82, 1.1, 22)
    s.polygon(blob(0, mid, ru * radius, rv * radius), leaf, 0.0)
    clumps = rng.uniform(-1, 1, (46 if s.scale > 200 else 24, 4))
    for i, (a, b, c, d) in enumerate(clumps[np.argsort(clumps[:, 0] * sun + clumps[:, 1])]):
        reach, turn = (0.95, 0.7, 0.45)[i % 3], np.arctan2(b, a)
        u, v, r = reach * np.cos(turn), reach * np.sin(turn), 0.075 + 0.03 * d
        s.ellipse(
            u * ru, mid + v * rv, r * min(1, 0.8 + ru), r, leaf, 0.42 + 0.3 * (u * sun + 1.3 * v) + 0.15 * c
        )


def pole(canvas: Canvas, rng: Generator, x: float, z: float) -> None:
    """A street lamp whose arm reaches over the road, a traffic sign or a traffic light."""
    kind = pick(rng, ("lamp", "lamp", "sign", "signal"))
    metal = jitter(rng, pick(rng, ((92, 98, 102), (70, 84, 78), (132, 134, 136))))
    s = Stand(canvas, x, z, "pole", 1.0, -1.0 if x > 0 else 1.0)
    top = {"lamp": 6.0, "sign": 2.7, "signal": 3.6}[kind] * rng.uniform(0.88, 1.12)
    s.limb([(0, 0, 0.1), (0, top, 0.065)], metal, 0.5)
    s.polygon([(0.03, 0), (0.1, 0), (0.065, top), (0.02, top)], metal, 1.1)
    s.box(-0.14, 0, 0.14, 0.5, metal, 0.3)
    white = (240, 240, 236)
    if kind == "lamp":
        reach = rng.uniform(1.0, 1.8)
        s.limb([(0, top, 0.065), (reach * 0.4, top + 0.3, 0.055), (reach, top + 0.35, 0.05)], metal, 0.6)
        s.box(reach - 0.1, top + 0.2, reach + 0.55, top + 0.4, metal)
        if canvas.light.lamps:
            s.box(reach, top + 0.12, reach + 0.48, top + 0.24, (400, 360, 250), 1)
            canvas.glow(*s.at(reach + 0.25, top + 0.2), s.scale * 0.9, (255, 214, 130))
    elif kind == "signal":
        s.box(-0.2, top - 0.95, 0.2, top + 0.1, (38, 42, 44))
        on = int(rng.integers(3))
        for i, lamp in enumerate(((235, 50, 40), (245, 180, 40), (60, 220, 110))):
            s.ellipse(
                0, top - 0.1 - 0.31 * i, 0.12, 0.12, lamp if i == on else mix(lamp, (20, 20, 20), 0.8), 1
            )
    elif rng.random() < 0.5:
        s.ellipse(0, top, 0.36, 0.36, (205, 38, 40), 1)
        s.ellipse(0, top, 0.26, 0.26, white, 1)
    else:
        s.box(-0.36, top - 0.3, 0.36, top + 0.36, (34, 86, 176), 1)
        s.polygon([(-0.2, top - 0.14), (0.2, top - 0.14), (0, top + 0.24)], white, 1)


def person(canvas: Canvas, rng: Generator, x: float, z: float) -> None:
    """A grown-up or a child, standing or walking, in trousers or a skirt, some with a hat or a bag."""
    s = Stand(
        canvas,
        x,
        z,
        "person",
        pick(rng, (1.1, 1.6, 1.7, 1.8)) * rng.uniform(0.96, 1.04),
        pick(rng, (-1, 1)) * 1.0,
    )
    skin = pick(rng, ((226, 178, 148), (198, 146, 112), (150, 104, 76), (98, 66, 50)))
    coat = jitter(rng, pick(rng, (*_PAINTS, (196, 120, 150), (206, 186, 150))), 20)
    legs = jitter(rng, pick(rng, ((44, 52, 78), (40, 40, 44), (112, 100, 84), (84, 92, 104))))
    stride, swing, lean = rng.uniform(0.02, 0.15), rng.uniform(0.02, 0.13), rng.uniform(0, 0.02)
    for side, lit in ((-1, 0.35), (1, 0.7)):
        foot = side * stride
        s.limb([(0.02 * side, 0.5, 0.052), (foot * 0.6 + 0.015, 0.26, 0.042), (foot, 0.03, 0.03)], legs, lit)
        s.limb([(foot, 0.018, 0.018), (foot + 0.05, 0.015, 0.015)], (34, 30, 30), lit)
    if rng.random() < 0.3:
        s.polygon([(-0.07, 0.56), (0.07, 0.56), (0.12, 0.3), (-0.12, 0.3)], coat, 0.6)
    s.limb(
        [(0.03 + lean, 0.79, 0.026), (0.05 + swing / 2, 0.62, 0.026), (0.04 + swing, 0.48, 0.02)], coat, 0.3
    )
    s.polygon(
        smooth([(-0.085, 0.48), (-0.1 + lean, 0.77), (lean, 0.83), (0.1 + lean, 0.77), (0.085, 0.48)], 3),
        coat,
        0.75,
    )
    s.polygon(
        [(0.03, 0.48), (0.05 + lean, 0.8), (0.1 + lean, 0.77), (0.085, 0.48)],
        coat,
        0.75 + 0.3 * canvas.light.side,
    )
    s.limb(
        [(-0.07 + lean, 0.78, 0.03), (-0.1 - swing / 2, 0.62, 0.026), (-0.06 - swing, 0.48, 0.02)], coat, 0.95
    )
    s.ellipse(-0.06 - swing, 0.46, 0.02, 0.022, skin, 0.9)
    if rng.random() < 0.35:
        s.box(-0.15 - swing, 0.3, -0.02 - swing, 0.43, jitter(rng, (126, 70, 44), 30), 0.7)
    s.box(-0.025 + lean, 0.8, 0.03 + lean, 0.86, skin, 0.5)
    hair = pick(rng, ((46, 34, 28), (110, 74, 44), (196, 160, 96), (30, 28, 30), (170, 166, 160)))
    s.ellipse(lean, 0.925, 0.062, 0.075, hair, 0.7)
    s.ellipse(0.014 + lean, 0.91, 0.048, 0.06, skin, 0.9)
    if rng.random() < 0.25:
        s.box(-0.07 + lean, 0.94, 0.075 + lean, 0.99, coat, 0.9)


_Profile = tuple[tuple[float, float, str], ...]
PROFILES: dict[str, tuple[float, _Profile, tuple[tuple[float, ...], ...]]] = {
    "hatch": (
        1.75,
        ((0, 0.3, "rear"), (0, 0.95, "glass"), (0.4, 1.45, "body"), (2.2, 1.5, "glass"), (3.0, 1.0, "body"))
        + ((3.8, 0.82, "front"), (3.9, 0.3, "")),
        ((0.3, 0.55, 1.45, 1.45, 0.98, 1.38), (1.55, 1.55, 2.15, 2.75, 0.98, 1.38)),
    ),
    "sedan": (
        1.8,
        ((0, 0.3, "rear"), (0, 0.92, "body"), (0.7, 0.98, "glass"), (1.3, 1.4, "body"), (2.6, 1.43, "glass"))
        + ((3.4, 0.98, "body"), (4.4, 0.8, "front"), (4.5, 0.3, "")),
        ((1.0, 1.4, 1.95, 1.95, 0.97, 1.33), (2.05, 2.05, 2.5, 3.1, 0.97, 1.33)),
    ),
    "van": (
        1.95,
        ((0, 0.35, "rear"), (0, 1.0, "glass"), (0.08, 1.95, "body"), (3.7, 2.0, "glass"), (4.3, 1.15, "body"))
        + ((4.9, 1.0, "front"), (5.0, 0.35, "")),
        ((2.7, 2.7, 3.55, 4.05, 1.15, 1.8),),
    ),
    "bus": (
        2.4,
        (
            (0, 0.35, "rear"),
            (0, 1.3, "glass"),
            (0.05, 2.75, "body"),
            (8.4, 2.75, "glass"),
            (8.6, 1.2, "front"),
        )
        + ((8.6, 0.35, ""),),
        tuple((a, a, a + 1.4, a + 1.4, 1.25, 2.3) for a in (0.3, 1.9, 3.5, 5.1, 6.7)),
    ),
}
"""Each vehicle's width, its outline from the rear bumper over the roof to the front one (metres from the rear, height,
what the surface up to the next point is), and its side windows (u below, u above, u above, u below, v, v)."""
_PAINTS = ((186, 40, 38), (36, 72, 140), (226, 226, 222), (46, 48, 52), (140, 146, 150), (222, 170, 40))
_PAINTS += ((44, 104, 78), (150, 196, 214), (120, 52, 84))


def vehicle(
    canvas: Canvas, rng: Generator, x: float, z: float, heading: float = 0.0, kind: str = "hatch"
) -> None:
    """A car, van or bus whose nearest end is at depth ``z``; heading 0 drives away, pi comes, pi/2 crosses to the right."""
    width, profile, windows = PROFILES[kind]
    length, top, half = profile[-1][0], max(y for _, y, _ in profile), width / 2
    paint, cos, sin, lamps = (
        jitter(rng, pick(rng, _PAINTS)),
        float(np.cos(heading)),
        float(np.sin(heading)),
        canvas.light.lamps,
    )
    mid = z + (abs(cos) * length + abs(sin) * width) / 2
    glass = (250, 220, 150) if lamps and kind == "bus" else (52, 68, 84)

    def world(u: float, v: float, y: float) -> Point3:
        v, u = v * (1 - 0.16 * max(0.0, y - 1.0) / (top - 0.9)), u - length / 2
        return x + v * cos + u * sin, y, mid + u * cos - v * sin

    def face(points: Sequence[Point3], color: Color, lit: float) -> None:
        canvas.face(points, color, "vehicle", lit)

    def inset(
        quad: Sequence[Point3], a0: float, b0: float, a1: float, b1: float, color: Color, lit: float
    ) -> None:
        p, q, r, s = (np.array(corner) for corner in quad)
        spots = ((a0, b0), (a1, b0), (a1, b1), (a0, b1))
        face([tuple((p + a * (q - p)) * (1 - b) + (s + a * (r - s)) * b) for a, b in spots], color, lit)

    def wheel(u: float, v: float, radius: float, color: Color) -> None:
        turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        face(
            [world(u + radius * float(np.cos(t)), v, 0.33 + radius * float(np.sin(t))) for t in turn],
            color,
            0.5,
        )

    parts: list[tuple[list[Point3], str]] = []
    for (u0, y0, surface), (u1, y1, _) in zip(profile, profile[1:], strict=False):
        quad = [world(u0, -half, y0), world(u0, half, y0), world(u1, half, y1), world(u1, -half, y1)]
        parts.append((quad[2:] + quad[:2] if surface == "front" else quad, surface))
    parts.append(([world(u, -half, y) for u, y, _ in profile], "left"))
    parts.append(([world(u, half, y) for u, y, _ in profile[::-1]], "right"))
    for u in (0.05, length - 0.35):
        for v in (-half + 0.05, half - 0.3):
            face(
                [world(u, v, 0), world(u, v + 0.25, 0), world(u + 0.3, v + 0.25, 0.4), world(u, v, 0.4)],
                (24, 24, 26),
                0.4,
            )
    for quad, surface in sorted(parts, key=lambda part: -sum(p[2] for p in part[0]) / len(part[0])):
        seen = [canvas.view.at(*p) for p in quad]
        if sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(seen, seen[1:] + seen[:1], strict=True)) > 0:
            continue
        if surface in ("left", "right"):
            v = half if surface == "right" else -half
            face(quad, paint, 0.8 if v * cos * canvas.light.side > 0 else 0.35)
            face(
                [world(u, v, y) for u, y in ((0, 0.3), (length, 0.3), (length, 0.45), (0, 0.45))],
                mix(paint, (20, 20, 20), 0.6),
                0.4,
            )
            for u0, u1, u2, u3, y0, y1 in windows:
                face([world(u0, v, y0), world(u1, v, y1), world(u2, v, y1), world(u3, v, y0)], glass, 0.7)
            for u in (0.19 * length, 0.81 * length):
                wheel(u, v, 0.33, (22, 22, 24))
                wheel(u, v, 0.18, (150, 152, 156))
        elif surface == "body":
            face(quad, paint, 1.1)
        elif surface == "glass":
            face(quad, paint, 0.6)
            inset(quad, 0.08, 0.1, 0.92, 0.9, glass, 0.7)
            inset(quad, 0.2, 0.2, 0.36, 0.8, mix(glass, (226, 238, 246), 0.3), 0.8)
        else:
            face(quad, paint, 0.6)
            inset(quad, 0, 0, 1, 0.28, mix(paint, (30, 30, 32), 0.75), 0.5)
            inset(quad, 0.36, 0.32, 0.64, 0.52, (232, 230, 214), 0.7)
            lamp = (206, 26, 26) if surface == "rear" else (250, 246, 224)
            for a in (0.03, 0.79):
                inset(quad, a, 0.6, a + 0.18, 0.9, lamp, 1.4 if lamps else 0.9)
                if lamps and surface == "front":
                    canvas.glow(*seen[0 if a > 0.5 else 1], canvas.view.focal / z * 0.4, (255, 240, 200))


COATS = {
    "brown": (122, 84, 52),
    "black": (48, 44, 44),
    "white": (222, 214, 200),
    "spotted": (226, 220, 210),
    "tan": (176, 136, 92),
}
BEASTS = {
    "deer": (0.95, 0.62, 0.2, 0.62, ("brown", "tan", "brown")),
    "dog": (0.5, 0.45, 0.17, 0.24, ("brown", "black", "white", "tan", "spotted")),
    "cow": (1.1, 0.5, 0.34, 0.12, ("spotted", "spotted", "brown", "black", "white")),
}
"""Each animal's body length in metres; its legs, half its girth and its neck in body lengths; its coats."""


def animal(canvas: Canvas, rng: Generator, x: float, z: float, size: float, kind: str | None = None) -> None:
    """A deer, a dog or a cow, ``size`` times as large as life: four legs, body, neck, head, tail; any pose and coat."""
    kind = kind or pick(rng, tuple(BEASTS))
    length, leg, girth, neck, coats = BEASTS[kind]
    coat = pick(rng, coats)
    fur = jitter(rng, COATS[coat], 14)
    s = Stand(canvas, x, z, "animal", length * size * 1.25, pick(rng, (-1, 1)) * rng.uniform(0.6, 1.0))
    back, hip, front = leg + girth * 1.6, -0.42, 0.4
    thick, step = 0.035 + girth * 0.11, rng.uniform(-0.16, 0.16)
    dark = mix(fur, (30, 24, 22), 0.35)

    def leg_at(u: float, swing: float, lit: float) -> None:
        knee = u + swing * 0.4 + (0.05 if u < 0 else -0.02)
        s.limb(
            [(u, leg + girth * 0.5, thick * 1.9), (knee, leg * 0.52, thick), (u + swing, 0.05, thick * 0.75)],
            fur,
            lit,
        )
        s.limb([(u + swing, 0.045, thick * 0.8), (u + swing + 0.03, 0.025, thick * 0.8)], dark, lit * 0.7)

    leg_at(hip + 0.08, -step, 0.15)
    leg_at(front - 0.04, step, 0.15)
    wag = rng.uniform(-0.3, 0.6)
    drop = {"deer": 0.12, "dog": -0.2 - 0.3 * wag, "cow": 0.5}[kind]
    s.limb(
        [
            (-0.5, back - 0.05, 0.03),
            (-0.62, back - drop * 0.6, 0.028),
            (-0.62 - 0.1 * wag, back - drop, 0.02),
        ],
        dark,
        0.6,
    )
    belly = leg + girth * 0.1
    s.polygon(
        smooth(
            [
                (-0.56, back - girth * 0.7),
                (-0.48, back),
                (-0.15, back - 0.02),
                (0.2, back),
                (0.45, back + 0.02),
            ]
            + [
                (0.57, back - girth * 0.6),
                (0.46, leg + girth * 0.2),
                (0.1, belly - 0.03),
                (-0.25, belly + 0.06),
                (-0.48, leg + girth * 0.3),
            ]
        ),
        fur,
        0.55,
    )
    s.polygon(
        smooth(
            [
                (-0.5, back - girth * 0.3),
                (-0.4, back - 0.01),
                (0, back - 0.03),
                (0.42, back),
                (0.5, back - girth * 0.3),
                (0, back - girth * 0.55),
            ]
        ),
        fur,
        1.0,
    )
    if coat == "spotted":
        for _ in range(7):
            u, v, r = (
                rng.uniform(-0.36, 0.38),
                rng.uniform(leg + girth * 0.55, back - girth * 0.35),
                rng.uniform(0.2, 0.42) * girth,
            )
            s.polygon(
                smooth(blob(u, v, r * 1.3 * rng.uniform(0.6, 1.1, 6), r * rng.uniform(0.6, 1.1, 6)), 3),
                (52, 40, 36),
                0.7,
            )
    leg_at(hip, step, 0.7)
    leg_at(front + 0.04, -step, 0.7)
    raised = rng.uniform(-0.9, 0.25) if kind == "cow" or rng.random() < 0.25 else rng.uniform(0.5, 1.1)
    reach = neck + 0.2
    hu, hv = 0.46 + reach * float(np.cos(raised)), back - girth * 0.3 + reach * float(np.sin(raised))
    s.limb(
        [
            (0.44, back - girth * 0.55, girth * 0.62),
            (0.5 * (0.46 + hu), 0.5 * (back + hv) - 0.02, girth * 0.42),
            (hu, hv, girth * 0.36),
        ],
        fur,
        0.75,
    )
    head = 0.1 + girth * 0.26
    nod = rng.uniform(-0.6, -0.1)
    nu, nv = hu + head * 1.5 * float(np.cos(nod)), hv + head * 1.5 * float(np.sin(nod))
    s.limb([(hu, hv, head * 0.72), (nu, nv, head * 0.42)], fur, 0.85)
    s.ellipse(nu + head * 0.2, nv, head * 0.25, head * 0.28, dark, 0.5)
    for du, lit in ((-0.5, 0.5), (-0.15, 0.8)):
        tip = (hu + (du - 0.5) * head, hv + head * (0.2 if kind == "dog" else 1.2))
        s.polygon(
            [(hu + (du - 0.25) * head, hv + head * 0.45), (hu + (du + 0.35) * head, hv + head * 0.6), tip],
            dark,
            lit,
        )
    s.ellipse(hu + head * 0.45, hv + head * 0.18, head * 0.12, head * 0.12, (20, 16, 16), 0.6)
    if kind == "cow" or (kind == "deer" and rng.random() < 0.5):
        tall = head * (2.4 if kind == "deer" else 0.9)
        for du in (-0.2, 0.25):
            root, tip = (
                (hu + du * head, hv + head * 0.6),
                (hu + (du * 3 - 0.2) * head, hv + head * 0.6 + tall),
            )
            s.limb(
                [
                    (*root, head * 0.13),
                    (root[0] + du * head, root[1] + tall / 2, head * 0.12),
                    (*tip, head * 0.08),
                ],
                (196, 178, 148),
                0.8,
            )
            if kind == "deer":
                s.limb(
                    [
                        (root[0] + du * head, root[1] + tall / 2, head * 0.1),
                        (root[0] + head * 0.7, root[1] + tall * 0.8, head * 0.07),
                    ],
                    (196, 178, 148),
                    0.8,
                )


def mattress(canvas: Canvas, rng: Generator, x: float, z: float, size: float) -> None:
    """A soft slab, lying, leaning or on edge, striped or quilted: its rounded outline stacked through its thickness."""
    yaw, pitch = rng.uniform(-0.9, 0.9), pick(rng, (0.12, 0.5, 1.0, 1.3)) + rng.uniform(-0.1, 0.15)
    wide, long, deep = 0.95 * size * rng.uniform(0.8, 1.1), 1.7 * size, 0.24 * size
    across = np.array([np.cos(yaw), 0, np.sin(yaw)]) * wide / 2
    ahead = np.array([-np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)]) * long / 2
    normal = np.array([np.sin(yaw) * np.sin(pitch), np.cos(pitch), -np.cos(yaw) * np.sin(pitch)])
    if rng.random() < 0.5:
        across, ahead = across * long / wide, ahead * wide / long
    centre = np.array([x, abs(ahead[1]) + abs(across[1]), z + abs(ahead[2]) + abs(across[2])])
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    a, b = (np.sign(f) * np.abs(f) ** 0.35 for f in (np.cos(turn), np.sin(turn)))
    cloth = jitter(
        rng, pick(rng, ((214, 206, 190), (184, 196, 212), (206, 172, 164), (150, 168, 150), (196, 182, 120)))
    )
    stripe = mix(
        cloth, jitter(rng, pick(rng, ((70, 92, 150), (150, 70, 70), (96, 90, 84), (60, 120, 110))), 10), 0.75
    )

    def spot(p: float, q: float, lift: float) -> Point3:
        w = centre + across * p + ahead * q + normal * lift
        return float(w[0]), float(w[1]), float(w[2])

    for k in range(7):
        puff = 1.0 + 0.04 * np.sin(np.pi * k / 6)
        edge = [spot(p * puff, q * puff, deep * k / 6) for p, q in zip(a, b, strict=True)]
        canvas.face(edge, stripe if k in (1, 5) else cloth, "mattress", 0.95 if k == 6 else 0.3 + 0.05 * k)
    quilted, n = rng.random() < 0.5, int(rng.integers(4, 7))
    for i in range(-n + 1, n):
        c, w = i / n, 0.012 if quilted else 0.05
        if quilted:
            for sign in (1, -1):
                lo, hi = max(-0.92, -0.92 + 2 * c), min(0.92, 0.92 + 2 * c)
                ends = [(q, sign * (q - 2 * c)) for q in (lo, hi)]
                canvas.face(
                    [
                        spot(p + d, q, deep)
                        for p, q, d in ((*ends[0], -w), (*ends[0], w), (*ends[1], w), (*ends[1], -w))
                    ],
                    stripe,
                    "mattress",
                    0.8,
                )
        else:
            canvas.face(
                [spot(p, q, deep) for p, q in ((c - w, -0.95), (c + w, -0.95), (c + w, 0.95), (c - w, 0.95))],
                stripe,
                "mattress",
                0.9,
            )


def boulder(canvas: Canvas, rng: Generator, x: float, z: float, size: float) -> None:
    """A rough rock: a broken outline, facets that turn towards or from the sun, cracks and specks."""
    rock = jitter(rng, pick(rng, ((128, 122, 114), (140, 118, 96), (104, 108, 112), (150, 146, 136))), 14)
    s, sun, n = Stand(canvas, x, z, "boulder", size), canvas.light.side, 13
    angle = np.sort(np.linspace(0, 2 * np.pi, n, endpoint=False) + rng.uniform(-0.15, 0.15, n))
    rough, flat = rng.uniform(0.8, 1.12, n), rng.uniform(0.75, 1.15)
    rim = [
        (0.62 * r * np.cos(t), max(0.0, 0.42 + 0.52 * flat * r * np.sin(t)))
        for t, r in zip(angle, rough, strict=True)
    ]
    s.polygon(rim, rock, 0.4)
    core = [
        (u * k + 0.08 * sun, 0.5 + (v - 0.42) * k * 0.8)
        for (u, v), k in zip(rim, rng.uniform(0.3, 0.62, n), strict=True)
    ]
    for i in range(n):
        j = (i + 1) % n
        up, out = np.sin(angle[i]), np.cos(angle[i]) * sun
        s.polygon(
            [rim[i], rim[j], core[j], core[i]], rock, 0.45 + 0.32 * up + 0.3 * out + rng.uniform(-0.1, 0.1)
        )
    s.polygon(core, rock, 0.75)
    for u, v, r, lit in rng.uniform((-0.42, 0.14, 0.008, 0.1), (0.42, 0.72, 0.035, 1.1), (26, 4)):
        s.ellipse(u, v * flat, r * 1.4, r, rock, lit)
    crack = rng.uniform(-0.12, 0.12, 4)
    s.limb(
        [(0.3 * crack[0] - 0.1, 0.8 * flat, 0.012), (crack[1], 0.55, 0.014), (crack[2] + 0.05, 0.3, 0.01)],
        rock,
        0.05,
    )


def balloon(canvas: Canvas, rng: Generator, x: float, z: float, size: float) -> None:
    """A glossy balloon a little above the ground, plain or with gores of a second colour, with its knot and string."""
    hue = jitter(
        rng,
        pick(
            rng,
            ((206, 52, 60), (60, 110, 196), (236, 186, 60), (90, 160, 96), (170, 96, 170), (220, 220, 216)),
        ),
        14,
    )
    other = mix(hue, pick(rng, ((245, 240, 228), (40, 44, 70))), 0.8)
    s, sun, lift, tall = (
        Stand(canvas, x, z, "balloon", size),
        canvas.light.side,
        rng.uniform(0.3, 0.6),
        rng.uniform(0.5, 0.6),
    )
    v = lift + tall
    s.limb([(0.02, 0.02, 0.012), (-0.05, lift * 0.5, 0.012), (0, lift, 0.012)], (210, 204, 190), 0.6)
    s.polygon([(-0.07, lift - 0.06), (0.07, lift - 0.06), (0, lift + 0.06)], hue, 0.3)
    s.ellipse(0, v, 0.5, tall, hue, 0.15)
    if rng.random() < 0.6:
        for i, r in enumerate((0.48, 0.36, 0.22, 0.08)):
            s.ellipse(0.03 * sun, v, r, tall * 0.97, other if i % 2 else hue, 0.5 + 0.14 * i)
    else:
        for i in range(1, 7):
            r = 1 - i / 7
            s.ellipse(
                0.16 * sun * (1 - r), v + 0.2 * (1 - r), 0.5 * r + 0.03, tall * r + 0.03, hue, 0.2 + 0.15 * i
            )
    s.ellipse(0.2 * sun, v + tall * 0.45, 0.09, 0.13, mix(hue, (255, 255, 255), 0.8), 1.05)
    s.ellipse(0.3 * sun, v + tall * 0.1, 0.03, 0.05, mix(hue, (255, 255, 255), 0.6), 1.0)


ANOMALIES = {
    "animal": (animal, 0.75),
    "mattress": (mattress, 1.3),
    "boulder": (boulder, 0.95),
    "balloon": (balloon, 0.85),
}
"""Each anomaly class: how it is drawn, and about how many square metres of picture it fills at size 1."""

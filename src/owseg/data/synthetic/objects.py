"""The objects of the synthetic scenes: trees, poles, people and vehicles.

Each is a function ``(canvas, rng, x, z)`` that paints one at (x, z); the caller paints from far to near.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.random import Generator

from owseg.data.synthetic.canvas import Billboard, Canvas, Color, Point3, blob, jitter, mix, pick, smooth


def tree(canvas: Canvas, rng: Generator, x: float, z: float) -> None:
    """Paint a round tree, a poplar, a fir or a bush: a trunk and a crown of leaves, brighter towards the sun."""
    kind = pick(rng, ("round", "round", "round", "poplar", "fir", "bush"))
    height = {"round": 6.5, "poplar": 9.0, "fir": 7.0, "bush": 1.5}[kind] * rng.uniform(0.8, 1.2)
    leaf = jitter(rng, pick(rng, ((78, 122, 52), (60, 108, 58), (104, 130, 50), (92, 116, 70), (176, 122, 48))), 16)
    s, sun = Billboard(canvas, x, z, "tree", height), canvas.light.side
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
    # Clumps of leaves on the sunny side come last, on top.
    for i, (a, b, c, d) in enumerate(clumps[np.argsort(clumps[:, 0] * sun + clumps[:, 1])]):
        reach, turn = (0.95, 0.7, 0.45)[i % 3], np.arctan2(b, a)
        u, v, r = reach * np.cos(turn), reach * np.sin(turn), 0.075 + 0.03 * d
        s.ellipse(u * ru, mid + v * rv, r * min(1, 0.8 + ru), r, leaf, 0.42 + 0.3 * (u * sun + 1.3 * v) + 0.15 * c)


def pole(canvas: Canvas, rng: Generator, x: float, z: float) -> None:
    """Paint a street lamp whose arm reaches over the road, a traffic sign or a traffic light."""
    kind = pick(rng, ("lamp", "lamp", "sign", "signal"))
    metal = jitter(rng, pick(rng, ((92, 98, 102), (70, 84, 78), (132, 134, 136))))
    s = Billboard(canvas, x, z, "pole", 1.0, -1.0 if x > 0 else 1.0)
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
            s.ellipse(0, top - 0.1 - 0.31 * i, 0.12, 0.12, lamp if i == on else mix(lamp, (20, 20, 20), 0.8), 1)
    elif rng.random() < 0.5:
        s.ellipse(0, top, 0.36, 0.36, (205, 38, 40), 1)
        s.ellipse(0, top, 0.26, 0.26, white, 1)
    else:
        s.box(-0.36, top - 0.3, 0.36, top + 0.36, (34, 86, 176), 1)
        s.polygon([(-0.2, top - 0.14), (0.2, top - 0.14), (0, top + 0.24)], white, 1)


_PAINTS = (
    *((186, 40, 38), (36, 72, 140), (226, 226, 222), (46, 48, 52), (140, 146, 150)),
    *((222, 170, 40), (44, 104, 78), (150, 196, 214), (120, 52, 84)),
)


def person(canvas: Canvas, rng: Generator, x: float, z: float) -> None:
    """Paint an adult or a child, standing or walking, in trousers or a skirt, some with a hat or a bag."""
    s = Billboard(
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
    # The far leg first, in the shade of the near one.
    for side, lit in ((-1, 0.35), (1, 0.7)):
        foot = side * stride
        s.limb([(0.02 * side, 0.5, 0.052), (foot * 0.6 + 0.015, 0.26, 0.042), (foot, 0.03, 0.03)], legs, lit)
        s.limb([(foot, 0.018, 0.018), (foot + 0.05, 0.015, 0.015)], (34, 30, 30), lit)
    if rng.random() < 0.3:
        s.polygon([(-0.07, 0.56), (0.07, 0.56), (0.12, 0.3), (-0.12, 0.3)], coat, 0.6)
    s.limb([(0.03 + lean, 0.79, 0.026), (0.05 + swing / 2, 0.62, 0.026), (0.04 + swing, 0.48, 0.02)], coat, 0.3)
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
    s.limb([(-0.07 + lean, 0.78, 0.03), (-0.1 - swing / 2, 0.62, 0.026), (-0.06 - swing, 0.48, 0.02)], coat, 0.95)
    s.ellipse(-0.06 - swing, 0.46, 0.02, 0.022, skin, 0.9)
    if rng.random() < 0.35:
        s.box(-0.15 - swing, 0.3, -0.02 - swing, 0.43, jitter(rng, (126, 70, 44), 30), 0.7)
    s.box(-0.025 + lean, 0.8, 0.03 + lean, 0.86, skin, 0.5)
    hair = pick(rng, ((46, 34, 28), (110, 74, 44), (196, 160, 96), (30, 28, 30), (170, 166, 160)))
    s.ellipse(lean, 0.925, 0.062, 0.075, hair, 0.7)
    s.ellipse(0.014 + lean, 0.91, 0.048, 0.06, skin, 0.9)
    if rng.random() < 0.25:
        s.box(-0.07 + lean, 0.94, 0.075 + lean, 0.99, coat, 0.9)


_VEHICLES = {
    "hatch": (1.75, "0 .25 rear 0 .95 glass .4 1.45 body 2.2 1.5 glass 3 1 body 3.8 .82 front 3.9 .25 end"),
    "sedan": (
        1.8,
        "0 .25 rear 0 .92 body .7 .98 glass 1.3 1.4 body 2.6 1.43 glass 3.4 .98 body 4.4 .8 front 4.5 .3 end",
    ),
    "van": (1.95, "0 .3 rear 0 1 glass .08 1.95 body 3.7 2 glass 4.3 1.15 body 4.9 1 front 5 .3 end"),
    "bus": (2.4, "0 .3 rear 0 1.3 glass .05 2.75 body 8.4 2.75 glass 8.6 1.2 front 8.6 .3 end"),
}
"""By kind the width, and the outline from the rear bumper over the roof to the front bumper: metres from the rear,
height, and what the surface up to the next point is."""


def vehicle(canvas: Canvas, rng: Generator, x: float, z: float, heading: float, kind: str) -> None:
    """Paint a car, van or bus, its near end at ``z``; heading 0 is away from the camera, pi towards it, pi/2 right."""
    width, words = _VEHICLES[kind][0], _VEHICLES[kind][1].split()
    outline = [(float(u), float(y), s) for u, y, s in zip(words[::3], words[1::3], words[2::3], strict=True)]
    length, top, half = outline[-1][0], max(y for _, y, _ in outline), width / 2
    cos, sin, lamps = math.cos(heading), math.sin(heading), canvas.light.lamps
    mid = z + (abs(cos) * length + abs(sin) * width) / 2
    paint = jitter(rng, pick(rng, _PAINTS))
    black, glass = (24, 24, 26), (250, 220, 150) if lamps and kind == "bus" else (52, 68, 84)

    def world(u: float, v: float, y: float) -> Point3:
        # A body is narrower at the roof than at the sills; u is from the middle of the vehicle.
        v, u = v * (1 - 0.16 * max(0.0, y - 1.0) / (top - 0.9)), u - length / 2
        return x + v * cos + u * sin, y, mid + u * cos - v * sin

    def fill(points: Sequence[Point3], color: Color, lit: float) -> None:
        canvas.face(points, color, "vehicle", lit)

    def inset(quad: Sequence[Point3], a0: float, b0: float, a1: float, b1: float, color: Color, lit: float) -> None:
        """Fill the part of a quad that spans (a0, b0) to (a1, b1), a along its lower edge and b upwards."""
        rows = [(mix(quad[0], quad[3], b), mix(quad[1], quad[2], b)) for b in (b0, b1)]
        fill([mix(*rows[0], a0), mix(*rows[0], a1), mix(*rows[1], a1), mix(*rows[1], a0)], color, lit)

    def flank(v: float) -> None:
        fill([world(u, v, y) for u, y, _ in outline], paint, 0.8 if v * cos * canvas.light.side > 0 else 0.35)
        sill = [world(0, v, 0.25), world(length, v, 0.25), world(length, v, 0.42), world(0, v, 0.42)]
        fill(sill, mix(paint, black, 0.6), 0.4)
        # The panes of a side lie between the rear window and the windscreen, the two glass parts of the outline.
        (a, b), (c, d) = ((i, i + 1) for i, part in enumerate(outline) if part[2] == "glass")
        panes = [world(*(outline[i][0], v, outline[i][1])) for i in (a, d, c, b)]
        n = round(length / 2)
        for i in range(n):
            inset(panes, (i + 0.12) / n, 0.08, (i + 0.95) / n, 0.84, glass, 0.7)
        for u in (0.19 * length, 0.81 * length):
            for radius, color in ((0.33, black), (0.18, (150, 152, 156))):
                rim = ((math.cos(k * 0.524), math.sin(k * 0.524)) for k in range(12))
                fill([world(u + radius * c, v, 0.33 + radius * s) for c, s in rim], color, 0.5)

    for u in (0.05, length - 0.35):
        for v in (0.05 - half, half - 0.3):
            tyre = [world(u, v, 0), world(u, v + 0.25, 0), world(u + 0.3, v + 0.25, 0.4), world(u, v, 0.4)]
            fill(tyre, black, 0.4)
    faces = [([world(u, s * half, y) for u, y, _ in outline][::-s], s, "flank") for s in (-1, 1)]
    for (u0, y0, surface), (u1, y1, _) in pairwise(outline):
        quad = [world(u0, -half, y0), world(u0, half, y0), world(u1, half, y1), world(u1, -half, y1)]
        faces.append((quad[2:] + quad[:2] if surface == "front" else quad, 0, surface))
    # From far to near, so that nearer faces cover farther ones.
    for quad, s, surface in sorted(faces, key=lambda face: -sum(p[2] for p in face[0]) / len(face[0])):
        corners = [canvas.view.at(*p) for p in quad]
        if sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise([*corners, corners[0]])) > 0:
            continue  # by the sign of its area, the face is turned away from the camera
        if surface == "flank":
            flank(s * half)
            continue
        fill(quad, paint, 1.1 if surface == "body" else 0.6)
        if surface == "glass":
            inset(quad, 0.08, 0.1, 0.92, 0.9, glass, 0.7)
            inset(quad, 0.2, 0.2, 0.36, 0.8, mix(glass, (226, 238, 246), 0.3), 0.8)
        elif surface in ("rear", "front"):
            inset(quad, 0, 0, 1, 0.28, mix(paint, black, 0.75), 0.5)
            inset(quad, 0.36, 0.32, 0.64, 0.52, (232, 230, 214), 0.7)
            for a, corner in ((0.03, 3), (0.79, 2)):
                inset(
                    quad,
                    a,
                    0.6,
                    a + 0.18,
                    0.9,
                    (206, 26, 26) if surface == "rear" else (250, 246, 224),
                    0.9 + lamps / 2,
                )
                if lamps and surface == "front":
                    canvas.glow(*corners[corner], canvas.view.focal / z * 0.45, (255, 240, 200))

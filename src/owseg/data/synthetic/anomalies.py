"""The anomalies of the synthetic scenes: animals, mattresses, boulders and balloons.

Each is a function ``(canvas, rng, x, z, size)`` that paints one at (x, z), ``size`` times as large as in reality.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import cos, pi, sin

import numpy as np
from numpy.random import Generator

from owseg.data.synthetic.canvas import Billboard, Canvas, Point, Point3, blob, jitter, mix, pick, smooth

_FUR = {
    "brown": (122, 84, 52),
    "black": (48, 44, 44),
    "white": (216, 208, 194),
    "tan": (176, 136, 92),
    "spotted": (220, 214, 204),
}


_ANIMALS = {
    "deer": (1.15, 0.62, 0.21, 0.3, ("brown", "tan", "brown")),
    "dog": (0.76, 0.46, 0.18, 0.16, ("brown", "black", "white", "tan", "spotted")),
    "cow": (1.35, 0.4, 0.32, 0.12, ("spotted", "spotted", "brown", "black", "white")),
}
"""Body length in metres; legs, half the girth and neck in body lengths; coats, the likelier ones repeated."""


def animal(canvas: Canvas, rng: Generator, x: float, z: float, size: float, kind: str) -> None:
    """Paint a deer, a dog or a cow from the side or at an angle, in any pose and coat."""
    length, leg, girth, neck, coats = _ANIMALS[kind]
    coat = pick(rng, coats)
    fur = jitter(rng, _FUR[coat], 14)
    dark, horn = mix(fur, (30, 24, 22), 0.4), (196, 178, 148)
    s = Billboard(canvas, x, z, "animal", length * size, pick(rng, (-1, 1)) * rng.uniform(0.65, 1.0))
    back, step, thick = leg + girth * 1.6, rng.uniform(-0.15, 0.15), 0.028 + girth * 0.09

    def limb(u: float, swing: float, lit: float) -> None:
        knee = u + swing * 0.4 + (-0.05 if u < 0 else 0.02)
        s.limb(
            [
                (u, leg + girth * 0.5, girth * 0.36),
                (knee, leg * 0.52, thick),
                (u + swing, 0.05, thick * 0.75),
            ],
            fur,
            lit,
        )
        s.limb([(u + swing, 0.045, thick * 0.85), (u + swing + 0.03, 0.025, thick * 0.8)], dark, lit * 0.6)

    # Far legs and tail first, then the trunk, near legs, neck and head: each covers what is behind it.
    limb(-0.3, -step, 0.12)
    limb(0.3, step, 0.12)
    wag = rng.uniform(-0.3, 0.6)
    drop = {"deer": 0.12, "dog": -0.2 - 0.3 * wag, "cow": 0.5}[kind]
    s.limb(
        [
            (-0.5, back - 0.05, 0.03),
            (-0.61, back - drop * 0.6, 0.026),
            (-0.62 - 0.1 * wag, back - drop, 0.02),
        ],
        dark,
        0.6,
    )
    chest = leg + girth * 0.05
    body = [
        (-0.57, back - girth * 0.7),
        (-0.48, back - 0.01),
        (-0.15, back - 0.03),
        (0.2, back),
        (0.45, back + 0.02),
    ]
    body += [
        (0.57, back - girth * 0.6),
        (0.46, chest + 0.02),
        (0.1, chest - 0.02),
        (-0.25, chest + 0.05),
        (-0.5, leg + girth * 0.4),
    ]
    s.polygon(smooth(body), fur, 0.5)
    # A lighter back, as the light comes from above.
    ridge = [
        (-0.52, back - girth * 0.35),
        (-0.42, back - 0.02),
        (0, back - 0.04),
        (0.42, back - 0.01),
        (0.5, back - girth * 0.3),
    ]
    s.polygon(smooth([*ridge, (0, back - girth * 0.6)]), fur, 1.0)
    if coat == "spotted":
        for u, v, r in rng.uniform((-0.38, leg + girth * 0.6, 0.25), (0.38, back - girth * 0.4, 0.5), (7, 3)):
            spot = blob(u, v, r * girth * rng.uniform(0.8, 1.4, 6), r * girth * rng.uniform(0.5, 0.9, 6))
            s.polygon(smooth(spot, 3), (52, 40, 36), 0.7)
    limb(-0.38, step, 0.7)
    limb(0.38, -step, 0.7)
    grazing = rng.random() < 0.25
    raised = rng.uniform(-0.9, -0.4) if grazing else rng.uniform(-0.1, 0.4) if kind == "cow" else rng.uniform(0.6, 1.1)
    reach, head = neck + 0.18, 0.085 + girth * 0.22
    u, v = 0.46 + reach * cos(raised), back - girth * 0.35 + reach * sin(raised)
    s.limb(
        [
            (0.42, back - girth * 0.6, girth * 0.66),
            (u / 2 + 0.23, (back - girth * 0.4 + v) / 2, girth * 0.46),
            (u, v, head * 0.75),
        ],
        fur,
        0.75,
    )
    nod = rng.uniform(-0.7, -0.2)
    nose: Point = (u + head * 1.5 * cos(nod), v + head * 1.5 * sin(nod))
    s.limb([(u, v, head * 0.75), (*nose, head * 0.45)], fur, 0.9)
    s.ellipse(nose[0] + head * 0.2, nose[1], head * 0.26, head * 0.3, dark, 0.5)
    # Ears; horns or antlers below.
    for du, lit in ((-0.5, 0.4), (-0.1, 0.8)):
        tip = (u + (du - 0.6) * head, v + head * (0.1 if kind == "dog" else 1.1))
        s.polygon(
            [(u + (du - 0.2) * head, v + head * 0.4), (u + (du + 0.4) * head, v + head * 0.65), tip],
            dark,
            lit,
        )
    s.ellipse(u + head * 0.5, v + head * 0.2, head * 0.13, head * 0.13, (20, 16, 16), 0.6)
    if kind == "cow" or (kind == "deer" and rng.random() < 0.5):
        tall = head * (2.2 if kind == "deer" else 0.8)
        for du in (-0.2, 0.25):
            a, b = u + du * head, v + head * 0.6
            s.limb(
                [
                    (a, b, head * 0.13),
                    (a + du * head, b + tall / 2, head * 0.11),
                    (a + du * head, b + tall, head * 0.07),
                ],
                horn,
            )
            if kind == "deer":
                s.limb(
                    [
                        (a + du * head, b + tall / 2, head * 0.1),
                        (a + head * 0.6, b + tall * 0.8, head * 0.07),
                    ],
                    horn,
                )


_CLOTH = ((214, 206, 190), (184, 196, 212), (206, 172, 164), (150, 168, 150), (196, 182, 120))


def mattress(canvas: Canvas, rng: Generator, x: float, z: float, size: float) -> None:
    """Paint a mattress, leaning or on edge, striped or quilted: layers of its rounded outline."""
    yaw, pitch = rng.uniform(-0.9, 0.9), pick(rng, (0.25, 0.6, 1.0, 1.25)) + rng.uniform(-0.1, 0.15)
    wide, long, deep = *pick(rng, ((0.5, 0.9), (0.85, 0.5))), 0.24
    across = np.array([cos(yaw), 0, sin(yaw)]) * wide * size
    ahead = np.array([-sin(yaw) * cos(pitch), sin(pitch), cos(yaw) * cos(pitch)]) * long * size
    normal = np.array([sin(yaw) * sin(pitch), cos(pitch), -cos(yaw) * sin(pitch)]) * deep * size
    centre = np.array([x, ahead[1], z + abs(ahead[2]) + abs(across[2])])
    cloth = jitter(rng, pick(rng, _CLOTH))
    stripe = mix(cloth, pick(rng, ((70, 92, 150), (150, 70, 70), (96, 90, 84), (60, 120, 110))), 0.7)

    def patch(outline: list[Point], lift: float, ink: tuple[float, float, float], lit: float) -> None:
        spots = centre + np.array(outline) @ np.array([across, ahead]) + normal * lift
        points: list[Point3] = [(float(a), float(b), float(c)) for a, b, c in spots]
        canvas.face(points, ink, "mattress", lit)

    turn = np.linspace(0, 2 * pi, 40, endpoint=False)
    # Seven layers of the outline, from the underside up, make the thickness.
    for k in range(7):
        p, q = (np.sign(f) * np.abs(f) ** 0.35 * (1 + 0.04 * sin(pi * k / 6)) for f in (np.cos(turn), np.sin(turn)))
        patch(
            list(zip(p, q, strict=True)),
            k / 6,
            stripe if k in (1, 5) else cloth,
            0.95 if k == 6 else 0.3 + 0.05 * k,
        )
    quilted, n = rng.random() < 0.5, int(rng.integers(4, 7))
    for c in np.linspace(-0.8, 0.8, 2 * n - 1):
        if quilted:
            for sign in (1, -1):
                (p0, q0), (p1, q1) = ((q - 2 * c, q) for q in (max(-0.92, 2 * c - 0.92), min(0.92, 2 * c + 0.92)))
                line = [
                    (sign * p0 - 0.015, q0),
                    (sign * p0 + 0.015, q0),
                    (sign * p1 + 0.015, q1),
                    (sign * p1 - 0.015, q1),
                ]
                patch(line, 1, stripe, 0.8)
        else:
            patch([(c - 0.045, -0.95), (c + 0.045, -0.95), (c + 0.045, 0.95), (c - 0.045, 0.95)], 1, stripe, 0.9)


def boulder(canvas: Canvas, rng: Generator, x: float, z: float, size: float) -> None:
    """Paint a rock: a rough outline, facets that turn towards or from the sun, specks and a crack."""
    rock = jitter(rng, pick(rng, ((128, 122, 114), (140, 118, 96), (104, 108, 112), (150, 146, 136))), 14)
    s, sun, n, tall = Billboard(canvas, x, z, "boulder", size), canvas.light.side, 13, rng.uniform(0.75, 1.15)
    angle = np.linspace(0, 2 * pi, n, endpoint=False) + rng.uniform(-0.15, 0.15, n)
    rough, inner = rng.uniform(0.8, 1.12, n), rng.uniform(0.3, 0.62, n)
    rim = [(0.62 * r * cos(a), max(0.0, 0.42 + 0.52 * tall * r * sin(a))) for a, r in zip(angle, rough, strict=True)]
    core = [(u * k + 0.08 * sun, 0.5 + (v - 0.42) * k * 0.8) for (u, v), k in zip(rim, inner, strict=True)]
    s.polygon(rim, rock, 0.4)
    for i, j in zip(range(n), [*range(1, n), 0], strict=True):
        # Facets that face up or towards the sun are lighter.
        lit = 0.45 + 0.32 * sin(angle[i]) + 0.3 * cos(angle[i]) * sun + rng.uniform(-0.1, 0.1)
        s.polygon([rim[i], rim[j], core[j], core[i]], rock, lit)
    s.polygon(core, rock, 0.75)
    for u, v, r, lit in rng.uniform((-0.4, 0.16, 0.008, 0.1), (0.4, 0.7, 0.035, 1.1), (26, 4)):
        s.ellipse(u, v * tall, r * 1.4, r, rock, lit)
    a, b, c = rng.uniform(-0.15, 0.15, 3)
    s.limb([(a, 0.75 * tall, 0.012), (b, 0.55 * tall, 0.014), (c, 0.25, 0.01)], rock, 0.05)


_RUBBER = ((206, 52, 60), (60, 110, 196), (236, 186, 60), (90, 160, 96), (170, 96, 170), (220, 220, 216))


def balloon(canvas: Canvas, rng: Generator, x: float, z: float, size: float) -> None:
    """Paint a glossy balloon above the ground, of one colour or with stripes of a second, with its knot and string."""
    hue, sun = jitter(rng, pick(rng, _RUBBER), 14), canvas.light.side
    other, white = mix(hue, pick(rng, ((245, 240, 228), (40, 44, 70))), 0.8), mix(hue, (255, 255, 255), 0.75)
    s, lift, tall = Billboard(canvas, x, z, "balloon", size), rng.uniform(0.2, 0.5), rng.uniform(0.48, 0.6)
    v = lift + tall
    s.limb([(0.02, 0.02, 0.012), (-0.05, lift * 0.5, 0.012), (0, lift, 0.012)], (210, 204, 190), 0.6)
    s.polygon([(-0.07, lift - 0.06), (0.07, lift - 0.06), (0, lift + 0.06)], hue, 0.3)
    s.ellipse(0, v, 0.5, tall, hue, 0.15)
    if rng.random() < 0.6:
        for i, r in enumerate((0.48, 0.36, 0.22, 0.08)):
            s.ellipse(0.02 * sun * i, v, r, tall * 0.97, other if i % 2 else hue, 0.5 + 0.14 * i)
    else:
        for k in range(1, 7):
            s.ellipse(0.02 * sun * k, v + 0.03 * k, 0.53 - k / 14, tall * (1 - k / 7) + 0.03, hue, 0.2 + 0.15 * k)
    s.ellipse(0.2 * sun, v + tall * 0.45, 0.09, 0.13, white, 1.05)
    s.ellipse(0.3 * sun, v + tall * 0.1, 0.03, 0.05, white, 0.9)


ANOMALIES: dict[str, tuple[tuple[Callable[..., None], float], ...]] = {
    "animal": (
        (partial(animal, kind="deer"), 0.84),
        (partial(animal, kind="dog"), 0.3),
        (partial(animal, kind="cow"), 1.36),
    ),
    "mattress": ((mattress, 1.3),),
    "boulder": ((boulder, 0.83),),
    "balloon": ((balloon, 0.89),),
}
"""By kind of anomaly its painters, each with the square metres that it covers at size 1."""

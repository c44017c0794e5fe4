"""The background of the synthetic scenes: sky, ground and two rows of houses."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from PIL import Image

from owseg.data.synthetic.canvas import Canvas, Color, jitter, mix, pick

FAR = 60.0
"""The depth in metres where the street ends."""


@dataclass(frozen=True)
class Street:
    """Half the width of the road, and the distance of the house fronts from its middle, in metres."""

    road: float
    wall: float


def noise(rng: Generator, height: int, width: int, cells: int) -> np.ndarray:
    """Return smooth noise (height, width) float32, about -1..1, with ``cells`` cells to the width."""
    grid = rng.uniform(-1, 1, (max(3, round(cells * height / width)), cells)).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))


def sky(canvas: Canvas, rng: Generator) -> None:
    """Paint a gradient, clouds in three octaves, and on the horizon a line of roofs and tree tops."""
    view, light = canvas.view, canvas.light
    h, w = int(view.cy) + 2, view.width
    down = np.linspace(0, 1, h // 2, dtype=np.float32)[:, None, None] ** 1.3
    # Painted at half the size, which is enough for what is smooth, and enlarged.
    blue = np.array(light.zenith, np.float32) * (1 - down) + np.array(light.horizon, np.float32) * down
    cloud = sum((noise(rng, h // 2, w // 2, cells) / k for cells, k in ((4, 1), (9, 2), (21, 4))), np.float32(0))
    cover = np.clip((cloud - 0.35 + 0.5 * light.cloud) * 1.1, 0, 0.85)[..., None]
    white = np.array(mix(light.horizon, (255, 250, 244), 0.5 if light.lamps else 0.8), np.float32)
    blue = blue * (1 - cover) + (white - 26 * np.clip(cloud, 0, 1)[..., None]) * cover
    canvas.image.paste(Image.fromarray(np.clip(blue, 0, 255).astype(np.uint8)).resize((w, h)), (0, 0))
    roofs = np.repeat(rng.uniform(0.02, 0.075, w // 14 + 1), 2)
    edges = np.repeat(np.arange(w // 14 + 2) * 14.0, 2)[1:-1]
    leaves = rng.uniform(0.01, 0.035, w // 5 + 2)
    for name, color, xs, tops in (
        ("building", (140, 132, 136), edges, roofs),
        ("tree", (84, 104, 76), np.arange(len(leaves)) * 5.0, leaves),
    ):
        skyline = zip(xs.tolist(), (view.cy - view.height * tops).tolist(), strict=True)
        canvas.polygon([(0, h + 4), *skyline, (w, h + 4)], canvas.tone(color, 80, 0.6), name)


def ground(canvas: Canvas, rng: Generator, street: Street) -> None:
    """Paint pavements and road with gutters and kerbs, lane markings, patches of tar, perhaps a crossing."""
    view, r = canvas.view, street.road
    # Steps that grow with the depth, so that the straight pieces of the bend are of like size in the image.
    depths = [view.near * 0.9 * (2 * FAR / view.near) ** (k / 24) for k in range(25)]

    def strip(x0: float, x1: float, color: Color, name: str, z0: float = 0.0, z1: float = 2 * FAR) -> None:
        zs = [max(z0, depths[0]), *(z for z in depths[1:] if z0 < z < z1), z1]
        points = [view.at(x0, 0, z) for z in zs] + [view.at(x1, 0, z) for z in zs[::-1]]
        canvas.polygon(points, canvas.tone(color, min(z1, 12), 0.9), name)

    slab = jitter(rng, pick(rng, ((168, 160, 150), (150, 146, 146), (178, 162, 142), (160, 140, 130))), 10)
    tar = jitter(rng, pick(rng, ((86, 88, 94), (98, 96, 96), (74, 76, 82))), 8)
    paint = mix((232, 230, 222), tar, rng.uniform(0.05, 0.3))
    below = [(0, view.cy), (view.width, view.cy), (view.width, view.height), (0, view.height)]
    canvas.polygon(below, canvas.tone(slab, 14, 0.9), "pavement")
    strip(-r, r, tar, "road")
    for side in (-1, 1):
        strip(side * r, side * (r + 0.22), mix(slab, (225, 222, 216), 0.55), "pavement")
        strip(side * (r - 0.3), side * r, mix(tar, (30, 30, 34), 0.4), "road")
    for _ in range(int(rng.integers(2, 6))):
        x, z, wide, long = (
            rng.uniform(-r, r - 1.6),
            rng.uniform(4, 22),
            rng.uniform(0.5, 1.6),
            rng.uniform(0.6, 3),
        )
        patch = mix(tar, pick(rng, ((50, 50, 54), (128, 126, 124))), 0.35)
        strip(x, x + wide, patch, "road", z, z + long)
    if rng.random() < 0.6:
        strip(r - 0.5, r - 0.38, paint, "road")
        strip(0.38 - r, 0.5 - r, paint, "road")
    dash, z = rng.uniform(2, 3.5), rng.uniform(3, 5)
    if rng.random() < 0.2:
        strip(-0.08, 0.08, paint, "road")
    while z < FAR:
        strip(-0.08, 0.08, paint, "road", z, z + dash)
        z += dash * 2.2
    if rng.random() < 0.4:
        z = rng.uniform(7, 16)
        for x in np.arange(0.5 - r, r - 0.6, 0.95):
            strip(float(x), float(x) + 0.45, paint, "road", z, z + 3)


_WALLS = (
    *((176, 92, 72), (150, 84, 70), (214, 196, 160), (206, 176, 132), (186, 190, 186)),
    *((222, 214, 200), (140, 150, 162), (196, 150, 120), (160, 170, 140)),
)


def house(canvas: Canvas, rng: Generator, x: float, z0: float, z1: float, height: float) -> None:
    """Paint a house whose front at ``x`` runs from ``z0`` to ``z1``: storeys, windows, a door or a shop."""
    wall, roof = jitter(rng, pick(rng, _WALLS), 14), pick(rng, ((120, 66, 54), (84, 84, 92), (104, 84, 74)))
    glass = jitter(rng, pick(rng, ((66, 84, 104), (84, 100, 112), (52, 62, 76))))
    awning = jitter(rng, pick(rng, ((170, 44, 44), (40, 96, 84), (210, 160, 60), (60, 76, 130))))
    door = jitter(rng, pick(rng, ((92, 54, 40), (40, 70, 62), (60, 60, 84))))
    shop, floor, tall = rng.random() < 0.45, rng.uniform(2.7, 3.3), rng.uniform(1.3, 1.9)
    trim, warm, side = mix(wall, (240, 236, 226), 0.6), (255, 216, 136), 1 if x > 0 else -1
    lamps, lit = canvas.light.lamps, 0.3 if side == canvas.light.side else 0.85

    def front(y0: float, y1: float, a: float, b: float, color: Color, more: float = 0.0) -> None:
        canvas.face([(x, y0, a), (x, y0, b), (x, y1, b), (x, y1, a)], color, "building", lit + more)

    back, ridge, eave = x + side * 9, x + side * 4.5, x - side * 0.4
    gable = height < 10 and rng.random() < 0.7
    if gable:
        canvas.face([(x, height, z0), (ridge, height + 3.2, z0), (back, height, z0)], wall, "building", 0.55)
        slope = [
            (eave, height - 0.2, z0),
            (eave, height - 0.2, z1),
            (ridge, height + 3.2, z1),
            (ridge, height + 3.2, z0),
        ]
        canvas.face(slope, roof, "building", lit + 0.1)
    canvas.face([(x, 0, z0), (back, 0, z0), (back, height, z0), (x, height, z0)], wall, "building", 0.5)
    for a, b in pairwise(np.linspace(z0, z1, 4).tolist()):
        front(0, height, a, b, wall)
    front(0, 0.5, z0, z1, mix(wall, (60, 58, 60), 0.5))
    if not gable:
        front(height - 0.45, height, z0, z1, trim, 0.12)
    if shop:
        front(0.4, 2.2, z0 + 0.6, z1 - 0.6, warm if lamps else glass, 0.4 * lamps)
        front(2.2, 2.7, z0 + 0.3, z1 - 0.3, awning, 0.1)
        a, b, out = z0 + 0.4, z1 - 0.4, x - side * 0.9
        canvas.face([(x, 2.3, a), (x, 2.3, b), (out, 1.9, b), (out, 1.9, a)], awning, "building", lit + 0.25)
    columns = max(1, int((z1 - z0) / rng.uniform(1.9, 2.6)))
    pitch, wide, shines = (z1 - z0) / columns, rng.uniform(0.9, 1.4), rng.random((8, 8))
    for storey in range(int((height - 0.4) / floor)):
        y = storey * floor
        if storey:
            front(y - 0.12, y + 0.06, z0, z1, trim, -0.1)
        for i in range(0 if storey or not shop else columns, columns):
            a = z0 + i * pitch + (pitch - wide) / 2
            # Its width in the image, as f |x| / z changes by f |x| / z^2 a metre. Windows of a pixel are left out.
            pixels = canvas.view.focal / a**2 * wide * abs(x)
            if a < 2.4 or pixels < 1.6:
                continue
            if storey == 0 and i == columns // 2:
                front(0, 2.2, a, a + 1.0, trim)
                front(0, 2.1, a + 0.1, a + 0.9, door)
                continue
            shine = lamps and shines[storey % 8, i % 8] < 0.45
            front(y + 0.85, y + 1.0 + tall, a - 0.12, a + wide + 0.12, trim)
            front(y + 0.95, y + 0.9 + tall, a, a + wide, warm if shine else glass, 0.5 if shine else 0.05)
            if pixels > 9:
                front(y + 0.95, y + 0.9 + tall, a + wide * 0.46, a + wide * 0.54, trim)
            if pixels > 9 and not shine:
                gleam = mix(glass, canvas.light.zenith, 0.5)
                front(y + 1.0 + tall / 2, y + 0.85 + tall, a + 0.08, a + wide * 0.4, gleam, 0.3)

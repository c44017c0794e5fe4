"""A world of street scenes made by rules: any seed is a street, labelled to the pixel, with or without anomalies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageFilter

from owseg.data.synthetic_objects import ANOMALIES, CLASSES, Canvas, Light, View, jitter, mix, person, pick, pole, tree, vehicle
from owseg.errors import OwsegError

__all__ = ["CLASSES", "SPLITS", "render", "scene"]

SPLITS = {"train": (100_000, 400), "val": (200_000, 60), "test": (300_000, 100), "shots": (400_000, 40)}
"""Each split's first seed and its number of scenes. Only test and shots hold anomalies; shots one big animal each."""

_SUNNY = Light((70, 136, 214), (196, 220, 236), (1.08, 1.04, 0.95), (0.56, 0.61, 0.74), 92, 0.006, 0.6, False)
_OVERCAST = Light((158, 170, 184), (212, 217, 222), (0.93, 0.95, 0.98), (0.72, 0.75, 0.8), 34, 0.011, 1.0, False)
_DUSK = Light((64, 72, 128), (248, 172, 118), (1.0, 0.78, 0.66), (0.46, 0.44, 0.6), 62, 0.009, 0.7, True)
_FAR = 60.0


@dataclass(frozen=True)
class _Thing:
    """Something that stands at (x, z), so wide and so high in metres; ``draw`` paints it."""

    x: float
    z: float
    width: float
    height: float
    draw: Callable[[Canvas], None]


@dataclass(frozen=True)
class _Street:
    """Half the road's width and the distance of the house fronts from its middle, in metres."""

    road: float
    wall: float


def render(
    seed: int,
    size: tuple[int, int] = (192, 256),
    anomalies: Sequence[str] = (),
    *,
    count: tuple[int, int] = (1, 3),
    area: tuple[float, float] = (0.007, 0.06),
) -> tuple[np.ndarray, np.ndarray]:
    """Return the street ``seed``: image (H, W, 3) uint8 and labels (H, W) uint8, ids of ``CLASSES``.

    ``anomalies`` names the kinds that may stand in it: from ``count[0]`` to ``count[1]`` of them, each aimed at a share
    of the picture within ``area``; none for (). Raises ``OwsegError`` for another kind or a size below 32.
    """
    for kind in anomalies:
        if kind not in ANOMALIES:
            raise OwsegError(f"{kind!r} is no anomaly of the synthetic world; it has {', '.join(ANOMALIES)}.")
    if min(size) < 32:
        raise OwsegError(f"a street of {size[0]}x{size[1]} pixels is too small to draw; make both sides at least 32.")
    sky_rng, plan_rng, odd_rng, lens_rng = (np.random.default_rng([seed, k]) for k in range(4))
    light = _light(sky_rng)
    street = _Street(road := plan_rng.uniform(3.2, 5.2), road + plan_rng.uniform(2.2, 3.6))
    canvas = Canvas(_view(plan_rng, size, street), light)
    _sky(canvas, sky_rng)
    _ground(canvas, plan_rng, street)
    houses, furniture = _houses(plan_rng, street), _furniture(plan_rng, street)
    odd = _odd_things(odd_rng, canvas.view, street, anomalies, count, area) if anomalies else []
    things = [t for t in furniture if not any(_hides(canvas.view, t, o) for o in odd)] + odd
    if light.shadow > 60:
        _house_shadows(canvas, street, houses)
    for thing in things:
        _shadow(canvas, thing)
    for thing in sorted([*houses, *things], key=lambda t: -t.z):
        thing.draw(canvas)
    return _photograph(canvas, lens_rng)


def scene(split: str, i: int, size: tuple[int, int] = (192, 256)) -> tuple[np.ndarray, np.ndarray]:
    """Return image and labels of scene ``i`` of a split; raise ``OwsegError`` for an unknown split or no such scene."""
    if split not in SPLITS:
        raise OwsegError(f"{split!r} is no split of the synthetic streets; it is one of {', '.join(SPLITS)}.")
    first, n = SPLITS[split]
    if not 0 <= i < n:
        raise OwsegError(f"the synthetic split {split} has the scenes 0 to {n - 1}, not {i}.")
    if split == "shots":
        return render(first + i, size, ("animal",), count=(1, 1), area=(0.03, 0.06))
    return render(first + i, size, tuple(ANOMALIES) if split == "test" else ())


def _light(rng: Generator) -> Light:
    base = pick(rng, (_SUNNY, _SUNNY, _OVERCAST, _DUSK))
    zenith, horizon = jitter(rng, base.zenith, 14), jitter(rng, base.horizon, 10)
    return replace(base, zenith=zenith, horizon=horizon, side=pick(rng, (-1, 1)), cloud=base.cloud * rng.uniform(0.3, 1))


def _view(rng: Generator, size: tuple[int, int], street: _Street) -> View:
    height, width = 2 * size[0], 2 * size[1]
    cx, cy = width * rng.uniform(0.38, 0.62), height * rng.uniform(0.38, 0.48)
    side, bend = rng.uniform(0.0, 0.5) * street.road, rng.uniform(-0.0022, 0.0022)
    return View(width, height, width * rng.uniform(0.78, 0.95), cx, cy, rng.uniform(1.7, 2.3), side, bend)


def _noise(rng: Generator, height: int, width: int, cells: int) -> np.ndarray:
    """Return smooth noise (height, width) float32, about -1..1, that changes over ``cells`` cells of the width."""
    grid = rng.uniform(-1, 1, (max(2, round(cells * height / width)), cells)).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))


def _sky(canvas: Canvas, rng: Generator) -> None:
    """A gradient down to the horizon, clouds in three octaves, and a far line of roofs and tree tops."""
    view, light = canvas.view, canvas.light
    h, w = int(view.cy) + 2, view.width
    t = np.linspace(0, 1, h // 2, dtype=np.float32)[:, None, None] ** 1.3
    sky = np.asarray(light.zenith, np.float32) * (1 - t) + np.asarray(light.horizon, np.float32) * t
    cloud = sum(_noise(rng, h // 2, w // 2, c) / a for c, a in ((4, 1.0), (9, 2.0), (21, 4.0)))
    cover = np.clip((cloud - 0.35 + 0.5 * light.cloud) * 1.1, 0, 0.85)[..., None]
    white = np.asarray(mix(light.horizon, (255, 250, 244), 0.5 if light.lamps else 0.8), np.float32)
    sky = sky * (1 - cover) + (white - 26 * np.clip(cloud, 0, 1)[..., None]) * cover
    canvas.image.paste(Image.fromarray(np.clip(sky, 0, 255).astype(np.uint8)).resize((w, h)), (0, 0))
    for name, color, z, step, top in (("building", (140, 132, 136), 90, 14, 0.075), ("tree", (84, 104, 76), 70, 5, 0.035)):
        tops = view.cy - view.height * top * rng.uniform(0.3, 1, w // step + 2)
        if name == "building":
            tops = np.repeat(tops, 2)
            xs = np.repeat(np.arange(len(tops) // 2 + 1) * step, 2)[1:-1]
        else:
            xs = np.arange(len(tops)) * step
        line = [(float(a), float(b)) for a, b in zip(xs, tops, strict=True)]
        canvas.polygon([(0, h + 4), *line, (w, h + 4)], canvas.tone(color, z, 0.6), name)


def _ground(canvas: Canvas, rng: Generator, street: _Street) -> None:
    """Pavement to both sides, the road with its gutters and kerbs, lane markings, patches, perhaps a crossing."""
    view = canvas.view
    depths = [view.near * 0.9 * (_FAR * 2 / view.near) ** (k / 24) for k in range(25)]

    def strip(x0: float, x1: float, color: Sequence[float], name: str, z0: float = 0, z1: float = 999) -> None:
        zs = [z0, *(z for z in depths if z0 < z < z1), z1] if z0 else depths
        points = [view.at(x0, 0, z) for z in zs] + [view.at(x1, 0, z) for z in reversed(zs)]
        canvas.polygon(points, canvas.tone(color, min(z1, 12), 0.9), name)

    slab = jitter(rng, pick(rng, ((168, 160, 150), (150, 146, 146), (178, 162, 142), (160, 140, 130))), 10)
    tar = jitter(rng, pick(rng, ((86, 88, 94), (98, 96, 96), (74, 76, 82))), 8)
    canvas.polygon([(0, view.cy), (view.width, view.cy), (view.width, view.height), (0, view.height)], canvas.tone(slab, 14, 0.9), "pavement")
    r = street.road
    strip(-r, r, tar, "road")
    for side in (-1, 1):
        strip(side * r, side * (r + 0.22), mix(slab, (225, 222, 216), 0.55), "pavement")
        strip(side * (r - 0.3), side * r, mix(tar, (30, 30, 34), 0.4), "road")
    for _ in range(int(rng.integers(2, 6))):
        x, z = rng.uniform(-r, r - 1.2), rng.uniform(4, 22)
        strip(x, x + rng.uniform(0.5, 1.6), mix(tar, pick(rng, ((50, 50, 54), (128, 126, 124))), 0.35), "road", z, z + rng.uniform(0.6, 3))
    paint = mix((232, 230, 222), tar, rng.uniform(0.05, 0.3))
    if rng.random() < 0.6:
        for side in (-1, 1):
            strip(side * (r - 0.5), side * (r - 0.38), paint, "road")
    dash, z = rng.uniform(2, 3.5), rng.uniform(3, 5)
    if rng.random() < 0.2:
        strip(-0.08, 0.08, paint, "road")
    while z < _FAR:
        strip(-0.08, 0.08, paint, "road", z, z + dash)
        z += dash * 2.2
    if rng.random() < 0.4:
        z, x = rng.uniform(7, 16), -r + 0.5
        while x < r - 0.6:
            strip(x, x + 0.45, paint, "road", z, z + 3)
            x += 0.95


def _houses(rng: Generator, street: _Street) -> list[_Thing]:
    """Two rows of houses with a gap here and there."""
    rows = []
    for side in (-1, 1):
        z = 1.2
        while z < _FAR:
            depth, height = rng.uniform(6, 13), pick(rng, (5.0, 8.0, 9.5, 11.0, 14.0, 18.0)) * rng.uniform(0.9, 1.1)
            if rng.random() > 0.14 or z < 4:
                rows.append(_house(np.random.default_rng(rng.integers(2**32)), side, side * street.wall, z, z + depth, height))
            else:
                depth *= 0.5
            z += depth
    return rows


_WALLS = ((176, 92, 72), (150, 84, 70), (214, 196, 160), (206, 176, 132), (186, 190, 186), (222, 214, 200), (140, 150, 162), (196, 150, 120), (160, 170, 140))


def _house(rng: Generator, side: int, x: float, z0: float, z1: float, height: float) -> _Thing:
    """A house of storeys: its front along the street, the end towards the camera, roof, windows, a door or a shop."""
    wall, roof = jitter(rng, pick(rng, _WALLS), 14), jitter(rng, pick(rng, ((120, 66, 54), (84, 84, 92), (104, 84, 74))))
    trim, glass = mix(wall, (240, 236, 226), 0.6), jitter(rng, pick(rng, ((66, 84, 104), (84, 100, 112), (52, 62, 76))))
    gable, shop, floor = height < 10 and rng.random() < 0.7, rng.random() < 0.45, rng.uniform(2.7, 3.3)
    pitch, wide, tall = rng.uniform(1.8, 2.6), rng.uniform(0.9, 1.4), rng.uniform(1.3, 1.9)
    awning, glows = jitter(rng, pick(rng, ((170, 44, 44), (40, 96, 84), (210, 160, 60), (60, 76, 130)))), rng.random(64)
    door = jitter(rng, pick(rng, ((92, 54, 40), (40, 70, 62), (60, 60, 84))))

    def draw(canvas: Canvas) -> None:
        lit = 0.85 if side * canvas.light.side < 0 else 0.3
        lamps, f = canvas.light.lamps, canvas.view.focal

        def front(y0: float, y1: float, a: float, b: float, color: Sequence[float], k: float = 0.0, out: float = 0.0) -> None:
            xo = x - side * out
            canvas.face([(xo, y0, a), (xo, y0, b), (xo, y1, b), (xo, y1, a)], color, "building", lit + k)

        back = x + side * 9
        if gable:
            ridge, top = x + side * 4.5, height + 3.2
            canvas.face([(x, height, z0), (ridge, top, z0), (back, height, z0)], wall, "building", 0.55)
            canvas.face([(x - side * 0.4, height - 0.2, z0), (x - side * 0.4, height - 0.2, z1), (ridge, top, z1), (ridge, top, z0)], roof, "building", lit + 0.1)
        canvas.face([(x, 0, z0), (back, 0, z0), (back, height, z0), (x, height, z0)], wall, "building", 0.5)
        cuts = np.linspace(z0, z1, 4)
        for a, b in zip(cuts, cuts[1:], strict=False):
            front(0, height, a, b, wall)
        front(0, 0.5, z0, z1, mix(wall, (60, 58, 60), 0.5))
        if not gable:
            front(height - 0.45, height, z0, z1, trim, 0.12, 0.15)
        n = int((z1 - z0 - 0.8) / pitch)
        start = z0 + (z1 - z0 - n * pitch) / 2 + (pitch - wide) / 2
        for storey in range(int((height - 0.4) / floor)):
            y = storey * floor
            if storey:
                front(y - 0.12, y + 0.06, z0, z1, trim, -0.1)
            elif shop:
                front(0.4, 2.2, z0 + 0.6, z1 - 0.6, (255, 224, 150) if lamps else glass, 0.4 if lamps else 0.0)
                front(2.2, 2.6, z0 + 0.3, z1 - 0.3, awning, 0.1)
                sheet = [(x, 2.3, z0 + 0.4), (x, 2.3, z1 - 0.4), (x - side * 0.9, 1.9, z1 - 0.4), (x - side * 0.9, 1.9, z0 + 0.4)]
                canvas.face(sheet, awning, "building", lit + 0.25)
            for i in range(n):
                a = start + i * pitch
                if a < 2.4 or (storey == 0 and shop) or f / a**2 * wide * abs(x) < 1.6:
                    continue
                if storey == 0 and i == n // 2:
                    front(0, 2.2, a, a + 1.0, trim)
                    front(0, 2.1, a + 0.1, a + 0.9, door)
                    continue
                shine = lamps and glows[(storey * 7 + i * 3) % 64] < 0.45
                front(y + 0.85, y + 1.0 + tall, a - 0.12, a + wide + 0.12, trim)
                front(y + 0.95, y + 0.9 + tall, a, a + wide, (255, 214, 130) if shine else glass, 0.5 if shine else 0.05)
                if f / a**2 * wide * abs(x) > 9:
                    front(y + 0.95, y + 0.9 + tall, a + wide * 0.46, a + wide * 0.54, trim)
                    if not shine:
                        front(y + 1.0 + tall * 0.5, y + 0.85 + tall, a + 0.08, a + wide * 0.4, mix(glass, canvas.light.zenith, 0.5), 0.3)

    return _Thing(x, z1, z1 - z0, height, draw)


def _furniture(rng: Generator, street: _Street) -> list[_Thing]:
    """Trees, poles, people and vehicles, each in its place in the street."""
    things: list[_Thing] = []
    r, w = street.road, street.wall

    def add(draw: Callable[..., None], x: float, z: float, width: float, height: float, *more: object) -> None:
        own = np.random.default_rng(rng.integers(2**32))
        things.append(_Thing(x, z, width, height, lambda canvas: draw(canvas, own, x, z, *more)))

    for side in (-1, 1):
        z, gap = rng.uniform(6, 13), rng.uniform(6, 13)
        while z < _FAR * 0.8:
            if rng.random() < 0.75:
                add(tree, side * (w - rng.uniform(0.4, 1.0)), z, 2.5, 5.0)
            z += gap * rng.uniform(0.8, 1.3)
        z, gap = rng.uniform(5, 11), rng.uniform(8, 14)
        while z < 40:
            add(pole, side * (r + 0.5), z, 0.2, 5.0)
            z += gap
        z = rng.uniform(6, 14)
        while z < 40:
            if rng.random() < 0.5:
                kind = pick(rng, ("hatch", "sedan", "hatch", "van"))
                add(vehicle, side * (r - 1.0), z, 2.0, 1.5, pick(rng, (0.0, np.pi)) + rng.normal() * 0.03, kind)
            z += rng.uniform(5.8, 9)
    for lane, heading in ((0.45, 0.0), (-0.45, np.pi)):
        z = rng.uniform(9, 22)
        while z < 50:
            kind = pick(rng, ("hatch", "sedan", "sedan", "van", "bus"))
            add(vehicle, lane * r, z, 2.0, 1.6, heading + rng.normal() * 0.03, kind)
            z += rng.uniform(11, 30)
    if rng.random() < 0.25:
        heading = pick(rng, (-1, 1)) * np.pi / 2
        add(vehicle, rng.uniform(-0.5, 0.5) * r, rng.uniform(9, 18), 4.2, 1.5, heading, pick(rng, ("hatch", "sedan", "van")))
    for _ in range(int(rng.integers(5, 13))):
        side, z = pick(rng, (-1, 1)), 5.5 + 24 * rng.random() ** 1.5
        x = rng.uniform(-r, r) if rng.random() < 0.18 else side * rng.uniform(r + 0.6, w - 0.5)
        add(person, x, z, 0.5, 1.7)
        if rng.random() < 0.35:
            add(person, x + 0.6, z + 0.1, 0.5, 1.7)
    return things


def _odd_things(
    rng: Generator, view: View, street: _Street, kinds: Sequence[str], count: tuple[int, int], area: tuple[float, float]
) -> list[_Thing]:
    """Anomalies on the road or the pavement, apart from each other; the depth follows from the share of the picture."""
    things: list[_Thing] = []
    for _ in range(int(rng.integers(count[0], count[1] + 1))):
        kind = pick(rng, kinds)
        draw, filled = ANOMALIES[kind]
        own, share = np.random.default_rng(rng.integers(2**32)), area[0] * (area[1] / area[0]) ** rng.random()
        pixels = (share * view.width * view.height / filled) ** 0.5
        z = float(np.clip(view.focal / pixels, view.near * 1.12, 20))
        size = float(np.clip(pixels * z / view.focal, 0.7, 1.5))
        for _ in range(20):
            x = rng.uniform(-street.wall + 0.8, street.wall - 0.8)
            thing = _Thing(x, z, 1.5 * size, 1.2 * size, lambda c, d=draw, g=own, x=x, z=z, s=size: d(c, g, x, z, s))
            a, b = _span(view, thing)
            if a > 0 and b < view.width and not any(_hides(view, thing, o) or _hides(view, o, thing) for o in things):
                things.append(thing)
                break
    return things


def _span(view: View, t: _Thing) -> tuple[float, float]:
    return view.at(t.x - t.width / 2, 0, t.z)[0], view.at(t.x + t.width / 2, 0, t.z)[0]


def _hides(view: View, front: _Thing, behind: _Thing) -> bool:
    """Say whether ``front`` is nearer and covers more than a sixth of the width of ``behind``."""
    (a, b), (c, d) = _span(view, front), _span(view, behind)
    return front.z < behind.z + 2.5 and min(b, d) - max(a, c) > (d - c) / 6


def _house_shadows(canvas: Canvas, street: _Street, houses: Sequence[_Thing]) -> None:
    sun = canvas.light.side
    for h in houses:
        if h.x * sun > 0:
            z0, z1, reach = h.z - h.width, h.z, h.height * 0.42
            ground = ((h.x, z0), (h.x, z1), (h.x - sun * reach, z1 - 1.5), (h.x - sun * reach, max(z0 - 1.5, 1.2)))
            canvas.glaze([canvas.view.at(x, 0, z) for x, z in ground], (24, 28, 56), canvas.light.shadow)


def _shadow(canvas: Canvas, t: _Thing) -> None:
    """Darken the ground under a thing, and where the sun throws its shadow."""
    turn, view, light = np.linspace(0, 2 * np.pi, 16, endpoint=False), canvas.view, canvas.light
    for reach, wide, deep, alpha in ((0.0, 0.62, 0.35, 60), (0.5 * min(t.height, 3.5), 0.6, 0.3, light.shadow * 0.8)):
        middle, long = t.x - light.side * reach / 2, reach / 2 + t.width * wide
        ring = [(middle + long * np.cos(a), max(t.z + 0.15 + (0.3 + t.width * deep) * np.sin(a), 1.2)) for a in turn]
        canvas.glaze([view.at(float(x), 0, float(z)) for x, z in ring], (18, 20, 40), alpha)


_GRAIN = {"road": (0.05, 0.06), "pavement": (0.045, 0.06), "building": (0.035, 0.06), "sky": (0.0, 0.0), "tree": (0.10, 0.08), "boulder": (0.08, 0.08), "animal": (0.05, 0.03)}


def _photograph(canvas: Canvas, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Bring the canvas to size, roughen each surface, and add what a camera adds: blur, a cast, a vignette, noise."""
    labels = np.ascontiguousarray(np.asarray(canvas.labels)[1::2, 1::2])
    image = np.asarray(canvas.image.reduce(2), np.float32)
    h, w = labels.shape
    grain = np.array([_GRAIN.get(name, (0.02, 0.02)) for name in CLASSES.names], np.float32)[labels]
    rough = 1 + grain[..., 0] * rng.standard_normal((h, w), np.float32) + grain[..., 1] * _noise(rng, h, w, 40)
    image *= (rough * _joints(canvas.view, labels))[..., None]
    radius = rng.uniform(0, 0.6)
    blurred = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    y, x = np.ogrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    cast = (rng.uniform(0.9, 1.1) * rng.uniform(0.96, 1.04, 3)).astype(np.float32)
    image = np.asarray(blurred, np.float32) * ((1 - 0.09 * (x * x + y * y)).astype(np.float32)[..., None] * cast)
    image += rng.standard_normal((h, w, 3), np.float32) * np.float32(rng.uniform(1, 4))
    return np.clip(image, 0, 255).astype(np.uint8), labels


def _joints(view: View, labels: np.ndarray) -> np.ndarray:
    """Return the gain (H, W) that draws the joints between the slabs of the pavement, fading with distance."""
    h, w = labels.shape
    gain = np.ones((h, w), np.float32)
    top = int(view.cy / 2) + 2
    rows, cols = np.arange(top, h, dtype=np.float32)[:, None] * 2, np.arange(w, dtype=np.float32)[None] * 2
    z = view.focal * view.eye / (rows - view.cy)
    x = (cols - view.cx) * z / view.focal + view.side - view.bend * z * z
    thin = 2.2 * z / view.focal
    line = (np.abs(x / 0.9 % 1 - 0.5) * 0.9 < thin) | (np.abs(z / 1.2 % 1 - 0.5) * 1.2 < thin * z / view.eye)
    gain[top:] -= np.where(line & (labels[top:] == CLASSES.index("pavement")), 0.13 * np.clip(1.4 - z / 16, 0, 1), 0)
    return gain

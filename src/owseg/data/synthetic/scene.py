"""Street scenes made by rules: every seed is another scene, labelled to the pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageFilter

from owseg.data.synthetic.anomalies import ANOMALIES
from owseg.data.synthetic.canvas import CLASSES, Canvas, Light, View, jitter, pick
from owseg.data.synthetic.objects import person, pole, tree, vehicle
from owseg.data.synthetic.scenery import FAR, Street, ground, house, noise, sky
from owseg.errors import OwsegError

SPLITS = {"train": (100_000, 400), "val": (200_000, 60), "test": (300_000, 100), "shots": (400_000, 80)}
"""By split the first seed and the number of scenes. Scenes of test have 1 to 3 anomalies, shots a large one."""


_SUN = Light((70, 136, 214), (196, 220, 236), (1.08, 1.04, 0.95), (0.56, 0.61, 0.74), 92, 0.006, 0.6, False)


_GREY = Light((158, 170, 184), (212, 217, 222), (0.93, 0.95, 0.98), (0.72, 0.75, 0.8), 34, 0.011, 1.0, False)


_DUSK = Light((64, 72, 128), (248, 172, 118), (1.0, 0.78, 0.66), (0.46, 0.44, 0.6), 62, 0.009, 0.7, True)


@dataclass(frozen=True)
class SceneObject:
    """An object at (x, z) with its width, height and depth in metres; ``draw`` paints it."""

    x: float
    z: float
    width: float
    height: float
    depth: float
    draw: Callable[[Canvas], None]


def render(
    seed: int,
    size: tuple[int, int] = (192, 256),
    anomalies: Sequence[str] = (),
    *,
    count: tuple[int, int] = (1, 3),
    area: tuple[float, float] = (0.008, 0.06),
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scene of ``seed``: image (H, W, 3) uint8 and labels (H, W) uint8, ids of ``CLASSES``.

    ``anomalies`` names the kinds of anomalies that may be in it; () means none. Their number is drawn from ``count``,
    and is lower where there is no room, but at least one; each should cover a share of the image within ``area``. The
    rest of the scene is that of the seed without anomalies, less the objects that would hide them. Raises
    ``OwsegError`` for another kind and for a side below 32 pixels.
    """
    for kind in anomalies:
        if kind not in ANOMALIES:
            raise OwsegError(f"the synthetic scenes have no anomaly {kind!r}; they have {', '.join(ANOMALIES)}.")
    if min(size) < 32:
        raise OwsegError(f"a scene of {size[0]}x{size[1]} pixels is too small; make both sides at least 32.")
    # One generator a part, so that with anomalies the rest of the scene stays as it is.
    sky_rng, plan_rng, anomaly_rng, camera_rng = (np.random.default_rng([seed, k]) for k in range(4))
    road = plan_rng.uniform(3.2, 5.2)
    street = Street(road, road + plan_rng.uniform(2.2, 3.6))
    canvas = Canvas(_view(plan_rng, size, street), _light(sky_rng))
    sky(canvas, sky_rng)
    ground(canvas, plan_rng, street)
    houses, furniture = _houses(plan_rng, street), _furniture(plan_rng, street)
    placed = _place_anomalies(anomaly_rng, canvas.view, street, anomalies, count, area) if anomalies else []
    objects = [o for o in furniture if not any(_hides(canvas.view, o, a) for a in placed)] + placed
    _shadows(canvas, houses, objects)
    # From far to near: what is nearer covers what is behind it, in image and labels alike.
    for item in sorted([*houses, *objects], key=lambda o: -o.z):
        item.draw(canvas)
    return _photograph(canvas, camera_rng)


def scene(split: str, i: int, size: tuple[int, int] = (192, 256)) -> tuple[np.ndarray, np.ndarray]:
    """Return image and labels of scene ``i`` of a split; raise ``OwsegError`` if there is no such scene."""
    if split not in SPLITS:
        raise OwsegError(f"the synthetic scenes have no split {split!r}; they have {', '.join(SPLITS)}.")
    first, n = SPLITS[split]
    if not 0 <= i < n:
        raise OwsegError(f"the synthetic split {split} has the scenes 0 to {n - 1}, not {i}.")
    if split == "shots":  # 20 scenes of each kind, one kind after the other
        return render(first + i, size, (tuple(ANOMALIES)[i // 20],), count=(1, 1), area=(0.03, 0.06))
    return render(first + i, size, tuple(ANOMALIES) if split == "test" else ())


def _light(rng: Generator) -> Light:
    base = pick(rng, (_SUN, _SUN, _GREY, _DUSK))
    zenith, horizon, cloud = jitter(rng, base.zenith, 14), jitter(rng, base.horizon, 10), rng.uniform(0.3, 1)
    return replace(base, zenith=zenith, horizon=horizon, cloud=base.cloud * cloud, side=pick(rng, (-1, 1)))


def _view(rng: Generator, size: tuple[int, int], street: Street) -> View:
    """Return a view of a canvas twice the size: four pixels of the canvas become one of the image, without aliasing."""
    height, width = 2 * size[0], 2 * size[1]
    cx, cy = width * rng.uniform(0.38, 0.62), height * rng.uniform(0.38, 0.48)
    side, bend = rng.uniform(0.0, 0.5) * street.road, rng.uniform(-0.0022, 0.0022)
    return View(width, height, width * rng.uniform(0.78, 0.95), cx, cy, rng.uniform(1.7, 2.3), side, bend)


def _own(rng: Generator) -> Generator:
    """Return a generator for one object, so that its appearance does not depend on what else is drawn."""
    return np.random.default_rng(int(rng.integers(2**32)))


def _houses(rng: Generator, street: Street) -> list[SceneObject]:
    """Return two rows of houses with some gaps."""
    houses = []
    for side in (-1, 1):
        x, z = side * street.wall, 1.2
        while z < FAR:
            height = pick(rng, (5.0, 8.0, 9.5, 11.0, 14.0, 18.0)) * rng.uniform(0.9, 1.1)
            long, own, gap = rng.uniform(6, 13), _own(rng), z > 4 and rng.random() < 0.14
            if not gap:
                draw = partial(house, rng=own, x=x, z0=z, z1=z + long, height=height)
                houses.append(SceneObject(x, z + long, 0, height, long, draw))
            z += long / 2 if gap else long
    return houses


def _furniture(rng: Generator, street: Street) -> list[SceneObject]:
    """Return trees, poles, people and vehicles, each in its place in the street."""
    objects: list[SceneObject] = []
    r, w = street.road, street.wall

    def add(draw: Callable[..., None], x: float, z: float, box: tuple[float, float, float], **more: object) -> None:
        objects.append(SceneObject(x, z, *box, partial(draw, rng=_own(rng), x=x, z=z, **more)))

    for side in (-1, 1):
        for z in np.arange(rng.uniform(6, 13), FAR * 0.8, rng.uniform(7, 13)) + rng.uniform(-1, 1):
            if rng.random() < 0.75:
                add(tree, side * (w - rng.uniform(0.4, 1.0)), z, (2.5, 5.0, 0.5))
        for z in np.arange(rng.uniform(5, 11), 40, rng.uniform(8, 14)):
            add(pole, side * (r + 0.5), z, (0.2, 5.0, 0.2))
        z = rng.uniform(6, 14)
        while z < 38:
            # Parked along the kerb, in either direction.
            if rng.random() < 0.5:
                heading, kind = pick(rng, (0.0, np.pi)), pick(rng, ("hatch", "sedan", "hatch", "van"))
                yaw = heading + rng.normal() * 0.03
                add(vehicle, side * (r - 1.0), z, (1.8, 1.5, 4.2), heading=yaw, kind=kind)
            z += rng.uniform(5.8, 9)
        z = rng.uniform(9, 22)
        while z < 45:
            # Driving, on the right.
            heading, kind = (0.0 if side > 0 else np.pi), pick(rng, ("hatch", "sedan", "sedan", "van", "bus"))
            yaw = heading + rng.normal() * 0.03
            add(vehicle, side * 0.45 * r, z, (1.9, 1.6, 4.5), heading=yaw, kind=kind)
            z += rng.uniform(11, 30)
    # Perhaps one that crosses.
    if rng.random() < 0.25:
        heading, kind = pick(rng, (-1, 1)) * np.pi / 2, pick(rng, ("hatch", "sedan", "van"))
        x, z = rng.uniform(-0.5, 0.5) * r, rng.uniform(9, 18)
        add(vehicle, x, z, (4.4, 1.5, 1.8), heading=heading, kind=kind)
    for _ in range(int(rng.integers(5, 13))):
        side, z = pick(rng, (-1, 1)), 5.5 + 24 * rng.random() ** 1.5
        # Most people are on the pavements, some of them in pairs.
        x = rng.uniform(-r, r) if rng.random() < 0.18 else side * rng.uniform(r + 0.6, w - 0.5)
        for k in range(1 + int(rng.random() < 0.35)):
            add(person, x + 0.6 * k, z + 0.1 * k, (0.5, 1.7, 0.3))
    return objects


def _place_anomalies(
    rng: Generator,
    view: View,
    street: Street,
    kinds: Sequence[str],
    count: tuple[int, int],
    area: tuple[float, float],
) -> list[SceneObject]:
    """Return anomalies on road and pavement that do not hide each other; the share of the image sets their depth."""
    placed: list[SceneObject] = []
    for _ in range(int(rng.integers(count[0], count[1] + 1))):
        paint, filled = pick(rng, ANOMALIES[pick(rng, kinds)])
        own, share = _own(rng), area[0] * (area[1] / area[0]) ** rng.random()
        # Pixels per metre at which the painter's area at size 1 is the share drawn, and from that the depth.
        scale = (share * view.width * view.height / filled) ** 0.5
        # Not so near that its foot is below the image, nor so far that it is a speck; the size makes up for the rest.
        z = float(np.clip(view.focal / scale, view.near * 1.12, 18))
        size = float(np.clip(scale * z / view.focal, 0.7, 1.5))
        middle, half = view.side - view.bend * z * z, 0.9 * size
        # Between the houses, and wholly inside the image.
        left = max(0.8 - street.wall, middle - view.cx * z / view.focal + half)
        right = min(street.wall - 0.8, middle + (view.width - view.cx) * z / view.focal - half)
        for _ in range(20):
            x = rng.uniform(left, right) if left < right else middle
            draw = partial(paint, rng=own, x=x, z=z, size=size)
            item = SceneObject(x, z, 1.5 * size, 1.2 * size, 0.6 * size, draw)
            if not any(_hides(view, item, o) or _hides(view, o, item) for o in placed):
                placed.append(item)
                break
    return placed


def _hides(view: View, front: SceneObject, behind: SceneObject) -> bool:
    """Return whether ``front`` is not farther than ``behind`` and covers more than a sixth of its width."""

    def span(t: SceneObject) -> tuple[float, float]:
        xs = [view.at(t.x + s * t.width / 2, 0, z)[0] for s in (-1, 1) for z in (t.z, t.z + t.depth)]
        return min(xs), max(xs)

    (a, b), (c, d) = span(front), span(behind)
    return front.z < behind.z + behind.depth + 1 and min(b, d) - max(a, c) > (d - c) / 6


def _shadows(canvas: Canvas, houses: Sequence[SceneObject], objects: Sequence[SceneObject]) -> None:
    """Darken the ground under the objects, and where the sun casts their shadows and those of the houses."""
    view, light = canvas.view, canvas.light
    for t in houses if light.shadow > 60 else ():
        if t.x * light.side > 0:
            a, b, end = t.z - t.depth, t.z, t.x - light.side * t.height * 0.42
            corners = ((t.x, a), (t.x, b), (end, b - 1.5), (end, max(a - 1.5, 1.2)))
            canvas.glaze([view.at(x, 0, z) for x, z in corners], (24, 28, 56), light.shadow)
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    for t in objects:
        for reach, alpha in ((0.0, 60.0), (min(t.height, 3.5) / 2, light.shadow * 0.8)):
            xs = t.x - light.side * reach / 2 + (reach / 2 + t.width * 0.58) * np.cos(turn)
            # Nearer than 1.2 m the projection grows beyond bounds.
            zs = np.maximum(t.z + t.depth / 2 + (0.25 + t.depth * 0.55) * np.sin(turn), 1.2)
            canvas.glaze([view.at(float(x), 0, float(z)) for x, z in zip(xs, zs, strict=True)], (18, 20, 40), alpha)


_GRAIN = {"road": 0.04, "pavement": 0.04, "building": 0.03, "sky": 0.0, "tree": 0.07, "boulder": 0.07}


def _photograph(canvas: Canvas, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Reduce the canvas to the image's size, add texture, and a camera's blur, colour cast, vignette and noise."""
    # One pixel of four: labels cannot be averaged, colours are.
    labels = np.ascontiguousarray(np.asarray(canvas.labels)[1::2, 1::2])
    image: np.ndarray = np.asarray(canvas.image.reduce(2), np.float32)
    h, w = labels.shape
    grain = np.array([_GRAIN.get(name, 0.02) for name in CLASSES.names], np.float32)[labels]
    rough = 1 + grain * (0.9 * rng.standard_normal((h, w), np.float32) + 1.3 * noise(rng, h, w, 40))
    image *= (rough * _joints(canvas.view, labels))[..., None]
    blurred = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    blurred = blurred.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.6)))
    cast = (rng.uniform(0.92, 1.12) * rng.uniform(0.96, 1.04, 3)).astype(np.float32)
    y, x = np.linspace(-1, 1, h, dtype=np.float32)[:, None], np.linspace(-1, 1, w, dtype=np.float32)
    image = np.asarray(blurred, np.float32) * ((1 - 0.09 * (x * x + y * y))[..., None] * cast)
    image += rng.standard_normal((h, w, 3), np.float32) * np.float32(rng.uniform(1, 4))
    return np.clip(image, 0, 255).astype(np.uint8), labels


def _joints(view: View, labels: np.ndarray) -> np.ndarray:
    """Return the gain (H, W) that draws the joints of the pavement's slabs, fading with distance."""
    gain = np.ones(labels.shape, np.float32)
    top = int(view.cy / 2) + 2
    rows, columns = (2 * np.arange(n, dtype=np.float32) for n in labels.shape)
    # The ground at a row of pixels, by the inverse of View.at.
    z = (view.focal * view.eye / (rows[top:] - view.cy))[:, None]
    x = (columns - view.cx) * z / view.focal + view.side - view.bend * z * z
    thin = 2.2 * z / view.focal
    joint = (np.abs(x / 0.9 % 1 - 0.5) * 0.9 < thin) | (np.abs(z / 1.2 % 1 - 0.5) * 1.2 < thin * z / view.eye)
    visible = joint & (labels[top:] == CLASSES.index("pavement"))
    gain[top:] -= np.where(visible, 0.13 * np.clip(1.4 - z / 16, 0, 1), 0)
    return gain

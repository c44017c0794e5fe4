"""Regions of unknown things: what their form was chosen by, how well they fit, how often they are false.

    export OWSEG_DATA=DIR                      # DIR/camvid, DIR/anomaly, DIR/labelmefacade, DIR/outlier_objects
    python -m recipes.regions choose           # forms of evidence and GROWTH, on images that no table reports
    python -m recipes.regions measure          # components and false alarms on the sets that are reported
    python -m recipes.regions froc             # false alarms against things found, and docs/froc.png

`street` and its own score; on CamVid's val and test `street8`, to which cars, pedestrians and bicyclists are unknown.
Limits of evidence are found on the half of CamVid's val that `owseg calibrate` uses. `choose` reads the other half,
photos of other towns, and both with objects pasted into them that no training shows. A threshold is adapted to eight
images of a set, drawn from those that are measured: their ground truth is not read. Scores are kept in --runs;
computing them takes two to three seconds of one core for an image, 22 minutes for all. Metrics go to --measured.
"""

from __future__ import annotations

import argparse
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from owseg._files import write_whole
from owseg.knowledge.alarms import region_threshold
from owseg.knowledge.pieces import components, evidence, pieces_above, pixels, sure_pieces
from owseg.knowledge.regions import MIN_AREA
from owseg.metrics.binned import Binned
from owseg.metrics.components import ComponentMetrics, Components, Sizes
from owseg.openset import Threshold
from recipes import froc
from recipes.region_images import CHOICE, LIMITS, REPORTED, SETS, Images, Scored, adapted
from recipes.tables import markdown, spread

DRAWS, FALSE_ALARMS = 3, (0.3, 0.1)
SIZES = {"below 0.2 %": (0.0, 0.002), "0.2 to 2 %": (0.002, 0.02), "from 2 %": (0.02, inf)}
"""Sizes of things, as shares of the image; no region is smaller than 0.2 %."""


# ---- the choice

Form = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
FORMS: Mapping[str, Form] = {
    "e": lambda e, a, highest: e,
    "e a^(1/8)": lambda e, a, highest: e * a**0.125,
    "e a^(1/4)": lambda e, a, highest: e * a**0.25,
    "e a^(1/2)": lambda e, a, highest: e * a**0.5,
    "highest excess": lambda e, a, highest: highest,
}
GROWTHS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5)


def rated(score: np.ndarray, threshold: Threshold, growth: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the pieces (H, W) above ``value + growth unit``, and the evidence of each (n,) in each form."""
    above = score > np.float32(threshold.value + growth * threshold.unit)
    pieces = components(above, pixels(MIN_AREA, score.shape))
    excess = (score.astype(np.float64) - threshold.value) / threshold.unit
    areas, sums = (np.bincount(pieces.ravel(), weights)[1:] for weights in (None, excess.ravel()))
    highest = np.array(ndimage.maximum(excess, pieces, range(1, len(areas) + 1)), np.float64)
    return pieces, {name: form(sums / areas, areas / pieces.size, highest) for name, form in FORMS.items()}


def tried(images: Images, growth: float) -> dict[str, dict[str, ComponentMetrics]]:
    """Return the component metrics by form and by set of ``CHOICE``, where a limit has 0.3 false alarms per image."""
    limits: dict[str, dict[str, float]] = {}
    for kb, name in LIMITS.items():
        each: dict[str, list[froc.Detections]] = {form: [] for form in FORMS}
        for image in images(name):
            pieces, evidences = rated(image.score, images.threshold(name), growth)
            first = froc.detections(pieces, evidences["e"], image.target, 1)
            for form, found in evidences.items():
                each[form].append(replace(first, evidence=found))
        limits[kb] = {form: froc.limit_at(found, FALSE_ALARMS[0]) for form, found in each.items()}
    metrics: dict[str, dict[str, ComponentMetrics]] = {form: {} for form in FORMS}
    for name in CHOICE:
        every, chosen = images(name), SETS[name]
        threshold = adapted(images.threshold(name), every, 0)
        states = {form: Components(chosen.sizes) for form in FORMS}
        for image in every:
            pieces, evidences = rated(image.score, threshold, growth)
            for form, found in evidences.items():
                counts = np.r_[False, found > limits[chosen.kb][form]]
                states[form].update(counts[pieces], image.target)
        for form, state in states.items():
            metrics[form][name] = state.compute()
    return metrics


def choose(images: Images) -> dict[str, Any]:
    """Print the mean F1 of components by form and growth, and of the form that is in use each set."""
    found = {growth: tried(images, growth) for growth in GROWTHS}
    means = {form: {g: float(np.mean([m.f1 for m in found[g][form].values()])) for g in GROWTHS} for form in FORMS}
    rows = [(form, *(f"{value:.3f}" for value in by.values())) for form, by in means.items()]
    markdown("Mean F1 of components", ("evidence", *(f"GROWTH {g:g}" for g in GROWTHS)), rows)
    rows = [(f"{g:g}", *(_components(m) for m in found[g]["e a^(1/4)"].values())) for g in GROWTHS]
    markdown("e a^(1/4): sIoU / PPV / F1", ("GROWTH", *CHOICE), rows)
    return {f"{g:g}": {form: {n: asdict(m) for n, m in by.items()} for form, by in found[g].items()} for g in GROWTHS}


# ---- what is reported


def all_unknown(score: np.ndarray, threshold: Threshold) -> np.ndarray:
    """Return every unknown pixel, (H, W) bool."""
    return np.asarray(score > np.float32(threshold.value))


def in_regions(score: np.ndarray, threshold: Threshold) -> np.ndarray:
    """Return the pixels of regions, (H, W) bool, before those that show several things are split."""
    least = pixels(MIN_AREA, score.shape)
    return np.asarray(pieces_above(score, all_unknown(score, threshold), threshold, least) > 0)


def fit(
    images: Sequence[Scored], threshold: Threshold, mask: Callable[[np.ndarray, Threshold], np.ndarray], sizes: Sizes
) -> ComponentMetrics:
    """Return how well the components of a mask fit the things of the images."""
    state = Components(sizes)
    for image in images:
        state.update(mask(image.score, threshold), image.target)
    return state.compute()


def best_f1(images: Sequence[Scored], threshold: Threshold) -> Threshold:
    """Return the threshold of the best pixel F1, which needs the ground truth of the images."""
    state = Binned()
    for image in images:
        state.update(image.score, image.target)
    return replace(threshold, value=state.best_f1_threshold())


def detected(images: Sequence[Scored], threshold: Threshold, sizes: Sizes) -> list[froc.Detections]:
    """Return the regions of each image with any evidence, and the things that they find."""
    found = []
    for image in images:
        score = image.score
        pieces = sure_pieces(score, all_unknown(score, threshold), threshold, pixels(MIN_AREA, score.shape))
        found.append(froc.detections(pieces, evidence(score, pieces, threshold), image.target, sizes.ground_truth))
    return found


def limits(images: Images, kb: str) -> dict[float, float]:
    """Return the limit of evidence by the false alarms per image that are asked for, as `owseg calibrate` finds it."""
    name = LIMITS[kb]
    maps = [(image.score, image.known) for image in images(name)]
    return {rate: region_threshold(maps, images.threshold(name), rate).value for rate in FALSE_ALARMS}


def measure(images: Images) -> dict[str, Any]:
    """Print sIoU, PPV and F1 of components, and false alarms per image, before and after ``adapt``."""
    rows, alarms, metrics = [], [], {}
    for name in REPORTED:
        every, chosen, threshold = images(name), SETS[name], images.threshold(name)
        after = [adapted(threshold, every, seed) for seed in range(DRAWS)]
        states = {"as it is": [threshold], "after adapt": after, "best pixel F1": [best_f1(every, threshold)]}
        found = {
            state: {mask.__name__: [asdict(fit(every, t, mask, chosen.sizes)) for t in states[state]] for mask in masks}
            for state, masks in zip(states, ((all_unknown, in_regions),) * 2 + ((all_unknown,),), strict=True)
        }
        for state, by in found.items():
            for mask, each in by.items():
                cells = (spread([m[part] for m in each]) for part in ("siou", "ppv", "f1"))
                rows.append((name, mask.replace("_", " "), state, *cells))
        rates = {}
        for asked, limit in limits(images, chosen.kb).items():
            rates[asked] = {
                state: [froc.alarms(detected(every, t, chosen.sizes), limit) for t in states[state]]
                for state in ("as it is", "after adapt")
            }
            within = 0.5 * asked <= np.mean(rates[asked]["after adapt"]) <= 2 * asked
            cells = (spread(rates[asked][state], 2) for state in rates[asked])
            alarms.append((name, f"{asked:g}", *cells, "yes" if within else "no"))
        metrics[name] = {"images": len(every), "components": found, "false alarms": rates}
    markdown("Components", ("set", "pixels", "threshold", "sIoU", "PPV", "F1"), rows)
    header = ("set", "asked", "as it is", "after adapt", "within a factor of two")
    markdown("False alarms per image", header, alarms)
    return metrics


def curves(images: Images, plot: Path) -> dict[str, Any]:
    """Print the share of things found at several false alarms per image, and by size; draw the curves into ``plot``."""
    rows, by_size, metrics, panels, in_use = [], [], {}, {}, {}
    for name in REPORTED:
        every, chosen, threshold = images(name), SETS[name], images.threshold(name)
        states = {"as it is": threshold, "after adapt": adapted(threshold, every, 0)}
        panels[name] = {state: detected(every, t, chosen.sizes) for state, t in states.items()}
        assert threshold.regions is not None
        in_use[name], metrics[name] = threshold.regions.value, {}
        for state, found in panels[name].items():
            limit = [froc.limit_at(found, rate) for rate in froc.RATES]
            shares = [froc.found(found, at) for at in limit]
            sizes = {size: _by_size(found, in_use[name], *span) for size, span in SIZES.items()}
            rows.append((name, state, *(f"{share:.3f}" for share in shares)))
            by_size.append(
                (name, state, *(f"{share:.3f} of {count}" if count else "–" for share, count in sizes.values()))
            )
            metrics[name][state] = {"found": dict(zip(froc.RATES, shares, strict=True)), "sizes": sizes}
    markdown("Things found", ("set", "threshold", *(f"at {rate:g} false alarms" for rate in froc.RATES)), rows)
    markdown("Things found at the stored limit, by their share of the image", ("set", "threshold", *SIZES), by_size)
    file = io.BytesIO()
    froc.plot(panels, in_use).savefig(file, format="png", dpi=110, metadata={"Software": None})
    write_whole(plot, file.getvalue())
    return metrics


def _components(metrics: ComponentMetrics) -> str:
    return f"{metrics.siou:.3f} / {metrics.ppv:.3f} / {metrics.f1:.3f}"


def _by_size(found: Sequence[froc.Detections], limit: float, low: float, high: float) -> tuple[float, int]:
    """Return the share found of the things of a size, and how many there are."""
    return froc.found(found, limit, (low, high)), sum(int(((low <= d.shares) & (d.shares < high)).sum()) for d in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("choose", "measure", "froc"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("OWSEG_DATA", "data")))
    parser.add_argument("--runs", type=Path, default=Path("runs/regions"))
    parser.add_argument("--measured", type=Path, default=Path("recipes/measured/regions"))
    parser.add_argument("--plot", type=Path, default=Path("docs/froc.png"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    step = {"choose": choose, "measure": measure, "froc": partial(curves, plot=args.plot)}[args.step]
    found = step(Images(args.data, args.runs))
    args.measured.mkdir(parents=True, exist_ok=True)
    write_whole(args.measured / f"{args.step}.json", (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()

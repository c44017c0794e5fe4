"""Regions of unknown things: what their form was chosen by, how well they fit, how often they are false.

    export OWSEG_DATA=DIR                      # DIR/camvid, DIR/anomaly, DIR/labelmefacade, DIR/outlier_objects
    python -m recipes.regions choose           # EXTENT, GROWTH and forms of evidence, on images that no table reports
    python -m recipes.regions measure          # components and false alarms on the sets that are reported
    python -m recipes.regions froc             # false alarms against things found, and docs/froc.png

`street` and its own score, on Lost & Found for the task "obstacles", too; on CamVid's val and test `street8`, to which
cars, pedestrians and bicyclists are unknown.
Limits of evidence are found on the half of CamVid's val that `owseg calibrate` uses. `choose` reads the other half,
photos of other towns, and both with objects pasted into them that no training shows. A threshold is adapted to eight
images of a set, drawn from those that are measured: their ground truth is not read. Scores are kept in --runs;
computing them takes a second or two of one core for an image, seven minutes for all, and each step another one or two.
Metrics go to --measured.
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

from owseg._files import write_whole
from owseg.knowledge.alarms import region_threshold
from owseg.knowledge.pieces import EXTENT, GROWTH, components, half_maximum, parents, pixels, rated_pieces
from owseg.knowledge.regions import MIN_AREA
from owseg.metrics.binned import Binned
from owseg.metrics.components import ComponentMetrics, Components, Sizes
from owseg.openset import Threshold
from recipes import froc
from recipes.region_images import CHOICE, REPORTED, SETS, Images, Scored, Set, adapted
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
GROWTHS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.1)
EXTENTS = (0.0, 0.5, 0.6, 0.7)
IN_USE = "e a^(1/4)"


def rated(
    score: np.ndarray, threshold: Threshold, growth: float, extent: float
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return ``rated_pieces`` (H, W) of another growth and extent, and their evidence (n,) in each form."""
    least = pixels(MIN_AREA, score.shape)
    pieces = components(score > np.float32(threshold.value + growth * threshold.unit), least)
    parts = half_maximum(score, pieces, threshold, least, extent)
    excess = (score.astype(np.float64) - threshold.value) / threshold.unit
    areas, sums = (np.bincount(pieces.ravel(), weights)[1:] for weights in (None, excess.clip(0).ravel()))
    highest = np.zeros(len(areas) + 1)
    np.maximum.at(highest, pieces.ravel(), excess.ravel())
    of = parents(pieces, parts) - 1
    return parts, {name: form(sums / areas, areas / pieces.size, highest[1:])[of] for name, form in FORMS.items()}


def tried(
    images: Images, growth: float, extent: float, forms: Sequence[str] = tuple(FORMS)
) -> dict[str, dict[str, ComponentMetrics]]:
    """Return the component metrics by form and by set of ``CHOICE``, where a limit has 0.3 false alarms per image."""
    limits: dict[str, dict[str, float]] = {}
    for kb, name in {chosen.kb: chosen.limits for chosen in CHOICE.values()}.items():
        each: dict[str, list[froc.Detections]] = {form: [] for form in forms}
        for image in images(name):
            pieces, evidences = rated(image.score, images.threshold(name), growth, extent)
            first = froc.detections(pieces, evidences[IN_USE], image.target, 1)
            for form in forms:
                each[form].append(replace(first, evidence=evidences[form]))
        limits[kb] = {form: froc.limit_at(found, FALSE_ALARMS[0]) for form, found in each.items()}
    metrics: dict[str, dict[str, ComponentMetrics]] = {form: {} for form in forms}
    for name in CHOICE:
        every, chosen = images(name), SETS[name]
        threshold = adapted(images.threshold(name), every, 0)
        states = {form: Components(chosen.sizes) for form in forms}
        for image in every:
            pieces, evidences = rated(image.score, threshold, growth, extent)
            for form in forms:
                counts = np.r_[False, evidences[form] > limits[chosen.kb][form]]
                states[form].update(counts[pieces], image.target)
        for form, state in states.items():
            metrics[form][name] = state.compute()
    return metrics


def choose(images: Images) -> dict[str, Any]:
    """Print the F1 of components by the extent of regions, and by the form of the evidence and GROWTH."""
    extents = {f"{extent:g}": tried(images, GROWTH, extent, (IN_USE,))[IN_USE] for extent in EXTENTS}
    header = ("", *CHOICE, "mean F1")
    markdown("Extent: sIoU / PPV / F1", header, [_row(extent, by) for extent, by in extents.items()])
    growths = {f"{growth:g}": tried(images, growth, EXTENT) for growth in GROWTHS}
    rows = [(form, *(f"{_mean_f1(by[form]):.3f}" for by in growths.values())) for form in FORMS]
    markdown("Mean F1 of components", ("evidence", *(f"GROWTH {growth}" for growth in growths)), rows)
    markdown(f"GROWTH, {IN_USE}: sIoU / PPV / F1", header, [_row(g, by[IN_USE]) for g, by in growths.items()])
    kept = {g: {form: {n: asdict(m) for n, m in by[form].items()} for form in FORMS} for g, by in growths.items()}
    return {"extent": {e: {n: asdict(m) for n, m in by.items()} for e, by in extents.items()}, "growth": kept}


def _mean_f1(metrics: Mapping[str, ComponentMetrics]) -> float:
    return float(np.mean([m.f1 for m in metrics.values()]))


def _row(name: str, metrics: Mapping[str, ComponentMetrics]) -> tuple[str, ...]:
    cells = (f"{m.siou:.3f} / {m.ppv:.3f} / {m.f1:.3f}" for m in metrics.values())
    return (name, *cells, f"{_mean_f1(metrics):.3f}")


# ---- what is reported


def assessed(
    images: Sequence[Scored], threshold: Threshold, sizes: Sizes, min_area: float = MIN_AREA
) -> tuple[dict[str, ComponentMetrics], list[froc.Detections]]:
    """Return how well all unknown pixels, and those of regions, fit the things; and the regions with any evidence.

    Regions are ``pieces_above`` the threshold: ``Prediction.regions``, before those that show several things are split.
    """
    states = {"all unknown pixels": Components(sizes), "regions": Components(sizes)}
    assert threshold.regions is not None
    found = []
    for image in images:
        score = image.score
        unknown = score > np.float32(threshold.value)
        pieces, rating = rated_pieces(score, unknown, threshold, pixels(min_area, score.shape))
        states["all unknown pixels"].update(unknown, image.target)
        states["regions"].update(np.r_[False, rating > threshold.regions.value][pieces], image.target)
        found.append(froc.detections(pieces, rating, image.target, sizes.ground_truth))
    return {name: state.compute() for name, state in states.items()}, found


def at_best_f1(images: Sequence[Scored], sizes: Sizes) -> ComponentMetrics:
    """Return how well all pixels fit above the threshold of the best pixel F1, which needs the ground truth."""
    pixel, state = Binned(), Components(sizes)
    for image in images:
        pixel.update(image.score, image.target)
    for image in images:
        state.update(image.score > np.float32(pixel.best_f1_threshold()), image.target)
    return state.compute()


def limits(images: Images, of: Set) -> dict[float, float]:
    """Return the limit of evidence by the false alarms per image that are asked for, as `owseg calibrate` finds it."""
    maps, threshold = [(image.score, image.known) for image in images(of.limits)], images.threshold(of.limits)
    found = {rate: region_threshold(maps, threshold, rate, min_area=of.min_area) for rate in FALSE_ALARMS}
    return {rate: regions.value for rate, regions in found.items()}


def measure(images: Images) -> dict[str, Any]:
    """Print sIoU, PPV and F1 of components, and false alarms per image, before and after ``adapt``."""
    rows, alarms, metrics = [], [], {}
    for name in REPORTED:
        every, chosen, threshold = images(name), SETS[name], images.threshold(name)
        after = [adapted(threshold, every, seed) for seed in range(DRAWS)]
        states = {
            state: [assessed(every, t, chosen.sizes, chosen.min_area) for t in thresholds]
            for state, thresholds in (("as it is", [threshold]), ("after adapt", after))
        }
        found = {(k, state): [f[k] for f, _ in each] for state, each in states.items() for k in each[0][0]}
        found["all unknown pixels", "best pixel F1"] = [at_best_f1(every, chosen.sizes)]
        for key, each in found.items():
            cells = (spread([getattr(m, part) for m in each]) for part in ("siou", "ppv", "f1"))
            rows.append((name, *key, *cells))
        rates = {}
        for asked, limit in limits(images, chosen).items():
            rates[asked] = {state: [froc.alarms(d, limit) for _, d in each] for state, each in states.items()}
            within = 0.5 * asked <= np.mean(rates[asked]["after adapt"]) <= 2 * asked
            cells = (spread(each, 2) for each in rates[asked].values())
            alarms.append((name, f"{asked:g}", *cells, "yes" if within else "no"))
        kept = {", ".join(key): [asdict(m) for m in each] for key, each in found.items()}
        metrics[name] = {"images": len(every), "components": kept, "false alarms": rates}
    markdown("Components", ("set", "pixels", "threshold", "sIoU", "PPV", "F1"), rows)
    markdown("False alarms per image", ("set", "asked", *states, "within a factor of two"), alarms)
    return metrics


def curves(images: Images, plot: Path) -> dict[str, Any]:
    """Print the share of things found at several false alarms per image, and by size; draw the curves into ``plot``."""
    rows, by_size, panels, in_use = [], [], {}, {}
    metrics: dict[str, Any] = {}
    for name in REPORTED:
        every, chosen, threshold = images(name), SETS[name], images.threshold(name)
        states = {"as it is": threshold, "after adapt": adapted(threshold, every, 0)}
        panels[name] = {state: assessed(every, t, chosen.sizes, chosen.min_area)[1] for state, t in states.items()}
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
    steps: dict[str, Callable[[Images], dict[str, Any]]]
    steps = {"choose": choose, "measure": measure, "froc": partial(curves, plot=args.plot)}
    found = steps[args.step](Images(args.data, args.runs))
    args.measured.mkdir(parents=True, exist_ok=True)
    write_whole(args.measured / f"{args.step}.json", (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()

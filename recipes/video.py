"""Tracks and alarms of videos: what their defaults were chosen by, and what they gain.

    export OWSEG_DATA=DIR                # DIR/camvid
    python -m recipes.video choose       # overlap, smoothing, lasts and others, on drives that no table reports
    python -m recipes.video measure      # other synthetic drives, with `synthetic`; CamVid's test, with `street8`
    python -m recipes.video speed [--export FILE]   # where the time of a frame goes, with `street`, in CPU seconds
    python -m recipes.video whole --export FILE     # frames a second from a video file to the labelled one, all cores
    python -m recipes.video draw         # frames as `owseg video` draws them, to --out

A synthetic drive is a pan of 40 frames, 10 a second, over a street with five to eight things that `synthetic` does not
know, numbered. A drive of CamVid's test has 62 frames that are a second apart: cars, pedestrians and bicyclists, which
`street8` does not know, have moved far by the next frame, and have no numbers. What the network says of each frame is
kept in --runs: one core takes 15 seconds for a synthetic drive, and a minute for CamVid's.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np
import torch
from PIL import Image

from owseg._files import write_whole
from owseg.data.datasets import open_dataset
from owseg.data.frames import Frame, open_frames
from owseg.data.render import legend_strip, with_strip
from owseg.data.synthetic.canvas import CLASSES
from owseg.data.video_writer import VideoWriter
from owseg.inference.runtime import load_export
from owseg.inference.tracks import Detection, TrackOptions, Tracks, detection_of, lowered
from owseg.inference.video import WINDOW, LabelledFrame, drawn, label_video, tracked
from owseg.knowledge.adaptation import moved, quantiles_of
from owseg.knowledge.load import load
from owseg.knowledge.model import Model
from owseg.knowledge.prediction import Prediction
from owseg.openset import Threshold, open_set_map
from owseg.types import Forward, Sample
from recipes.synthetic_drive import RATE, drive
from recipes.tables import markdown
from recipes.video_metrics import Alarm, Decided, VideoMetrics, measured, together

CHOICE, REPORTED = range(810_000, 810_005), range(910_000, 910_004)
"""Seeds of the drives that the defaults were chosen on, and of those that are reported."""

DRIVE = "0001TP"
"""The drive of CamVid's test, by how the names of its 62 frames begin; a frame a second."""

TRIED: Mapping[str, tuple[float, ...]] = {
    "overlap": (0.1, 0.2, 0.3, 0.5),
    "smoothing": (0.3, 0.5, 0.7, 1.0),
    "lasts": (1, 2, 3, 4, 5),
    "patience": (0, 1, 2, 4),
    "alike": (0.5, 0.8, 1.01),
}


@dataclass(frozen=True, eq=False)
class Known:
    """What is needed of a frame to try tracks on it: its ground truth, and what the network says.

    ``labelled`` has the regions from ``weak`` times the limit on, ``alone`` are those above the limit, as in an image.
    """

    labelled: LabelledFrame
    alone: tuple[Detection, ...]
    target: np.ndarray
    things: np.ndarray | None


Images = tuple[str, float, list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]]


def synthetic(seed: int) -> Images:
    """Return knowledge base, rate, and (image, target, things) of the frames of a synthetic drive."""
    lookup = load("synthetic").labels.lookup(CLASSES)
    return "synthetic", RATE, [(f.image, lookup[f.labels], f.things) for f in drive(seed)]


def camvid() -> Images:
    """Return knowledge base, rate, and (image, target, None) of the frames of one drive of CamVid's test."""
    data = open_dataset(f"camvid:{os.environ['OWSEG_DATA']}/camvid", "test", load("street8").labels)
    numbers = [i for i, name in enumerate(data.source.ids) if name.startswith(DRIVE)]
    samples = (data[i] for i in numbers)
    return "street8", 1.0, [(s.image, s.mask_for("a measurement"), None) for s in samples]


Said = tuple[float, dict[str, list[Known]]]


def said(name: str, source: Callable[[], Images], runs: Path) -> Said:
    """Return the rate of a video, and what the network says of its frames "as it is" and with the option "--adapt".

    It is kept in ``runs``. The threshold of "--adapt" is moved by all frames before, as ``owseg video`` does with one
    thread.
    """
    place = runs / f"{name}.pickle"
    if place.exists():
        kept: Said = pickle.loads(place.read_bytes())  # written by this recipe
        return kept
    (kb, rate, frames), options = source(), TrackOptions()
    base = load(kb)
    assert base.threshold is not None
    engine, scores, known = base.engine(), deque[np.ndarray](maxlen=WINDOW), {"as it is": [], "--adapt": []}
    for i, (image, target, things) in enumerate(frames):
        prediction = base.decide(Sample(image, None, name), engine(image))
        thresholds = {"as it is": base.threshold, "--adapt": moved(base.threshold, [*scores] or [*_own(prediction)])}
        for how, threshold in thresholds.items():
            weak, alone = (_detections(prediction, threshold, weak) for weak in (options.weak, 1.0))
            labelled = LabelledFrame(Frame(i, i / rate, image), prediction.labels, weak, threshold, None)
            known[how].append(Known(labelled, alone, target, things))
        scores.extend(_own(prediction))
    write_whole(place, pickle.dumps((rate, known)))
    return rate, known


def _own(prediction: Prediction) -> list[np.ndarray]:
    found = quantiles_of(prediction.image, prediction.score)
    return [] if found is None else [found]


def _detections(prediction: Prediction, threshold: Threshold, weak: float) -> tuple[Detection, ...]:
    open_set = open_set_map(prediction.labels, prediction.decided, threshold.value)
    lower = lowered(threshold, TrackOptions(weak=weak))
    found = replace(prediction, open_set=open_set, threshold=lower).regions
    return tuple(detection_of(region, threshold) for region in found)


def decided(known: Sequence[Known], options: TrackOptions | None) -> Iterator[Decided]:
    """Yield the decision for each frame: with tracks, or without ``options`` the regions of the frame alone."""
    with_tracks = tracked((one.labelled for one in known), options) if options else None
    for one in known:
        if with_tracks is not None:
            _, tracks = next(with_tracks)
            alarms = [Alarm(track.mask().mask(), track.id) for track in tracks.alarms]
        else:
            alarms = [Alarm(region.mask.mask()) for region in one.alone]
        unknown = np.zeros(one.target.shape, bool)
        for alarm in alarms:
            unknown |= alarm.mask
        yield Decided(one.target, one.things, unknown, alarms)


def row(name: str, m: VideoMetrics) -> tuple[str, ...]:
    """Return a row of the tables."""
    soon = "–" if not m.things else f"{m.soon / m.things:.2f} of {m.things}"  # type: ignore[operator]
    switches = "–" if m.switches is None else str(m.switches)
    false = f"{m.false / m.minutes:.1f}"
    return (name, false, f"{m.frames_with_false / m.frames:.3f}", soon, f"{m.hit / max(m.shown, 1):.3f}", switches,
            f"{100 * m.flicker:.2f} %")  # fmt: skip


HEADER = ("", "false alarms a minute", "frames with a false one", f"found within {5} frames", "found in a frame",
          "changes of number", "flicker")  # fmt: skip


def over(seeds: range, how: str, options: TrackOptions | None, runs: Path) -> VideoMetrics:
    """Return the metrics of several synthetic drives; without ``options`` those of regions alone."""
    each = (said(f"synthetic-{seed}", partial(synthetic, seed), runs) for seed in seeds)
    return together([measured(decided(known[how], options), rate) for rate, known in each])


def choose(args: argparse.Namespace) -> None:
    """Print what each option changes, the others being the defaults, with --adapt."""
    by_name = {"without tracks": None, "defaults": TrackOptions()}
    for name, values in TRIED.items():
        for value in values:
            if value != getattr(TrackOptions(), name):
                changed = {name: type(getattr(TrackOptions(), name))(value)}
                by_name[f"{name} {value:g}"] = replace(TrackOptions(), **changed)
    rows = [row(name, over(CHOICE, "--adapt", options, args.runs)) for name, options in by_name.items()]
    markdown(f"Synthetic drives of the seeds {CHOICE.start} to {CHOICE.stop - 1}, --adapt", HEADER, rows)


def measure(args: argparse.Namespace) -> None:
    """Print the metrics of the drives that are reported, and write them."""
    rate, known = said(DRIVE, camvid, args.runs)
    kept = {}
    for how, frames in known.items():
        for ending, options in {"without tracks": None, "with tracks": TrackOptions()}.items():
            kept[f"synthetic, {how}, {ending}"] = over(REPORTED, how, options, args.runs)
            kept[f"CamVid {DRIVE}, {how}, {ending}"] = measured(decided(frames, options), rate)
    kept = dict(sorted(kept.items(), reverse=True))
    title = f"Synthetic drives of the seeds {REPORTED.start} to {REPORTED.stop - 1}, and a drive of CamVid's test"
    markdown(title, HEADER, [row(name, m) for name, m in kept.items()])
    write_whole(args.measured, (json.dumps({n: asdict(m) for n, m in kept.items()}, indent=1) + "\n").encode())


def speed(args: argparse.Namespace) -> None:
    """Print CPU milliseconds of a frame of 480x360, by size of the network and by score, and of exports, on one thread.

    An export of OpenVINO is run in 32 bits and in bf16.
    """
    images = [image for image, _, _ in camvid()[2]][: args.frames]
    base, rows = load("street"), []

    def time(model: Model, forward: Forward, size: int | None, how: str) -> None:
        spent = 1000 * spent_on(model, images, forward)
        cells = (how, str(size), model.scorer, *(f"{s:.0f}" for s in spent), f"{2000 / spent.sum():.1f}")
        rows.append(cells)

    for size in (base.working_size, 320, 256):
        for scorer in (base.scorer, base.scorer.removesuffix("@segments")):
            time(replace(base, scorer=scorer), base.engine(size=size), size, "torch")
    for path in args.export:
        for precision in ("32", "bf16") if path.suffix == ".xml" else ("32",):
            export = load_export(path, workers=1, precision=precision)
            time(export, export.engine(), export.working_size, export.session.title)
    header = ("", "shorter side", "score", "network", "score and regions", "tracks and drawing",
              "frames/s of two cores")  # fmt: skip
    markdown("CPU milliseconds of a frame, street, 480x360", header, rows)


def spent_on(model: Model, images: Sequence[np.ndarray], forward: Forward) -> np.ndarray:
    """Return the CPU seconds of a frame: of the network, of score and regions, of tracks and drawing, (3,)."""
    tracks, spent = Tracks(), np.zeros(3)
    strip = legend_strip(model.labels, (images[0].shape[1], images[0].shape[2]))
    assert model.threshold is not None
    for i, image in enumerate(images):
        begun = process_time()
        output = forward(image)
        network = process_time()
        prediction = model.decide(Sample(image, None, ""), output)
        found = _detections(prediction, model.threshold, tracks.options.weak)
        scored = process_time()
        labelled = LabelledFrame(Frame(i, i / RATE, image), prediction.labels, found, model.threshold, None)
        tracks = tracks.after(found, i / RATE)
        with_strip(drawn(labelled, tracks, model.labels), strip, "")
        if i:  # the first pays for what is made once
            spent += network - begun, scored - network, process_time() - scored
    return spent / (len(images) - 1)


def whole(args: argparse.Namespace) -> None:
    """Print how many frames a second `owseg video` does with exports: CamVid's drive as a video, four times over.

    Decoding, tracks, drawing and encoding are in it, and what a graph does when it first runs.
    """
    args.runs.mkdir(parents=True, exist_ok=True)
    drive, out, rows = args.runs / f"{DRIVE}.mp4", args.runs / "labelled.mp4", []
    images = [image for image, _, _ in camvid()[2]] * 4
    with VideoWriter(drive, "mp4", RATE) as video:
        for i, image in enumerate(images):
            video.write(image.transpose(1, 2, 0), i / RATE)
    for path in args.export:
        for precision in ("32", "bf16") if path.suffix == ".xml" else ("32",):
            export = load_export(path, precision=precision)
            done = label_video(export, open_frames(str(drive)), out, out.with_suffix(".jsonl"))
            rate = f"{done.frames / done.seconds:.1f}"
            rows.append((path.name, export.session.title, str(export.workers), str(done.frames), rate))
    markdown("owseg video, frames of 480x360", ("export", "", "workers", "frames", "frames/s"), rows)


def draw(args: argparse.Namespace) -> None:
    """Write every fifth frame of a synthetic drive and of CamVid's as ``owseg video`` draws them."""
    args.out.mkdir(parents=True, exist_ok=True)
    first = f"synthetic-{REPORTED.start}"
    for name, source in {first: partial(synthetic, REPORTED.start), DRIVE: camvid}.items():
        _, known = said(name, source, args.runs)
        space = load("synthetic" if name == first else "street8").labels
        strip = legend_strip(space, known["as it is"][0].target.shape)
        for i, (labelled, tracks) in enumerate(tracked(one.labelled for one in known["as it is"])):
            if i % 5 == 4:
                pixels = with_strip(drawn(labelled, tracks, space), strip, f"{labelled.frame.time:.1f} s")
                Image.fromarray(pixels).save(args.out / f"{name}-{i:03d}.png")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = {"choose": choose, "measure": measure, "speed": speed, "whole": whole, "draw": draw}
    parser.add_argument("step", choices=steps)
    parser.add_argument("--runs", type=Path, default=Path("runs/video"), help="where what the network says is kept")
    parser.add_argument("--measured", type=Path, default=Path("recipes/measured/video.json"))
    parser.add_argument("--out", type=Path, default=Path("runs/video/frames"))
    parser.add_argument("--export", type=Path, action="append", default=[], help="speed, whole: of this file, too")
    parser.add_argument("--frames", type=int, default=12, help="speed: of so many frames")
    args = parser.parse_args()
    if args.step != "whole":
        torch.set_num_threads(1)
    steps[args.step](args)


if __name__ == "__main__":
    main()

"""The whole circle once: predict, show the unknown, calibrate, learn a class from five pictures, predict again."""

from __future__ import annotations

import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from owseg import __version__
from owseg.calibration import with_threshold
from owseg.data import DataSet, open_dataset
from owseg.errors import OwsegError
from owseg.evaluate import Evaluation, evaluate
from owseg.knowledge import KnowledgeBase, load
from owseg.learners import MAX_SHOTS, learn, shots_from
from owseg.report import Curve, Report, Strip, Table, save

_DEFAULTS = {"synthetic": ("synthetic", "animal"), "camvid": ("street8", "car")}
_FRAMES, _STRIPS = 60, 5


def run(data: str, kb: str | None, name: str | None, out: Path, seed: int = 0) -> dict[str, Any]:
    """Run the demo; write ``out/report.html`` and the knowledge base ``out/kb``, which has a version for every step.

    ``kb`` and the class ``name`` to learn have defaults for synthetic and CamVid. Thresholds come from the val split,
    shots from the train split, figures from at most 60 frames spread over the test split. Returns the figures.
    """
    kind = data.partition(":")[0]
    if kind not in _DEFAULTS and (kb is None or name is None):
        raise OwsegError(f"for {data} give --kb, a knowledge base, and --learn, a class that it does not know.")
    before, name = load(kb or _DEFAULTS[kind][0]), name or _DEFAULTS[kind][1]
    everything = open_dataset(data, "test", before.labels)
    if name not in everything.unknown_classes():
        choices = ", ".join(everything.unknown_classes()) or "none"
        raise OwsegError(f"{name!r} is no class of {data} that the knowledge base does not know; those are: {choices}.")

    _say("1/5 calibrating: above which score is a pixel unknown?")
    val = _spread(open_dataset(data, "val", before.labels), _FRAMES)
    before = with_threshold(before, val, before.threshold.target_fpr if before.threshold else 0.05)
    before.save(out / "kb")
    _say(f"2/5 predicting {min(len(everything), _FRAMES)} pictures that hold classes never seen")
    test = _spread(everything, _FRAMES)
    scorers = tuple(n for n in ("msp", "eds", before.scorer) if n in before.scorers())
    first = evaluate(before, test, scorers)
    _say(f"3/5 learning {name} from {MAX_SHOTS} annotated pictures")
    shots = shots_from(open_dataset(data, "train" if kind != "synthetic" else "shots"), name, MAX_SHOTS, seed)
    after = learn(before, name, shots, val)
    after.save(out / "kb")
    _say("4/5 predicting again")
    second = evaluate(after, DataSet(test.source, after.labels))
    _say("5/5 writing the report")
    report = _report(data, kb or _DEFAULTS[kind][0], name, seed, before, after, test, first, second)
    path = save(report, out / "report.html")
    steps = "\n".join(f"  {command}    # {sentence}" for sentence, command in report.next_steps)
    return {
        "report": str(path),
        "kb": str(out / "kb"),
        "learned": name,
        "before": first.to_json(),
        "after": second.to_json(),
        "summary": f"\nThe story is in {path}; open it in a browser. Then try:\n{steps}",
    }


def _report(
    data: str, kb: str, name: str, seed: int, before: KnowledgeBase, after: KnowledgeBase, test: DataSet,
    first: Evaluation, second: Evaluation,
) -> Report:  # fmt: skip
    legend = test.labels.extend(name, after.labels.colors[-1])
    old, new, threshold = first.summary(), second.summary(), before.threshold
    assert threshold is not None
    rows = [
        ("mIoU, classes trained", old["miou_old"], new["miou_old"]),
        (f"IoU, {name}", None, second.iou.per_class()[name]),
        ("harmonic mean", None, new["miou_harmonic"]),
        ("unknown pixels called unknown", old["unknown_found"], new["unknown_found"]),
        ("known pixels called unknown", old["known_lost"], new["known_lost"]),
    ]
    scores = [(n, s.auroc, s.ap, s.fpr95) for n, s in first.scores.items()]
    classes = [(n, v, second.iou.per_class()[n]) for n, v in first.iou.per_class().items()]
    return Report(
        title="A street, and what was not known of it",
        lead=f"A network that knows {len(before.labels)} classes labels {len(test)} pictures, says which pixels it does not know, "
        f"is shown {MAX_SHOTS} annotated pictures of one new class, “{name}”, and labels them again.",
        strips=_strips(before, after, test, name),
        legend=legend,
        histogram=_histogram(before, test),
        threshold=threshold.value,
        unknown=test.unknown_classes(),
        curves=_curves(first),
        prevalence=next(iter(first.scores.values())).prevalence,
        tables=(
            Table("Before and after", ("", "before", "after"), tuple(rows), "After learning, the class counts as known; what is left of the unknown is harder."),
            Table("How well a score finds the unknown", ("score", "AUROC", "AP", "FPR95"), tuple(scores), first.protocol),
            Table("IoU per class", ("class", "before", "after"), tuple(classes)),
        ),
        facts=(
            ("owseg", __version__), ("knowledge base", kb), ("data", test.source.name), ("pictures", str(len(test))),
            ("score", before.scorer), ("threshold", f"{threshold.value:.5g} ({threshold.method} at {threshold.target_fpr:.1%})"),
            ("seed of the shots", str(seed)), ("torch", torch.__version__), ("machine", f"{platform.system()} {platform.machine()}"),
        ),
        next_steps=(
            ("label pictures of your own", "owseg predict PICTURES"),
            ("see what was done here", "owseg history owseg-demo/kb"),
            ("teach it a class of yours: images/ and masks/ in one folder", "owseg learn owseg-demo/kb NAME --shots FOLDER"),
        ),
    )  # fmt: skip


def _strips(before: KnowledgeBase, after: KnowledgeBase, test: DataSet, name: str) -> tuple[Strip, ...]:
    """Draw the frames that show most of the class, spread over the test frames (DMLNet, Fig. 7)."""
    label = test.source.classes.index(name)
    raws = [test.source.read(i)[1] for i in range(len(test))]
    share = [0.0 if raw is None else float((raw == label).mean()) for raw in raws]
    parts = np.array_split(np.arange(len(test)), _STRIPS)
    picked = [int(max(part, key=lambda i: share[i])) for part in parts if len(part)]
    truth = DataSet(test.source, after.labels)
    strips = []
    for i in picked:
        sample, target = test[i], truth[i].target
        assert target is not None
        old, new = before.predict(sample.image), after.predict(sample.image)
        palette = after.labels.palette()
        pictures = (
            ("input", np.ascontiguousarray(sample.image.transpose(1, 2, 0))),
            ("closed: only known classes", palette[old.labels]),
            ("open: what is unknown", palette[old.open_set]),
            (f"after learning {name}", palette[new.open_set]),
            ("truth", palette[target]),
        )
        strips.append(Strip(sample.id, pictures))
    return tuple(strips)


def _histogram(kb: KnowledgeBase, test: DataSet, most: int = 4000) -> dict[str, np.ndarray]:
    """Sample the scores of every class of the test frames, known and unknown ones (DMLNet, Fig. 4)."""
    rng, scores = np.random.default_rng(0), {n: [] for n in test.source.classes.names}  # type: dict[str, list]
    for i in range(0, len(test), 3):
        image, raw = test.source.read(i)
        score = kb.score(kb.forward(image), image.shape[1:])
        for k, name in enumerate(test.source.classes.names):
            values = score[raw == k]
            scores[name].append(
                rng.choice(values, min(len(values), most // 10), replace=False) if len(values) else values
            )
    joined = {n: np.concatenate(v)[:most] for n, v in scores.items()}
    return {n: v for n, v in joined.items() if len(v) >= 100}


def _curves(measured: Evaluation) -> tuple[Curve, ...]:
    made = []
    for name, state in reversed(measured.states.items()):  # the knowledge base's own score first: it is drawn on top
        figures, points = measured.scores[name], state.curves()
        made.append(
            Curve(
                name,
                points.tpr,
                points.precision,
                points.fpr,
                points.tpr,
                figures.ap,
                figures.auroc,
                figures.fpr95,
            )
        )
    return tuple(made)


def _spread(data: DataSet, most: int) -> DataSet:
    """Return at most ``most`` frames of ``data``, evenly spread."""
    if len(data) <= most:
        return data
    picked = [round(i) for i in np.linspace(0, len(data) - 1, most)]
    source = data.source
    ids = tuple(source.ids[i] for i in picked)
    few = replace(source, name=f"{source.name}, {most} of {len(data)}", ids=ids, read=lambda i: source.read(picked[i]))
    return replace(data, source=few)


def _say(line: str) -> None:
    print(line, file=sys.stderr)

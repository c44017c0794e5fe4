"""The whole circle once: predict, show the unknown, calibrate, learn a class from five images, predict again."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from owseg import __version__
from owseg.data.dataset import DataSet, spread_over
from owseg.data.datasets import open_dataset
from owseg.data.shots import sample_shots
from owseg.errors import OwsegError
from owseg.evaluation.evaluate import Evaluation, evaluate
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import calibrate
from owseg.knowledge.load import load
from owseg.learners.learn import learn
from owseg.report.charts import Curve
from owseg.report.page import Report, Strip, Table, save
from owseg.types import MAX_SHOTS

_DEFAULTS = {"synthetic": ("synthetic", "animal"), "camvid": ("street8", "car")}


_FRAMES, _STRIPS = 60, 5


def run(data: str, kb: str | None, name: str | None, out: Path, seed: int = 0) -> dict[str, Any]:
    """Run the demo; write ``out/report.html`` and the knowledge base ``out/kb``, which has a version for every step.

    ``kb`` and the class ``name`` to learn have defaults for synthetic and CamVid. Thresholds come from the val split,
    shots from the train split (synthetic: shots), figures from at most 60 frames spread over the test split. Returns
    the figures.
    """
    kind = data.partition(":")[0]
    if kind not in _DEFAULTS and (kb is None or name is None):
        raise OwsegError(f"for {data} give --kb, a knowledge base, and --learn, a class that it does not know.")
    before, name = load(kb or _DEFAULTS[kind][0]), name or _DEFAULTS[kind][1]
    everything = open_dataset(data, "test", before.labels)
    if name not in everything.unknown_classes():
        choices = ", ".join(everything.unknown_classes()) or "none"
        raise OwsegError(f"{name!r} is no class of {data} that is still to be learned; those are: {choices}.")

    _say("1/5 calibrating: above which score is a pixel unknown?")
    val = spread_over(open_dataset(data, "val", before.labels), _FRAMES)
    before = calibrate(before, val, before.threshold.target_fpr if before.threshold else 0.05)
    before.save(out / "kb")
    _say(f"2/5 predicting {min(len(everything), _FRAMES)} images that hold classes never seen")
    test = spread_over(everything, _FRAMES)
    scorers = tuple(n for n in ("msp", "eds", before.scorer) if n in before.scorers)
    first = evaluate(before, test, scorers)
    _say(f"3/5 learning {name} from {MAX_SHOTS} annotated images")
    shots = sample_shots(open_dataset(data, "train" if kind != "synthetic" else "shots"), name, MAX_SHOTS, seed)
    after = learn(before, name, shots, val)
    after.save(out / "kb")
    _say("4/5 predicting again")
    second = evaluate(after, DataSet(test.source, after.labels))
    _say("5/5 writing the report")
    report = _report(kb or _DEFAULTS[kind][0], before, after, test, first, second, seed, out)
    path = save(report, out / "report.html")
    width = max(len(command) for _, command in report.next_steps)
    steps = "\n".join(f"  {command:{width}}   # {sentence}" for sentence, command in report.next_steps)
    return {
        "report": str(path),
        "kb": str(out / "kb"),
        "learned": name,
        "before": first.to_json(),
        "after": second.to_json(),
        "summary": f"\nThe story is in {path}; open it in a browser. Then try:\n{steps}",
    }


def _report(
    kb: str, before: KnowledgeBase, after: KnowledgeBase, test: DataSet, first: Evaluation, second: Evaluation,
    seed: int, out: Path,
) -> Report:  # fmt: skip
    name, threshold = after.labels.names[-1], before.threshold
    assert threshold is not None
    lead = (
        f"A network that knows {len(before.labels)} classes labels {len(test)} images, says which pixels it does not "
        f"know, is shown {MAX_SHOTS} annotated images of one new class, “{name}”, and labels them again."
    )
    next_steps = (
        ("label images of your own", "owseg predict PICTURES"),
        ("see what was done to this knowledge base", f"owseg history {out / 'kb'}"),
        ("teach it a class of yours; FOLDER holds images/ and masks/", f"owseg learn {out / 'kb'} NAME --shots FOLDER"),
        ("undo that", f"owseg rollback {out / 'kb'}"),
    )
    facts = (
        ("owseg", __version__),
        ("knowledge base", kb),
        ("data", test.source.name),
        ("score", before.scorer),
        ("threshold", f"{threshold.value:.5g} ({threshold.method}, {threshold.target_fpr:.1%} of known pixels of val)"),
        ("seed of the shots", str(seed)),
        ("torch", torch.__version__),
        ("machine", f"{platform.system()} {platform.machine()}"),
    )
    return Report(
        title="A street, and what was not known of it",
        lead=lead,
        strips=strips(before, after, test, name),
        legend=after.labels,
        histogram=_histogram(before, test),
        threshold=threshold.value,
        unknown=test.unknown_classes(),
        curves=_curves(first),
        prevalence=next(iter(first.scores.values())).prevalence,
        tables=_tables(first, second, name),
        facts=facts,
        next_steps=next_steps,
    )


def _tables(first: Evaluation, second: Evaluation, name: str) -> tuple[Table, ...]:
    old, new = first.summary(), second.summary()
    sums = (
        ("mIoU of the classes trained", old["miou_old"], new["miou_old"]),
        (f"IoU of {name}", None, new["miou_novel"]),
        ("harmonic mean of the two", None, new["miou_harmonic"]),
        ("unknown pixels called unknown", old["unknown_found"], new["unknown_found"]),
        ("known pixels called unknown", old["known_lost"], new["known_lost"]),
    )
    note = f"Afterwards {name} counts as known; what is unknown then is only what nobody has named yet."
    classes = tuple((n, first.iou.per_class().get(n), v) for n, v in second.iou.per_class().items())
    return (
        Table("Before and after", ("", "before", "after"), sums, note),
        Table("IoU per class", ("class", "before", "after"), classes),
    )


def strips(before: KnowledgeBase, after: KnowledgeBase, test: DataSet, name: str) -> tuple[Strip, ...]:
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
        images = (
            ("input", np.ascontiguousarray(sample.image.transpose(1, 2, 0))),
            ("closed: only known classes", palette[old.labels]),
            ("open: what is unknown", palette[old.open_set]),
            (f"after learning {name}", palette[new.open_set]),
            ("truth", palette[target]),
        )
        strips.append(Strip(sample.id, images))
    return tuple(strips)


def _histogram(kb: KnowledgeBase, test: DataSet, most: int = 4000) -> dict[str, np.ndarray]:
    """Sample the scores of every class of the test frames, known and unknown ones (DMLNet, Fig. 4)."""
    rng = np.random.default_rng(0)
    scores: dict[str, list[np.ndarray]] = {n: [] for n in test.source.classes.names}
    for i in range(0, len(test), 3):
        image, raw = test.source.read(i)
        score = kb.assess(kb.forward(image), (image.shape[1], image.shape[2])).scores[kb.scorer]
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


def _say(line: str) -> None:
    print(line, file=sys.stderr)

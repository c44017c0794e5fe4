"""The open-world loop once: calibrate, predict, show the unknown, learn a class from five images, predict again."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from owseg import __version__
from owseg.data.cached import cached
from owseg.data.dataset import DataSet, spread_over
from owseg.data.datasets import open_dataset
from owseg.data.shots import check_seed, sample_shots
from owseg.errors import OwsegError
from owseg.evaluation.evaluate import Evaluation, evaluate
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import calibrate
from owseg.knowledge.commit import check_place
from owseg.knowledge.load import load
from owseg.learners.learn import learn
from owseg.report.charts import Curve
from owseg.report.page import Report, Strip, Table, save
from owseg.types import DEFAULT_SHOTS

DEFAULTS = {"synthetic": ("synthetic", "animal"), "camvid": ("street8", "car")}
"""The knowledge base and the class to learn, by kind of data set."""

IMAGES, STRIPS = 60, 5
"""How many images of a split are used at most, and how many are shown."""


def run(
    data: str, kb: str | None, name: str | None, out: Path, seed: int = 0,
    load: Callable[[str], KnowledgeBase] = load,
) -> dict[str, Any]:  # fmt: skip
    """Run the demo; write ``out/report.html`` and the knowledge base ``out/kb``, with a version for every step.

    ``data`` names a data set (see ``open_dataset``); ``kb`` and the class ``name`` to learn have defaults for synthetic
    and CamVid. The threshold is found on the val split, shots are drawn from the train split (synthetic: shots) with
    ``seed``, metrics computed on the test split; of val and test at most 60 images are used, evenly spread. ``load``
    loads ``kb``. Returns paths and metrics as plain JSON. Raises ``OwsegError`` where there is no default, and for a
    class that ``data`` does not have or ``kb`` knows.
    """
    kind = data.partition(":")[0]
    if kind not in DEFAULTS and (kb is None or name is None):
        raise OwsegError(f"for {data} give --kb, a knowledge base, and --learn, a class that it does not know.")
    check_seed(seed)
    check_place(out / "kb")
    before, name = load(kb or DEFAULTS[kind][0]), name or DEFAULTS[kind][1]
    everything = open_dataset(data, "test", before.labels)
    # Checked before the minutes that follow.
    if name not in everything.unknown_classes():
        choices = ", ".join(everything.unknown_classes()) or "none"
        raise OwsegError(f"{name!r} is not an unknown class of {data}; name one of those: {choices}.")

    _report_step("1/5 calibrating the threshold of the anomaly score")
    val = cached(spread_over(open_dataset(data, "val", before.labels), IMAGES))
    # Anew, as the data may be another set than the one the shipped threshold was found on.
    before = calibrate(before, val, before.threshold.target_fpr if before.threshold else 0.05)
    before.save(out / "kb")
    _report_step(f"2/5 predicting {min(len(everything), IMAGES)} images with classes that it does not know")
    test = cached(spread_over(everything, IMAGES))
    scorers = tuple(n for n in ("msp", "eds", before.scorer) if n in before.scorers)
    first = evaluate(before, test, scorers)
    _report_step(f"3/5 learning {name} from {DEFAULT_SHOTS} annotated images")
    source = cached(open_dataset(data, "train" if kind != "synthetic" else "shots"))
    shots = sample_shots(source, name, DEFAULT_SHOTS, seed)
    after = learn(before, name, shots, val)
    after.save(out / "kb")
    _report_step("4/5 predicting again")
    second = evaluate(after, DataSet(test.source, after.labels))
    _report_step("5/5 writing the report")
    report = _report(kb or DEFAULTS[kind][0], before, after, test, first, second, seed, out)
    path = save(report, out / "report.html")
    width = max(len(command) for _, command in report.next_steps)
    steps = "\n".join(f"  {command:{width}}   # {sentence}" for sentence, command in report.next_steps)
    return {
        "report": str(path),
        "kb": str(out / "kb"),
        "learned": name,
        "before": first.to_json(),
        "after": second.to_json(),
        "summary": f"\nThe open-world loop ran once; its report is {path}. Open it in a browser, then try:\n{steps}",
    }


def _report(
    kb: str, before: KnowledgeBase, after: KnowledgeBase, test: DataSet, first: Evaluation, second: Evaluation,
    seed: int, out: Path,
) -> Report:  # fmt: skip
    name, threshold = after.labels.names[-1], before.threshold
    assert threshold is not None
    lead = (
        f"A network that knows {len(before.labels)} classes labels {len(test)} images and says which pixels are "
        f"unknown. Then it learns a new class, “{name}”, from {DEFAULT_SHOTS} annotated images, and labels them again."
    )
    place = shlex.quote(str(out / "kb"))
    next_steps = (
        ("label images of your own", "owseg predict IMAGES"),
        ("list the versions of this knowledge base", f"owseg history {place}"),
        ("learn a class of your own; FOLDER holds images/ and masks/", f"owseg learn {place} NAME --shots FOLDER"),
        ("undo that", f"owseg rollback {place}"),
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
        title=f"Open-world segmentation: learning {name}",
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
        ("mIoU of the base classes", old["miou_old"], new["miou_old"]),
        (f"IoU of {name}", None, new["miou_novel"]),
        ("harmonic mean of the two", None, new["miou_harmonic"]),
        ("unknown pixels called unknown", old["unknown_recall"], new["unknown_recall"]),
        ("known pixels called unknown", old["known_fpr"], new["known_fpr"]),
    )
    note = f"After learning, {name} is a known class; only the other unknown classes count as unknown."
    classes = tuple((n, first.iou.per_class().get(n), v) for n, v in second.iou.per_class().items())
    return (
        Table("Before and after", ("", "before", "after"), sums, note),
        Table("IoU per class", ("class", "before", "after"), classes),
    )


def strips(before: KnowledgeBase, after: KnowledgeBase, test: DataSet, name: str) -> tuple[Strip, ...]:
    """Return strips of the images that show most of the class ``name``, spread over ``test`` (DMLNet, Fig. 7).

    Each has the image, its closed and open-set map before learning, the open-set map after, and the ground truth.
    """
    label = test.source.classes.index(name)
    raws = (test.source.read(i)[1] for i in range(len(test)))
    share = [0.0 if raw is None else float((raw == label).mean()) for raw in raws]
    parts = np.array_split(np.arange(len(test)), STRIPS)  # the best of each part, as neighbours are alike
    picked = [int(max(part, key=lambda i: share[i])) for part in parts if len(part)]
    in_new_labels = DataSet(test.source, after.labels)
    strips = []
    for i in picked:
        sample, target = test[i], in_new_labels[i].target
        assert target is not None
        old, new = before.predict(sample.image), after.predict(sample.image)
        palette = after.labels.palette()
        images = (
            ("input", np.ascontiguousarray(sample.image.transpose(1, 2, 0))),
            ("closed-set prediction", palette[old.labels]),
            ("open-set prediction", palette[old.open_set]),
            (f"after learning {name}", palette[new.open_set]),
            ("ground truth", palette[target]),
        )
        strips.append(Strip(sample.id, images))
    return tuple(strips)


def _histogram(kb: KnowledgeBase, test: DataSet, most: int = 4000) -> dict[str, np.ndarray]:
    """Return scores (n,) of every class, known and unknown, sampled from every third image (DMLNet, Fig. 4)."""
    rng = np.random.default_rng(0)  # the same report from the same seed
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
    return {n: v for n, v in joined.items() if len(v) >= 100}  # a distribution of fewer would be noise


def _curves(evaluation: Evaluation) -> tuple[Curve, ...]:
    found = []
    for name, state in reversed(evaluation.states.items()):  # the knowledge base's own score first: it is drawn on top
        metrics, points = evaluation.scores[name], state.curves()
        rates = (points.tpr, points.precision, points.fpr, points.tpr)
        found.append(Curve(name, *rates, metrics.ap, metrics.auroc, metrics.fpr95))
    return tuple(found)


def _report_step(line: str) -> None:
    print(line, file=sys.stderr)  # standard output is for the result, which may be JSON

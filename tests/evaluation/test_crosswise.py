"""open-mIoU of two splits, each at the threshold of the other, against literal loops over all pixels."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.evaluation.crosswise import evaluate_crosswise, halved
from owseg.labels import IGNORE, LabelSpace
from tests.reference import protocols as reference
from tests.support import tiny


def part(name: str, numbers: range, size: tuple[int, int] = (48, 64)) -> DataSet:
    """Some of the tiny images, "rock" not known and void at a corner, as a split called ``name``."""
    data = tiny.dataset(16, 4, size, unknown=True).pick(numbers, name)
    read = data.source.read

    def with_void(i):
        image, ids = read(i)
        ids = ids.copy()
        ids[:5, :7] = IGNORE
        return image, ids

    return replace(data, source=replace(data.source, read=with_void))


@pytest.fixture(scope="module")
def kb():
    """The tiny knowledge base, to which rock in ``towns`` looks unlike all that it was fitted to."""
    return tiny.calibrated(data=tiny.dataset())


@pytest.fixture(scope="module")
def towns():
    return part("t5", range(0, 3)), part("t6", range(3, 8))


def by_hand(kb, data, scorer):
    """For each image the rows of scores, and all its pixels as (score, label, target)."""
    found = []
    for sample in data:
        assessed = kb.assess(kb.forward(sample.image), sample.target.shape, (scorer,))
        names = {**dict(enumerate(kb.labels.names)), 254: "anomaly", 255: "void"}
        targets = [[names[int(t)] for t in row] for row in sample.target]
        scores = assessed.scores[scorer].astype(float).tolist()
        labels = [[kb.labels.names[int(i)] for i in row] for row in assessed.labels]
        found.append((scores, labels, targets))
    return found


def threshold_of(images):
    scores, anomalous = [], []
    for rows, _, targets in images:
        for y, row in enumerate(reference.halved(rows)):
            for x, score in enumerate(row):
                if targets[2 * y][2 * x] != "void":
                    scores.append(score)
                    anomalous.append(targets[2 * y][2 * x] == "anomaly")
    return reference.first_above(scores, anomalous)


@pytest.mark.parametrize("scorer", ["joint", "msp"])
def test_each_split_is_measured_at_the_threshold_of_the_other(kb, towns, scorer):
    found = evaluate_crosswise(kb, *towns, scorer)
    images = [by_hand(kb, data, scorer) for data in towns]
    thresholds = [threshold_of(one) for one in images]
    flat = [
        [list(zip(*(sum(rows, []) for rows in image), strict=True)) for image in one]  # noqa: RUF017
        for one in images
    ]
    mious = [reference.open_miou(flat[i], kb.labels.names, np.float32(thresholds[1 - i])) for i in (0, 1)]
    assert thresholds[0] != pytest.approx(thresholds[1], rel=1e-3), "swapped thresholds would not be noticed"
    assert [s.metrics.threshold for s in found.splits] == pytest.approx(thresholds[::-1], rel=1e-6)
    assert [s.metrics.miou for s in found.splits] == pytest.approx(mious, abs=1e-6)
    assert abs(mious[0] - mious[1]) > 5e-3
    known = [[[pixel for pixel in image if pixel[2] != "anomaly"] for image in one] for one in flat]
    closed = [reference.open_miou(one, kb.labels.names, np.inf) for one in known]
    assert [s.closed for s in found.splits] == pytest.approx(closed) != pytest.approx(mious)
    assert (found.scorer, [s.data for s in found.splits]) == (scorer, ["t5", "t6"])
    # By images: three of one and five of the other.
    first, second = (s.metrics.miou for s in found.splits)
    assert found.miou == pytest.approx((3 * first + 5 * second) / 8)
    assert found.closed == pytest.approx((3 * found.splits[0].closed + 5 * found.splits[1].closed) / 8)


def test_the_order_of_the_splits_does_not_matter(kb, towns):
    one, other = evaluate_crosswise(kb, *towns), evaluate_crosswise(kb, *towns[::-1])
    assert one.splits == other.splits[::-1] and one.miou == pytest.approx(other.miou)


def test_the_score_and_the_forward_that_are_given_are_used(kb, towns):
    calls = []

    def forward(image, scale=1.0):
        calls.append(image.shape)
        return kb.forward(image[:, :, ::-1].copy(), scale)

    found = evaluate_crosswise(kb, *towns, forward=forward)
    assert found.scorer == kb.scorer and found.splits != evaluate_crosswise(kb, *towns).splits
    assert len(calls) == 3 + 5 + 3  # the first split twice


def test_halving_is_the_mean_of_four_and_the_label_of_the_first():
    rng = np.random.default_rng(0)
    score, target = rng.normal(size=(7, 9)).astype(np.float32), rng.integers(0, 9, (7, 9)).astype(np.uint8)
    small, labels = halved(score, target)
    np.testing.assert_allclose(small, reference.halved(score[:6, :8].astype(float).tolist()), rtol=1e-5)
    assert labels.tolist() == [[target[2 * y, 2 * x] for x in range(4)] for y in range(3)]


def test_it_is_a_table_and_plain_json(kb, towns):
    found = evaluate_crosswise(kb, *towns)
    ((title, header, rows),) = found.tables()
    assert "joint" in title and len(rows) == 3 and all(len(row) == len(header) for row in rows)
    assert rows[2][3] == f"{found.miou:.3f}" and rows[0][3] == f"{found.splits[0].metrics.miou:.3f}"
    value = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert value["open_miou"] == found.miou and value["splits"][1]["metrics"]["miou"] == found.splits[1].metrics.miou


def test_a_bad_image_is_skipped_in_every_pass(kb, towns):
    def with_bad(data, bad):
        def read(i):
            if i == bad:
                raise OwsegError("it is torn.")
            return data.source.read(i)

        return replace(data, source=replace(data.source, read=read))

    found = evaluate_crosswise(kb, with_bad(towns[0], 1), with_bad(towns[1], 4))
    others = evaluate_crosswise(kb, towns[0].pick([0, 2]), towns[1].pick(range(4)))
    assert [one.skipped for one in found.splits] == [{"f1": "f1: it is torn."}, {"f7": "f7: it is torn."}]
    assert [replace(one, skipped={}) for one in found.splits] == [*others.splits] and found.miou == others.miou


def test_what_has_no_threshold_and_no_mask_is_one_sentence(kb, towns):
    known = tiny.dataset(3)
    with pytest.raises(OwsegError, match="shows no pixel that is unknown"):
        evaluate_crosswise(kb, towns[0], known)
    with pytest.raises(OwsegError, match="shows no pixel that is unknown"):
        evaluate_crosswise(kb, known, towns[0])
    with pytest.raises(OwsegError, match="no scorer 'magic'"):
        evaluate_crosswise(kb, *towns, "magic")
    with pytest.raises(OwsegError, match="other labels"):
        evaluate_crosswise(kb, towns[0], DataSet(towns[1].source, LabelSpace.of(["road"])))
    read = towns[1].source.read
    bare = replace(towns[1], source=replace(towns[1].source, read=lambda i: (read(i)[0], None)))
    with pytest.raises(OwsegError, match="f3 has no mask"):
        evaluate_crosswise(kb, towns[0], bare)

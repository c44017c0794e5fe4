import json
from dataclasses import replace

import numpy as np
import pytest

from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.evaluation.evaluate import evaluate
from owseg.evaluation.sequence import evaluate_sequence
from owseg.labels import UNKNOWN


@pytest.fixture(scope="module")
def evaluation(frames, stages):
    return evaluate_sequence(stages, frames)


def test_every_stage_is_measured_as_it_would_be_alone(frames, stages, evaluation):
    for stage, kb in zip(evaluation.stages, stages, strict=True):
        alone = evaluate(kb, DataSet(frames.source, kb.labels))
        assert json.dumps(stage.to_json()) == json.dumps(alone.to_json())
    assert evaluation.steps == ("before", "+ rock", "+ cow") and evaluation.learned == ("rock", "cow")
    iou = evaluation.iou()
    assert np.isnan(iou["cow"][:2]).all() and np.isfinite(iou["cow"][2])
    assert iou["rock"][1:] == [stage.iou.per_class()["rock"] for stage in evaluation.stages[1:]]
    value = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert value["iou"]["cow"] == [None, None, iou["cow"][2]]
    assert value["forgetting"]["cow"] is None and value["open_set"][1]["recall_after"] is None
    assert [stage["summary"] for stage in value["stages"]] == [s.to_json()["summary"] for s in evaluation.stages]


def test_every_image_is_read_once_and_passes_the_network_once(frames, stages, evaluation):
    seen, passes = [], []

    def read(i):
        seen.append(i)
        return frames.source.read(i)

    class Counted(type(stages[-1])):
        def engine(self, **options):
            return lambda image: passes.append(image) or stages[-1].forward(image)

    last = Counted(**{name: getattr(stages[-1], name) for name in stages[-1].__dataclass_fields__})
    counted = replace(frames, source=replace(frames.source, read=read))
    assert evaluate_sequence([*stages[:-1], last], counted).to_json() == evaluation.to_json()
    assert len(stages) == 3 and seen == list(range(len(frames))) and len(passes) == len(frames)


def test_a_bad_image_is_skipped_at_every_stage(frames, stages):
    few = frames.pick(range(3))

    def read(i):
        if i == 1:
            raise OwsegError("it is torn.")
        return few.source.read(i)

    found = evaluate_sequence(stages, replace(few, source=replace(few.source, read=read)))
    name = few.source.ids[1]
    assert [stage.skipped for stage in found.stages] == [{name: f"{name}: it is torn."}] * 3
    others = evaluate_sequence(stages, few.pick([0, 2]))
    for stage, other in zip(found.stages, others.stages, strict=True):
        assert {**stage.to_json(), "skipped": {}} == other.to_json()
    assert "2 images, 1 skipped" in found.tables()[0][0]


def test_what_is_forgotten_is_the_best_there_was_less_what_there_is(frames, stages):
    tables = {
        "road": (0.5, 0.75, 0.25),
        "sky": (0.5, 0.5, 1.0),
        "rock": (np.nan, 0.5, 0.5),
        "cow": (np.nan, np.nan, 1.0),
    }
    evaluation = evaluate_sequence(stages, frames.pick(range(2)))
    object.__setattr__(evaluation, "iou", lambda: tables)
    lost = evaluation.forgetting()
    assert (lost["road"], lost["sky"], lost["rock"]) == (0.5, -0.5, 0.0) and np.isnan(lost["cow"])


def test_what_is_still_unknown_is_counted_pixel_by_pixel(frames, stages, evaluation):
    first, second = evaluation.open_set()
    found = {True: [0, 0], False: [0, 0]}
    own = [0, 0]
    for i in range(len(frames)):
        image, raw = frames.source.read(i)
        for kb, after in ((stages[0], False), (stages[1], True)):
            unknown = kb.predict(image).open_set == UNKNOWN
            found[after][0] += unknown[raw == 4].sum()
            found[after][1] += (raw == 4).sum()
            if after:
                own[0] += unknown[raw == 3].sum()
                own[1] += (raw == 3).sum()
    assert first["recall_before"] == found[False][0] / found[False][1]
    assert first["recall_after"] == found[True][0] / found[True][1]
    assert first["new_class_unknown"] == own[0] / own[1]
    assert first["ap_after"] == evaluation.stages[1].scores["joint"].ap
    assert np.isnan(second["recall_after"])  # nothing is unknown any more


def test_the_tables_have_a_column_for_each_stage(evaluation):
    iou, summary, open_set = evaluation.tables()
    assert iou[1] == ("class", "before", "+ rock", "+ cow", "forgotten") and summary[1] == ("", *iou[1][1:-1])
    assert all(len(row) == len(header) for _, header, rows in (iou, summary, open_set) for row in rows)
    (cow,) = [row for row in iou[2] if row[0] == "cow"]
    assert cow == ("cow", "–", "–", f"{evaluation.iou()['cow'][2]:.3f}", "–")


def test_an_evaluation_can_be_compared_hashed_and_printed(evaluation):
    assert evaluation == evaluation and evaluation != replace(evaluation) and len({evaluation}) == 1
    assert len(repr(evaluation)) < 300 and "+ cow" in repr(evaluation)


def test_there_must_be_a_sequence_to_evaluate(stages, frames):
    with pytest.raises(OwsegError, match="not learned a class"):
        evaluate_sequence(stages[:1], frames)
    with pytest.raises(OwsegError, match="not learned a class"):
        evaluate_sequence([], frames)

"""An evaluation a few images at a time gives the digits of one without parts, wherever the parts are counted."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from owseg._files import ERRORS
from owseg.data.datasets import open_dataset
from owseg.errors import OwsegError
from owseg.evaluation import evaluator as module
from owseg.evaluation.evaluate import evaluate
from owseg.evaluation.parts import RECORD
from owseg.metrics.pixel import PerImage
from owseg.metrics.pooled import Pooled
from owseg.models import cluster
from tests.support import tiny
from tests.support.clusters import HereCluster

COUNT = 5
"""Images: three parts, the last one short."""


@pytest.fixture(scope="module")
def kb():
    return tiny.calibrated(0.3)


@pytest.fixture(scope="module")
def data():
    return tiny.dataset(COUNT, 4, unknown=True)


@pytest.fixture(autouse=True)
def two_at_a_time(monkeypatch):
    monkeypatch.setattr(cluster, "FEWEST", 2)


@pytest.fixture
def runs(monkeypatch):
    """The numbers of images that a network was run on."""
    counts, over = [], module.over_images
    monkeypatch.setattr(module, "over_images", lambda f, some, *how: counts.append(len(some)) or over(f, some, *how))
    return counts


def same(one, other):
    assert one.to_json() == other.to_json() and one.predicted_unknown == other.predicted_unknown
    assert one.scores == other.scores and np.array_equal(one.iou.counts, other.iou.counts)


@pytest.mark.parametrize("metric", [None, PerImage, partial(Pooled, 1000)], ids=["pooled", "per image", "histograms"])
def test_parts_and_clusters_count_the_same(kb, data, tmp_path, runs, metric):
    whole = evaluate(kb, data, ["msp", "max_logit"], metric)
    runs.clear()
    in_parts = evaluate(kb, data, ["msp", "max_logit"], metric, parts=tmp_path)
    assert runs == [2, 2, 1]
    again = evaluate(kb, data, ["msp", "max_logit"], metric, parts=tmp_path)
    assert runs == [2, 2, 1]
    here = HereCluster()
    shared = evaluate(kb, data, ["msp", "max_logit"], metric, cluster=here)
    assert here.sizes == [2, 2, 1]
    for other in (in_parts, again, shared):
        same(whole, other)


def test_a_cluster_runs_the_network_as_it_is_asked_to(kb, data):
    forward = kb.engine(multi_scale=True)
    shared = evaluate(kb, data, forward=forward, cluster=HereCluster())
    same(evaluate(kb, data, forward=forward), shared)
    assert shared.scores != evaluate(kb, data).scores


def test_a_run_that_was_stopped_goes_on_and_a_damaged_part_is_counted_again(kb, data, tmp_path, runs):
    def read(i):
        if i == 3:
            raise KeyboardInterrupt
        return data.source.read(i)

    whole = evaluate(kb, data)
    with pytest.raises(KeyboardInterrupt):
        evaluate(kb, replace(data, source=replace(data.source, read=read)), parts=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000000-00000001.safetensors.zst", RECORD]
    runs.clear()
    same(evaluate(kb, data, parts=tmp_path), whole)
    assert runs == [2, 1]
    for name, content in (("00000000-00000001", b"half"), ("00000002-00000003", b"")):
        (tmp_path / f"{name}.safetensors.zst").write_bytes(content)
    runs.clear()
    same(evaluate(kb, data, parts=tmp_path), whole)
    assert runs == [2, 2]


@pytest.mark.parametrize("metric", [None, PerImage, partial(Pooled, 1000)], ids=["pooled", "per image", "histograms"])
def test_a_bad_image_is_skipped_wherever_it_is_counted_and_tried_again(kb, data, tmp_path, runs, metric):
    bad = replace(data, source=replace(data.source, read=partial(failing, data.source.read, {2, 4})))
    others = evaluate(kb, data.pick([0, 1, 3]), metric=metric)
    whole, here = evaluate(kb, bad, metric=metric), HereCluster()
    runs.clear()
    in_parts = evaluate(kb, bad, metric=metric, parts=tmp_path)
    assert runs == [2, 2, 1]
    runs.clear()
    again = evaluate(kb, bad, metric=metric, parts=tmp_path)
    assert runs == [1, 1]
    shared = evaluate(kb, bad, metric=metric, cluster=here, parts=tmp_path / "shared")
    for found in (whole, in_parts, again, shared):
        assert found.skipped == {"f2": "f2: it is torn.", "f4": "f4: it is torn."} and found.images == 3
        assert found.counted == "3 images, 2 skipped" and "3 images, 2 skipped" in str(found.tables())
        same(replace(found, skipped={}), others)
    for folder in (tmp_path, tmp_path / "shared"):
        assert (folder / ERRORS).read_text() == "path,error\nf2,f2: it is torn.\nf4,f4: it is torn.\n"
    runs.clear()
    mended = evaluate(kb, data, metric=metric, parts=tmp_path)
    whole = evaluate(kb, data, metric=metric)
    assert np.array_equal(mended.iou.counts, whole.iou.counts) and mended.predicted_unknown == whole.predicted_unknown
    assert mended.scores["joint"].ap == pytest.approx(whole.scores["joint"].ap, abs=1e-12)  # a mean in another order
    assert runs == [1, 1, COUNT] and not (tmp_path / ERRORS).exists()


def failing(read, numbers, i):
    if i in numbers:
        raise OwsegError("it is torn.")
    return read(i)


def test_where_no_image_can_be_measured_there_is_no_result(kb, data, tmp_path):
    bad = replace(data, source=replace(data.source, read=partial(failing, data.source.read, range(COUNT))))
    for how in ({}, {"parts": tmp_path}, {"cluster": HereCluster()}):
        with pytest.raises(OwsegError, match="none of the 5 images of tiny can be measured; the first: f0: it is torn"):
            evaluate(kb, bad, **how)
    assert (tmp_path / ERRORS).read_text().count("torn") == COUNT


def test_a_worker_is_sent_the_paths_of_its_images_alone(kb, own_data):
    data, here = open_dataset(f"folder:{own_data}", "test", kb.labels), HereCluster()
    same(evaluate(kb, data, cluster=here), evaluate(kb, data))
    work, *parts = here.sent
    for i, part in enumerate(parts):
        assert [n for n in range(len(data)) if f"f{n}.png".encode() in part] == [2 * i, 2 * i + 1]
    assert b".png" not in work


def test_parts_of_anything_else_are_refused(kb, data, tmp_path):
    evaluate(kb, data, parts=tmp_path)
    moved = replace(kb, threshold=replace(kb.threshold, value=kb.threshold.value + 1))
    renamed = replace(data, source=replace(data.source, ids=(*data.source.ids[1:], "other")))
    for given, how, words in (
        ((kb, data, ["msp"]), {}, "of other scores or metrics"),
        ((kb, data), {"metric": PerImage}, "of other scores or metrics"),
        ((moved, data), {}, "of another knowledge base"),
        ((kb, data), {"forward": kb.engine(multi_scale=True)}, "one that is run in another way"),
        ((kb, renamed), {}, "of other images"),
    ):
        with pytest.raises(OwsegError, match=words):
            evaluate(*given, **how, parts=tmp_path)
    with pytest.raises(OwsegError, match="only what an Engine counts can be kept"):
        evaluate(kb, data, forward=kb.forward, parts=tmp_path / "new")
    with pytest.raises(OwsegError, match="only an Engine can be run elsewhere"):
        evaluate(kb, data, forward=kb.forward, cluster=HereCluster())
    (tmp_path / RECORD).write_text("[1]")
    with pytest.raises(OwsegError, match="remove it, or name another folder"):
        evaluate(kb, data, parts=tmp_path)


def test_the_command_goes_on_in_its_folder(run_cli, stored_kb, own_data, tmp_path, monkeypatch):
    line = ("evaluate", stored_kb, "--data", f"folder:{own_data}", "--json")
    code, plain, err = run_cli(*line)
    assert code == 0, err
    assert run_cli(*line, "--out", tmp_path / "parts")[1] == plain
    monkeypatch.setattr(module, "over_images", None)
    assert run_cli(*line, "--out", tmp_path / "parts")[1] == plain
    code, _, err = run_cli(*line, "--out", tmp_path / "parts", "--sequence")
    assert code != 0 and "omit --sequence" in err

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from owseg.data.dataset import DataSet
from owseg.data.outliers import Outlier, Outliers
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import calibrate
from owseg.knowledge.commit import rollback_version
from owseg.knowledge.load import load
from owseg.labels import KNOWN, UNKNOWN, LabelSpace
from owseg.models.published.transformers import to_network
from owseg.models.residual_pattern import residual_of
from owseg.scorers.energy import energy
from owseg.scorers.rpl import rpl
from owseg.training.config import ResidualConfig
from owseg.training.residual import pasted, split, train_residual
from tests.support import tiny

FAST = ResidualConfig(epochs=3, batch=4, crop=(48, 64), scale=(1.0, 1.2), jitter=0.0, sizes=(0.3, 0.6), lr=1e-2,
                      samples=32, validate_every=1)  # fmt: skip


def segformer():
    torch.manual_seed(0)
    config = SegformerConfig(**tiny.CONFIGS["segformer"], decoder_hidden_size=24, num_labels=3)
    return to_network(SegformerForSemanticSegmentation(config))


NETWORKS = {
    "linear": lambda: tiny.network(classifier="linear"),
    "prototype": tiny.network,
    "segformer": segformer,
}


def base(kind="linear"):
    return KnowledgeBase(NETWORKS[kind](), LabelSpace.of(["road", "sky", "tree"]))


def things(count=16):
    """Stripes in vivid colours, on black where they were photographed."""

    def read(i):
        image, mask = np.zeros((3, 40, 40), np.uint8), np.zeros((40, 40), bool)
        mask[4:36, 6:34] = True
        image[0, :, ::4], image[1, :, 2::4] = 255, 40 * (i % 3)
        return Outlier(image * mask, mask, f"o{i}")

    return Outliers("things", tuple(f"o{i}" for i in range(count)), (frozenset({"thing"}),) * count, read)


def streets(count=12):
    data = tiny.dataset(count)
    return replace(data, source=replace(data.source, read=lambda i: (tiny.image(i), None)))


def ap(kb, data, name):
    from owseg.metrics.pixel import Exact

    state = Exact()
    for i in range(len(data)):
        sample = pasted(data[i], things(), FAST, np.random.default_rng([3, i]))
        state.update(kb.score(kb.forward(sample.image), sample.target.shape, name), sample.target)
    return state.compute().ap


@pytest.mark.parametrize("kind", NETWORKS)
def test_outliers_are_seen_and_the_closed_map_does_not_change_by_a_bit(kind, tmp_path):
    kb = base(kind)
    before = [kb.forward(tiny.image(i)) for i in range(4)]
    weights = {k: v.clone() for k, v in kb.network.state_dict().items()}
    long = replace(FAST, epochs=15, outlier_weight=1.0, validate_every=5)
    updated = train_residual(kb, streets(), streets(4), things(), things(), long, tmp_path / "run")
    assert all(torch.equal(v, weights[k]) for k, v in updated.network.state_dict().items())
    for i, old in enumerate(before):
        new = updated.forward(tiny.image(i))
        assert torch.equal(new.logits, old.logits) and torch.equal(new.embedding, old.embedding)
        assert np.array_equal(updated.assess(new, (48, 64)).labels, kb.assess(old, (48, 64)).labels)
    assert updated.scorer == "rpl" and updated.threshold is None and "rpl" not in kb.scorers
    untrained = replace(kb, residual=residual_of(kb.network))
    assert ap(updated, streets(6), "rpl") > ap(untrained, streets(6), "rpl") + 0.1
    updated = calibrate(updated, streets(4))
    kb.save(tmp_path / "kb")
    updated.save(tmp_path / "kb")
    loaded = load(tmp_path / "kb")
    for i in range(3):
        one, two = updated.predict(tiny.image(i)), loaded.predict(tiny.image(i))
        assert np.array_equal(one.score, two.score) and np.array_equal(one.open_set, two.open_set)
    rollback_version(tmp_path / "kb")
    assert load(tmp_path / "kb").residual is None


def test_an_untrained_residual_is_the_energy():
    kb = base()
    kb = replace(kb, residual=residual_of(kb.network))
    output = kb.forward(tiny.image())
    assert torch.allclose(rpl(output), energy(output), atol=1e-5)
    metric = base("prototype")
    output = replace(metric, residual=residual_of(metric.network)).forward(tiny.image())
    expected = -(output.logits + output.embedding.square().sum(1, keepdim=True)).logsumexp(1)
    assert torch.allclose(rpl(output), expected, atol=1e-4)


def test_a_stopped_run_ends_like_one_that_was_never_stopped(tmp_path, monkeypatch):
    whole = train_residual(base(), streets(), streets(4), things(), things(), FAST, tmp_path / "whole")

    class Stop(Exception):
        pass

    from owseg.training import loop as module

    real = module._save

    def stop(fabric, path, state):
        real(fabric, path, state)
        if state["epoch"] == 2:
            raise Stop

    monkeypatch.setattr(module, "_save", stop)
    arguments = (streets(), streets(4), things(), things(), FAST, tmp_path / "cut")
    with pytest.raises(Stop):
        train_residual(base(), *arguments)
    monkeypatch.setattr(module, "_save", real)
    resumed = train_residual(base(), *arguments, resume=True)
    for name, value in whole.residual.state_dict().items():
        assert torch.equal(value, resumed.residual.state_dict()[name]), name
    with pytest.raises(OwsegError, match="other settings"):
        train_residual(base(), *arguments[:-2], replace(FAST, epochs=9), tmp_path / "cut", resume=True)


TWO = """
import os
from dataclasses import replace
from tests.training.test_residual import FAST, base, streets, things
from owseg.data.outliers import Outlier
from owseg.train_residual import train_residual

seen = things()
if os.environ.get("LOCAL_RANK") == "1":
    read = seen.read
    seen = replace(seen, read=lambda i: replace(read(i), mask=read(i).mask & (i % 8 == 7)))  # validation has its own
config = replace(FAST, devices=2, batch=2, epochs=2)
train_residual(base(), streets(), streets(4), seen, None, config, "run").save("kb")
"""


def test_two_processes_step_together_where_one_of_them_sees_no_outlier(tmp_path):
    """A rank that skipped its step would leave the other waiting for ever."""
    (tmp_path / "two.py").write_text(TWO)
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "two.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert len(lines) == 3 and all(np.isfinite([float(v) for v in line.split(",")]).all() for line in lines[1:])
    assert load(tmp_path / "kb").residual.final.weight.abs().max() > 0


def test_every_outlier_trains_or_validates_and_none_does_both():
    train_on, val_on = split(things(17))
    assert not set(train_on.ids) & set(val_on.ids) and len(train_on) + len(val_on) == 17 and len(val_on) == 2
    few = split(things(3))
    assert few[0].ids == ("o0", "o1") and few[1].ids == ("o2",)
    assert split(things(1))[0].ids == split(things(1))[1].ids == ("o0",)


def test_void_is_no_inlier(tmp_path):
    """Where the truth is void or unknown, nothing is learned: with all of it void, only outliers are left."""
    from owseg.training.residual import _seen, _street

    sample = tiny.dataset(1)[0]
    target = np.where(np.arange(64) < 20, UNKNOWN, 1).astype(np.uint8) * np.ones((48, 1), np.uint8)
    made = _street(replace(sample, target=target)).target
    assert (made[:, :20] == 255).all() and (made[:, 20:] == 0).all()
    seen = _seen(replace(things().read(0), void=np.arange(40)[:, None] * np.ones(40) < 10)).target
    assert (seen[:10] == 255).all() and (seen[10:36, 6:34] == UNKNOWN).all() and (seen[36:] == 0).all()


def test_what_is_known_and_has_no_name_is_an_inlier(tmp_path):
    """Of an anomaly set, what is not anomalous counts as street: its truth says KNOWN, not which class."""
    from owseg.data.unlabeled import open_inliers as opened
    from owseg.training.residual import _street
    from tests.support import trees

    trees.roadanomaly21(tmp_path)
    sample = opened(f"roadanomaly21:{tmp_path}", "val", LabelSpace.of(["road", "car"]))[0]
    target = _street(sample).target
    assert (target == 0).any() and np.array_equal(target == 0, np.asarray(sample.target) == KNOWN)


def test_what_cannot_be_trained_on_ends_in_one_sentence(tmp_path):
    with pytest.raises(OwsegError, match="do not fill a batch"):
        train_residual(base(), streets(3), streets(4), things(), None, FAST, tmp_path)
    void = replace(streets().source, read=lambda i: (tiny.image(i), np.full((48, 64), 255, np.uint8)))
    with pytest.raises(OwsegError, match="neither void nor unknown; give other streets"):
        train_residual(base(), replace(streets(), source=void), streets(4), things(), None, FAST, tmp_path)
    with pytest.raises(OwsegError, match="nothing to judge by"):
        train_residual(base(), streets(), replace(streets(), source=void), things(), None, FAST, tmp_path)
    with pytest.raises(OwsegError, match="lower the learning rate"):
        train_residual(base(), streets(), streets(4), things(), None, replace(FAST, lr=1e30, final_lr=1e30), tmp_path)
    with pytest.raises(OwsegError, match="epochs"):
        replace(FAST, epochs=0)
    with pytest.raises(OwsegError, match="no residual"):
        rpl(base().forward(tiny.image()))


def test_what_is_pasted_is_recoloured_with_the_street():
    """A cut-out that stayed as it was would be told by its brightness."""
    from owseg.training.residual import _batches

    white = replace(things(), read=lambda i: Outlier(np.full((3, 40, 40), 255, np.uint8), np.ones((40, 40), bool), ""))
    batches = list(_batches(streets(), white, None, replace(FAST, jitter=0.5), 0, 0, 1))
    views = [view for images, targets, *_ in batches for view in zip(images, targets == UNKNOWN, strict=True)]
    shown = [float(image[:, where].mean()) for image, where in views if where.any()]
    assert len(shown) == 12 and min(shown) < 0.8 and max(shown) > 0.95


def test_pasted_streets_are_the_same_whenever_they_are_asked_for():
    data = DataSet(streets().source, LabelSpace.of(["road", "sky", "tree"]))
    one, two = (pasted(data[0], things(), FAST, np.random.default_rng([7, 0])) for _ in range(2))
    assert np.array_equal(one.image, two.image) and np.array_equal(one.target, two.target)

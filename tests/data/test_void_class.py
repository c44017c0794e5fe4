import numpy as np
import pytest
import torch

from owseg.data.dataset import DataSet, Source
from owseg.data.void_class import with_background
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.labels import BACKGROUND, IGNORE, UNKNOWN
from owseg.training.build import build_knowledge_base
from owseg.training.config import TrainConfig
from tests.support import tiny


def with_void():
    plain = tiny.dataset().source

    def read(i):
        image, ids = plain.read(i)
        return image, np.where(np.arange(64) < 8, IGNORE, ids).astype(np.uint8)

    return Source("void", plain.classes, plain.ids, read)


def test_void_is_a_class_and_what_is_left_out_is_none_of_it():
    source = with_void()
    labels = source.classes.without(["tree"]).extend(BACKGROUND)
    target, raw = DataSet(with_background(source), labels, IGNORE)[0].target, source.read(0)[1]
    assert (target[raw == IGNORE] == 2).all() and (target[raw == 2] == IGNORE).all()
    assert np.array_equal(target[raw < 2], raw[raw < 2])
    assert (raw == 2).any()
    # The same frames without it, as they are evaluated: void is void, what is left out is unknown.
    target = DataSet(source, labels)[0].target
    assert (target[raw == IGNORE] == IGNORE).all() and (target[raw == 2] == UNKNOWN).all()


def test_frames_without_masks_stay_so_and_a_class_of_that_name_is_refused():
    source = with_void()
    bare = Source("bare", source.classes, source.ids, lambda i: (source.read(i)[0], None))
    assert DataSet(with_background(bare), bare.classes)[0].target is None
    with pytest.raises(OwsegError, match="has a class 'background' already"):
        with_background(with_background(source))


def test_the_score_is_the_background_s_probability(tmp_path):
    kb = tiny.knowledge_base(("road", BACKGROUND, "tree"))
    output = kb.forward(tiny.image())
    expected = torch.exp(output.logits - output.logits.logsumexp(1, keepdim=True))[:, 1]
    torch.testing.assert_close(kb.scorers(BACKGROUND)[BACKGROUND](output), expected)
    assert BACKGROUND not in tiny.knowledge_base().scorers()
    KnowledgeBase(kb.network, kb.labels, scorer=BACKGROUND).save(tmp_path / "kb")
    assert load(tmp_path / "kb").scorer == BACKGROUND


def test_a_network_is_trained_with_it(tmp_path, monkeypatch):
    """Void in the train split is the class; elsewhere it stays void."""
    seen = []

    def watch(network, data, val, *_):
        seen.append((data, val))
        return network

    source = with_void()
    monkeypatch.setattr("owseg.build.train", watch)
    monkeypatch.setattr(
        "owseg.build.open_dataset",
        lambda spec, split, labels=None, train=False: DataSet(source, labels or source.classes, 255 if train else 254),
    )
    config = TrainConfig(epochs=1, batch=2, crop=(32, 32))
    kb = build_knowledge_base("any", tiny.backbone(), ["tree"], config, tmp_path / "run", background=True)
    assert kb.labels.names == ("road", "sky", BACKGROUND) and kb.network.num_classes == 3
    assert kb.scorer == BACKGROUND and kb.threshold is not None
    (training, val) = seen[0]
    raw = source.read(0)[1]
    assert (training[0].target[raw == IGNORE] == 2).all() and (val[0].target[raw == IGNORE] == IGNORE).all()
    assert kb.fitted is not None and kb.fitted.mahalanobis.counts[2] == 0  # void is no known class

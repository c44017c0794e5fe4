"""A network with a class for void, from training to the score."""

import torch

from owseg.data.dataset import DataSet
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.labels import BACKGROUND, IGNORE
from owseg.training.build import build_knowledge_base
from owseg.training.config import TrainConfig
from tests.support import tiny


def test_the_score_is_the_background_s_probability(tmp_path):
    kb = tiny.knowledge_base(("road", BACKGROUND, "tree"))
    output = kb.forward(tiny.image())
    expected = torch.exp(output.logits - output.logits.logsumexp(1, keepdim=True))[:, 1]
    torch.testing.assert_close(kb.scorers[BACKGROUND](output), expected)
    assert BACKGROUND not in tiny.knowledge_base().scorers
    KnowledgeBase(kb.network, kb.labels, scorer=BACKGROUND).save(tmp_path / "kb")
    assert load(tmp_path / "kb").scorer == BACKGROUND


def test_a_network_is_trained_with_it(tmp_path, monkeypatch):
    """Void in the train split is the class; elsewhere it stays void."""
    calls = []

    def record(network, data, val, *_):
        calls.append((data, val))
        return network

    source = tiny.with_void()
    monkeypatch.setattr("owseg.training.build.train", record)
    monkeypatch.setattr(
        "owseg.training.build.open_dataset",
        lambda spec, split, labels=None, train=False: DataSet(source, labels or source.classes, 255 if train else 254),
    )
    config = TrainConfig(epochs=1, batch=2, crop=(32, 32))
    kb = build_knowledge_base("any", tiny.backbone(), ["tree"], config, tmp_path / "run", background=True)
    assert kb.labels.names == ("road", "sky", BACKGROUND) and kb.network.num_classes == 3
    assert kb.scorer == BACKGROUND and kb.threshold is not None
    ((training, val),) = calls
    raw = source.read(0)[1]
    assert (training[0].target[raw == IGNORE] == 2).all() and (val[0].target[raw == IGNORE] == IGNORE).all()
    assert kb.fitted["joint"].mahalanobis.counts[2] == 0  # void is no known class

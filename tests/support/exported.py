"""Small knowledge bases to export, and increments of every kind for them."""

import copy

import torch

from owseg.increments.head import Head, frozen
from owseg.increments.probe import LinearProbe, compete
from owseg.increments.prototype import NovelPrototype
from owseg.knowledge.base import KnowledgeBase
from owseg.labels import LabelSpace
from owseg.models.assemble import make_classifier
from owseg.openset import Threshold
from tests.support import tiny

THRESHOLD = Threshold(0.0, "quantile", 0.05, 0.05, 1.0, 1, 1)
SIZES = ((64, 96), (49, 65), (101, 75))
"""Sizes at which a small export is compared: even and odd, wide and high."""


def learned(kb, probes=0, prototypes=0, heads=0):
    """``kb`` with so many increments of each kind, each of which is somewhere."""
    g = torch.Generator().manual_seed(0)
    channels, base = sum(kb.network.backbone.channels), kb.network.num_classes
    increments, labels = (), kb.labels
    for i in range(probes):
        made = LinearProbe(f"probe{i}", torch.randn(1, channels, generator=g), torch.randn(1, generator=g), 1)
        increments, labels = compete(increments, made), labels.extend(made.name)
    for i in range(prototypes):
        point = tuple((torch.rand(base, generator=g) * 3).tolist())
        made = NovelPrototype(f"prototype{i}", point, 2.0, ((0.5,) * base,) * i)
        increments, labels = (*increments, made), labels.extend(made.name)
    for i in range(heads):
        decoder = frozen(copy.deepcopy(kb.network.decoder).widened(len(labels) + 1))
        with torch.no_grad():
            decoder.head.weight[-1] = torch.randn(decoder.head.weight[-1].shape, generator=g)
            decoder.head.bias[-1] = 0.5
        classifier = frozen(make_classifier("prototype", len(labels) + 1))
        made = Head(f"head{i}", decoder, classifier)
        increments, labels = (*increments, made), labels.extend(made.name)
    return kb.after(kb.history[0], increments=increments, labels=labels)


def untrained(kind="mobilenet_v2", scorer="max_logit", **options):
    """A knowledge base of random weights with a threshold."""
    network = tiny.network(kind=kind, **options)
    labels = LabelSpace.of(("road", "sky", "tree"))
    return KnowledgeBase(network, labels, scorer=scorer, threshold=THRESHOLD, history=tiny.knowledge_base().history)

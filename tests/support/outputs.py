"""Made-up outputs of a network, with targets: what scorers are fitted to and asked about."""

from types import SimpleNamespace

import torch

from owseg.labels import IGNORE, UNKNOWN
from owseg.models.classifiers import PrototypeClassifier
from owseg.types import Output

K, CHANNELS = 4, 5
"""Classes, of which the last is in no target, and channels of the pyramid."""


def network(metric=True, classes=K, channels=(2, 3), scale=3.0, negative=False, masks=False):
    """What ``make`` of a scorer reads of a network."""
    classifier = PrototypeClassifier(classes, scale)
    backbone = SimpleNamespace(channels=channels)
    return SimpleNamespace(
        num_classes=classes, is_metric=metric, classifier=classifier, backbone=backbone, has_negative=negative,
        has_masks=masks,
    )  # fmt: skip


def metric_output(embedding, scale=3.0, features=(), residual=None, negative=None):
    """The output of a prototype classifier for an embedding (B, K, h, w)."""
    classifier = PrototypeClassifier(embedding.shape[1], scale)
    evidence = classifier.evidence(embedding.float())
    return Output(features, embedding, classifier(embedding), residual, evidence, negative)


def near_prototypes_and_between(classes=7, batch=2, seed=0):
    """Embeddings as a trained network has them: near prototypes, near the centroid, far out."""
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(0, classes, (batch, 6, 5), generator=g)
    reach = torch.rand(batch, 1, 6, 5, generator=g) * 4
    onehot = torch.nn.functional.one_hot(label, classes).movedim(-1, 1).float()
    embedding = onehot * reach + 0.4 * torch.randn(batch, classes, 6, 5, generator=g)
    embedding[:, :, 0, 3] *= 12 / embedding[:, :, 0, 3].norm(dim=1, keepdim=True)  # S > 400
    return embedding


def labelled(seed, images=2, grid=(6, 8)):
    """An output whose tensors show the class, and its target with void and unknown pixels.

    The classes' places and the channels' scales differ; the classifier is a prototype classifier.
    """
    g = torch.Generator().manual_seed(seed)
    target = torch.randint(0, K - 1, (images, *grid), generator=g)
    mean = torch.tensor([[0.0, 0, 0, 0, 0], [2, -1, 1, 0, 10], [-2, 0, 3, 1, -20]])[target].movedim(-1, 1)
    mix = torch.tensor([1.0, 0.5, 2, 1, 30])[None, :, None, None]
    x = (
        mean
        + mix * torch.randn(images, CHANNELS, *grid, generator=g)
        + 0.7 * torch.randn(images, 1, *grid, generator=g)
    )
    onehot = torch.nn.functional.one_hot(target, K).movedim(-1, 1)
    embedding = 2 * onehot + torch.randn(images, K, *grid, generator=g)
    residual = 3 * onehot - 2 + torch.randn(images, K, *grid, generator=g)
    negative = 5 * torch.randn(images, *grid, generator=g) - 4
    target[:, 0, 0], target[:, 1, 1] = IGNORE, UNKNOWN
    features = (x[:, :2] + 5, x[:, 2:] + 5)
    return metric_output(embedding, features=features, residual=residual, negative=negative), target


def each(output, target=None):
    """The images of a batch, one at a time: outputs and, with a target, (output, target)."""
    for i in range(len(output.logits)):
        one = slice(i, i + 1)
        rest = (output.residual, output.evidence, output.negative, output.image)
        extra = [None if t is None else t[one] for t in rest]
        alone = Output(tuple(f[one] for f in output.features), output.embedding[one], output.logits[one], *extra)
        yield alone if target is None else (alone, target[one])


def cropped(output, rows, columns):
    """The output of a part of the image."""
    part = (..., rows, columns)
    extra = [None if t is None else t[part] for t in (output.residual, output.evidence, output.negative)]
    return Output(tuple(f[part] for f in output.features), output.embedding[part], output.logits[part], *extra)


def cast(output, dtype):
    """The output in another type of number."""
    extra = [None if t is None else t.to(dtype) for t in (output.residual, output.evidence, output.negative)]
    return Output(
        tuple(f.to(dtype) for f in output.features), output.embedding.to(dtype), output.logits.to(dtype), *extra
    )

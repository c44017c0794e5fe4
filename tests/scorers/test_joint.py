import numpy as np
import pytest
import torch

from owseg.errors import OwsegError
from owseg.scorers.joint import Joint
from owseg.scorers.mahalanobis import RelativeMahalanobis
from owseg.types import Output


def batch(seed, metric=True, images=2):
    g = torch.Generator().manual_seed(seed)
    features = (torch.randn(images, 3, 8, 10, generator=g), torch.randn(images, 2, 4, 5, generator=g))
    embedding = torch.randn(images, 3 if metric else 7, 8, 10, generator=g)
    logits = torch.randn(images, 3, 8, 10, generator=g)
    target = torch.randint(0, 3, (images, 16, 20), generator=g)
    target[:, :4] = 255
    return Output(features, embedding, logits), target


def fitted(metric=True, seeds=(0, 1, 2)):
    distance = RelativeMahalanobis(channels=5, num_classes=3, level=1)
    distance.fit(batch(s, metric) for s in seeds)
    return Joint(distance, metric).fit(batch(s, metric) for s in seeds)


@pytest.mark.parametrize("metric", [True, False])
def test_it_is_the_weighted_sum_of_three_standard_scores(metric):
    """Everything again in float64, with the statistics taken cell by cell in a loop."""
    joint, seeds = fitted(metric), (0, 1, 2)

    def witnesses(output):
        m = joint.mahalanobis.distances(output)[0].double()
        r = joint.mahalanobis(output).double()
        u = -(output.embedding if metric else output.logits).amax(1).double()
        u = torch.nn.functional.interpolate(u[:, None], size=m.shape[1:], mode="bilinear")[:, 0]
        return m.log(), u, r

    rows = []
    for s in seeds:
        output, target = batch(s, metric)
        m, u, r = witnesses(output)
        for b in range(2):
            for i in range(4):
                for j in range(5):
                    if target[b, i * 4 + 2, j * 4 + 2] < 3:
                        rows.append((m[b, i, j].item(), u[b, i, j].item(), r[b, i, j].item()))
    rows = np.array(rows)
    output, _ = batch(9, metric)
    z = [(w - rows[:, i].mean()) / rows[:, i].std() for i, w in enumerate(witnesses(output))]
    expected = z[0] + z[1] + z[2] / 2
    assert torch.allclose(joint(output).double(), expected, atol=1e-4)


def test_a_fit_travels_in_its_state():
    joint = fitted()
    other = Joint(RelativeMahalanobis(**joint.mahalanobis.config), True)
    with pytest.raises(OwsegError, match="not fitted"):
        other(batch(9)[0])
    other.load_state_dict(joint.state_dict())
    assert torch.equal(joint(batch(9)[0]), other(batch(9)[0]))


def test_batches_may_be_split_anywhere():
    whole = fitted()
    singles = [
        (
            Output(tuple(f[i : i + 1] for f in o.features), o.embedding[i : i + 1], o.logits[i : i + 1]),
            t[i : i + 1],
        )
        for o, t in (batch(s) for s in (2, 0, 1))
        for i in range(2)
    ]
    parts = Joint(whole.mahalanobis, True).fit(singles)
    assert torch.allclose(whole.shift, parts.shift, atol=1e-6) and torch.allclose(whole.scale, parts.scale, atol=1e-6)


def test_nothing_labelled_is_refused():
    output, target = batch(0)
    with pytest.raises(OwsegError, match="no pixel is labelled"):
        Joint(fitted().mahalanobis, True).fit([(output, torch.full_like(target, 255))])

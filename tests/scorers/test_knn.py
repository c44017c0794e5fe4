"""The distance to the k-th nearest known feature."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from owseg.errors import OwsegError
from owseg.labels import IGNORE
from owseg.models.ops import resize
from owseg.scorers.knn import KNearest
from owseg.types import Output
from tests.support.outputs import CHANNELS, K, each, labelled

CLASSES = K - 1
"""The last of the K classes is in no target."""


def knn(**options):
    return KNearest(**{"channels": CHANNELS, "num_classes": K, "level": 0, "size": 80, **options})


def known_cells(seeds):
    for s in seeds:
        output, target = labelled(s)
        x = torch.cat(output.features, 1).movedim(1, -1)
        yield x[target < K].double().numpy(), target[target < K].numpy()


@pytest.mark.parametrize("k", [1, 3, 7])
def test_knn_is_scikit_learn_s_on_all_cells_where_all_fit(k):
    """With room for every cell nothing is drawn: an exact search over all training data, in float64."""
    scorer = knn(k=k, size=1200).fit(labelled(s) for s in range(3))
    x = np.concatenate([x for x, _ in known_cells(range(3))])
    assert int(scorer.count) == len(x)
    shift, scale = x.mean(0), x.std(0)

    def normal(v):
        v = (v - shift) / scale
        return v / np.linalg.norm(v, axis=1, keepdims=True)

    output, _ = labelled(9)
    query = torch.cat(output.features, 1).movedim(1, -1).flatten(0, 2).double().numpy()
    distances, _ = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(normal(x)).kneighbors(normal(query))
    # The bank is kept in 16 bits: 5e-4 of a coordinate.
    np.testing.assert_allclose(scorer(output).flatten().numpy(), distances[:, -1], atol=2e-3)


def test_the_bank_is_bounded_balanced_and_drawn_from_the_training_data():
    scorer = knn(size=40).fit(labelled(s) for s in range(4))
    assert int(scorer.count) == 30
    x, y = (np.concatenate(part) for part in zip(*known_cells(range(4)), strict=True))
    z = (x - scorer.shift.numpy()) / scorer.scale.numpy()
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    distance, at = NearestNeighbors(n_neighbors=1).fit(z).kneighbors(scorer.bank[:30].numpy())
    assert distance.max() < 2e-3 and len(set(at[:, 0])) == 30
    assert np.bincount(y[at[:, 0]], minlength=K).tolist() == [10, 10, 10, 0]


def test_the_seed_decides_what_is_kept():
    one, same, other = (knn(size=40, seed=s).fit(labelled(s) for s in range(4)) for s in (0, 0, 1))
    assert torch.equal(one.bank, same.bank) and not torch.equal(one.bank, other.bank)


def test_every_cell_is_as_likely_to_be_kept():
    """Of one class in two images, cells of the first and of the second are kept alike: no drift with time."""
    output, target = labelled(0)
    target = torch.where(target < K, 0, target)
    shares = []
    for seed in range(200):
        scorer = KNearest(CHANNELS, 1, level=0, k=1, size=8, seed=seed).fit(each(output, target))
        x = torch.cat(output.features, 1)[:1].movedim(1, -1)[target[:1] < K]
        z = torch.nn.functional.normalize((x - scorer.shift) / scorer.scale, dim=1)
        shares.append((torch.cdist(scorer.bank[:8], z).amin(1) < 2e-3).float().mean().item())
    assert abs(np.mean(shares) - 0.5) < 0.04  # its standard error is 0.012


def test_a_cell_of_the_bank_is_near_itself():
    scorer = knn(k=1, size=1200).fit([labelled(0)])
    output, target = labelled(0)
    assert scorer(output)[target < K].max() < 2e-2


def test_knn_meets_on_the_grid_of_its_level():
    output, target = labelled(0)
    fine = Output((resize(output.features[0], (12, 16)), output.features[1]), output.embedding, output.logits)
    assert knn(level=1).fit([(fine, target)])(fine).shape == (2, 6, 8)
    with pytest.raises(OwsegError, match="made for 5 channels and the pyramid has 2"):
        knn().fit([(Output(output.features[:1], output.logits, output.logits), target)])


def test_more_neighbours_than_are_kept_are_refused():
    with pytest.raises(OwsegError, match="from 1 to the 20 cells kept of a class, not 21"):
        knn(k=21)
    output, target = labelled(0)
    few = torch.full_like(target, IGNORE)
    few[0, 2, 2] = 1
    with pytest.raises(OwsegError, match="1 cells are labelled with a known class; at least 3"):
        knn().fit([(output, few)])

"""The scorers fitted on known pixels that a knowledge base may hold beside its own: knn and sml."""

import json

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from owseg.errors import OwsegError
from owseg.labels import IGNORE, UNKNOWN
from owseg.models.ops import resize
from owseg.scorers import FITTED
from owseg.scorers.knn import KNearest
from owseg.scorers.sml import StandardisedMaxLogit
from owseg.types import Output

K, CHANNELS = 3, 5
MAKE = {
    "knn": lambda **options: KNearest(**{"channels": CHANNELS, "num_classes": K, "level": 0, "size": 60, **options}),
    "sml": lambda: StandardisedMaxLogit(K),
}


def batch(seed, images=2):
    """Features about a place of their class, logits that know it, targets with void and unknown pixels."""
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(0, K, (images, 6, 8), generator=g)
    place = torch.tensor([[3.0, 0, 0, 0, 0], [0, 3, 0, 0, 40], [0, 0, 3, 0, -40]])[label].movedim(-1, 1)
    x = place + torch.tensor([1.0, 1, 1, 2, 20]).view(-1, 1, 1) * torch.randn(images, CHANNELS, 6, 8, generator=g)
    logits = 2 * torch.nn.functional.one_hot(label, K).movedim(-1, 1) + torch.randn(images, K, 6, 8, generator=g)
    target = label.clone()
    target[:, 0, 0], target[:, 1, 1] = IGNORE, UNKNOWN
    return Output((x[:, :2], x[:, 2:]), logits, logits), target


def split(output, target):
    for i in range(len(target)):
        one = slice(i, i + 1)
        yield Output(tuple(f[one] for f in output.features), output.embedding[one], output.logits[one]), target[one]


def test_every_fitted_scorer_is_tested_here():
    assert set(MAKE) == set(FITTED)


@pytest.mark.parametrize("name", MAKE)
def test_the_score_is_finite_and_each_picture_s_own(name):
    scorer = MAKE[name]().fit(batch(s) for s in range(3))
    output, target = batch(9)
    whole = scorer(output)
    assert whole.shape == (2, 6, 8) and whole.dtype == torch.float32 and torch.isfinite(whole).all()
    for one, (part, _) in zip(whole, split(output, target), strict=True):
        torch.testing.assert_close(scorer(part)[0], one, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", MAKE)
def test_a_fit_does_not_depend_on_the_split_into_batches(name):
    whole = MAKE[name]().fit(batch(s) for s in range(3))
    parts = MAKE[name]().fit(part for s in range(3) for part in split(*batch(s)))
    torch.testing.assert_close(parts.state_dict(), whole.state_dict())


@pytest.mark.parametrize("name", MAKE)
def test_a_fit_travels_in_its_state_and_its_config(name):
    scorer = MAKE[name]().fit([batch(0)])
    fresh = FITTED[name](**json.loads(json.dumps(scorer.config)))
    with pytest.raises(OwsegError, match="not fitted"):
        fresh(batch(1)[0])
    fresh.load_state_dict(scorer.state_dict())
    assert torch.equal(fresh(batch(1)[0]), scorer(batch(1)[0]))


@pytest.mark.parametrize("name", MAKE)
def test_fitting_twice_forgets_the_first_fit(name):
    twice = MAKE[name]().fit([batch(0), batch(2)]).fit([batch(1)])
    torch.testing.assert_close(twice.state_dict(), MAKE[name]().fit([batch(1)]).state_dict())


@pytest.mark.parametrize("name", MAKE)
def test_what_no_class_is_like_scores_higher(name):
    scorer = MAKE[name]().fit(batch(s) for s in range(3))
    known = batch(9)[0]
    strange = Output(tuple(-f for f in known.features), -known.logits, -known.logits)
    assert scorer(strange).median() > scorer(known).quantile(0.8)


@pytest.mark.parametrize("name", MAKE)
def test_what_it_cannot_be_fitted_on_is_named(name):
    output, target = batch(0)
    with pytest.raises(OwsegError, match="labelled with a known class"):
        MAKE[name]().fit([(output, torch.full_like(target, IGNORE))])
    with pytest.raises(OwsegError, match="labelled with a known class"):
        MAKE[name]().fit([])
    with pytest.raises(OwsegError, match="must be \\(B, H, W\\) with B = 2"):
        MAKE[name]().fit([(output, target[0])])
    bad = Output(tuple(f * float("nan") for f in output.features), output.logits, output.logits * float("nan"))
    with pytest.raises(OwsegError, match="NaN or infinite"):
        MAKE[name]().fit([(bad, target)])


# --- knn ---


def known_cells(seeds):
    for s in seeds:
        output, target = batch(s)
        x = torch.cat(output.features, 1).movedim(1, -1)
        yield x[target < K].double().numpy(), target[target < K].numpy()


@pytest.mark.parametrize("k", [1, 3, 7])
def test_knn_is_scikit_learn_s_on_all_cells_where_all_fit(k):
    """With room for every cell nothing is drawn: an exact search over everything seen, in float64."""
    scorer = MAKE["knn"](k=k, size=900).fit(batch(s) for s in range(3))
    x = np.concatenate([x for x, _ in known_cells(range(3))])
    assert int(scorer.count) == len(x)
    shift, scale = x.mean(0), x.std(0)

    def normal(v):
        v = (v - shift) / scale
        return v / np.linalg.norm(v, axis=1, keepdims=True)

    output, _ = batch(9)
    query = torch.cat(output.features, 1).movedim(1, -1).flatten(0, 2).double().numpy()
    distances, _ = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(normal(x)).kneighbors(normal(query))
    # The bank is kept in 16 bits: 5e-4 of a coordinate.
    np.testing.assert_allclose(scorer(output).flatten().numpy(), distances[:, -1], atol=2e-3)


def test_the_bank_is_bounded_balanced_and_drawn_from_what_was_seen():
    scorer = MAKE["knn"](size=30).fit(batch(s) for s in range(4))
    assert int(scorer.count) == 30
    x, y = (np.concatenate(part) for part in zip(*known_cells(range(4)), strict=True))
    z = (x - scorer.shift.numpy()) / scorer.scale.numpy()
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    distance, at = NearestNeighbors(n_neighbors=1).fit(z).kneighbors(scorer.bank[:30].numpy())
    assert distance.max() < 2e-3 and len(set(at[:, 0])) == 30
    assert np.bincount(y[at[:, 0]], minlength=K).tolist() == [10, 10, 10]


def test_the_seed_decides_what_is_kept():
    one, same, other = (MAKE["knn"](size=30, seed=s).fit(batch(s) for s in range(4)) for s in (0, 0, 1))
    assert torch.equal(one.bank, same.bank) and not torch.equal(one.bank, other.bank)


def test_every_cell_is_as_likely_to_be_kept():
    """Of one class in two images, cells of the first and of the second are kept alike: no drift with time."""
    output, target = batch(0)
    target = torch.where(target < K, 0, target)
    shares = []
    for seed in range(200):
        scorer = KNearest(CHANNELS, 1, level=0, k=1, size=8, seed=seed).fit(split(output, target))
        x = torch.cat(output.features, 1)[:1].movedim(1, -1)[target[:1] < K]
        z = torch.nn.functional.normalize((x - scorer.shift) / scorer.scale, dim=1)
        shares.append((torch.cdist(scorer.bank[:8], z).amin(1) < 2e-3).float().mean().item())
    assert abs(np.mean(shares) - 0.5) < 0.04  # its standard error is 0.012


def test_a_cell_of_the_bank_is_near_itself():
    scorer = MAKE["knn"](k=1, size=900).fit([batch(0)])
    output, target = batch(0)
    assert scorer(output)[target < K].max() < 2e-2


def test_knn_meets_on_the_grid_of_its_level():
    output, target = batch(0)
    fine = Output((resize(output.features[0], (12, 16)), output.features[1]), output.embedding, output.logits)
    assert MAKE["knn"](level=1).fit([(fine, target)])(fine).shape == (2, 6, 8)
    with pytest.raises(OwsegError, match="made for 5 channels and the pyramid has 2"):
        MAKE["knn"]().fit([(Output(output.features[:1], output.logits, output.logits), target)])


def test_more_neighbours_than_are_kept_are_refused():
    with pytest.raises(OwsegError, match="from 1 to the 20 cells kept of a class, not 21"):
        MAKE["knn"](k=21)
    output, target = batch(0)
    few = torch.full_like(target, IGNORE)
    few[0, 2, 2] = 1
    with pytest.raises(OwsegError, match="1 cells are labelled with a known class; at least 3"):
        MAKE["knn"]().fit([(output, few)])


# --- sml ---


def test_sml_is_its_equations():
    """Statistics collected in lists, pixel by pixel."""
    heights = {c: [] for c in range(K)}
    for s in range(3):
        output, target = batch(s)
        for at in np.ndindex(*target.shape):
            if target[at] < K:
                pixel = output.logits[at[0], :, at[1], at[2]].tolist()
                heights[pixel.index(max(pixel))].append(max(pixel))
    scorer = MAKE["sml"]().fit(batch(s) for s in range(3))
    output, _ = batch(9)
    found = scorer(output)
    for at in np.ndindex(*found.shape):
        pixel = output.logits[at[0], :, at[1], at[2]].tolist()
        usual = heights[pixel.index(max(pixel))]
        assert found[at].item() == pytest.approx(-(max(pixel) - np.mean(usual)) / np.std(usual), abs=1e-4)


def test_sml_on_its_own_pixels_has_mean_0_and_deviation_1_for_every_predicted_class():
    output, target = batch(0, images=8)
    scorer = MAKE["sml"]().fit([(output, target)])
    score, label = scorer(output)[target < K], output.logits.argmax(1)[target < K]
    for c in range(K):
        assert score[label == c].mean().abs() < 1e-5
        assert score[label == c].std(correction=0).item() == pytest.approx(1, abs=1e-4)


def test_sml_does_not_care_how_high_a_class_usually_is():
    output, target = batch(0)
    lifted = output.logits + torch.tensor([0.0, 30.0, 0.0]).view(-1, 1, 1) * (output.logits.argmax(1) == 1)[:, None]
    taller = Output(output.features, lifted, lifted)
    assert torch.equal(lifted.argmax(1), output.logits.argmax(1))
    torch.testing.assert_close(
        MAKE["sml"]().fit([(taller, target)])(taller), MAKE["sml"]().fit([(output, target)])(output),
        atol=1e-3, rtol=1e-3,
    )  # fmt: skip


def test_a_class_that_is_never_predicted_is_measured_by_all():
    output, target = batch(0)
    logits = output.logits.clone()
    logits[:, 2] -= 100
    scorer = MAKE["sml"]().fit([(Output((), logits, logits), target)])
    top = logits.amax(1)[target < K].double()
    assert scorer.mean[2].item() == pytest.approx(top.mean().item(), abs=1e-5)
    assert scorer.std[2].item() == pytest.approx(top.std(correction=0).item(), abs=1e-5)
    assert scorer.mean[0] != scorer.mean[2]

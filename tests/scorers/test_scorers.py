import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import empirical_covariance

from owseg.errors import OwsegError
from owseg.labels import IGNORE, UNKNOWN
from owseg.models.classifiers import PrototypeClassifier
from owseg.models.ops import resize
from owseg.scorers import METRIC, SCORERS
from owseg.scorers.eds import distance_sum, eds
from owseg.scorers.mahalanobis import RelativeMahalanobis
from owseg.scorers.max_similarity import max_similarity
from owseg.scorers.mixture import mixture
from owseg.scorers.msp import msp
from owseg.types import Output
from tests.reference import scorers as oracle

BETA = {"absolute": 20, "paper": 20, "code": 50}
PER_PICTURE = {"eds_paper", "eds_code", "mixture_paper", "mixture_code"}
ORACLE = {
    "msp": lambda f, x: oracle.msp(x),
    "max_logit": lambda f, x: oracle.max_logit(x),
    "energy": lambda f, x: oracle.energy(x),
    "entropy": lambda f, x: oracle.entropy(x),
    "mmsp": lambda f, x: oracle.mmsp(f),
    "eds": lambda f, x: -oracle.distance_sum(f),
    "eds_paper": lambda f, x: oracle.p_eds(f, "paper"),
    "eds_code": lambda f, x: oracle.p_eds(f, "code"),
    "mixture": lambda f, x: oracle.mixture(f, "absolute", 20, 0.8),
    "mixture_paper": lambda f, x: oracle.mixture(f, "paper", 20, 0.8),
    "mixture_code": lambda f, x: oracle.mixture(f, "code", 50, 0.8),
    "max_similarity": lambda f, x: -f.astype(float).max(0),
}


def metric_output(embedding, scale=3.0):
    return Output((), embedding, PrototypeClassifier(embedding.shape[1], scale)(embedding))


def near_prototypes_and_between(classes=7, batch=2, seed=0):
    """Embeddings as a trained network has them: near prototypes, near the centroid, far out."""
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(0, classes, (batch, 6, 5), generator=g)
    reach = torch.rand(batch, 1, 6, 5, generator=g) * 4
    onehot = torch.nn.functional.one_hot(label, classes).movedim(-1, 1).float()
    embedding = onehot * reach + 0.4 * torch.randn(batch, classes, 6, 5, generator=g)
    embedding[:, :, 0, 3] *= 12 / embedding[:, :, 0, 3].norm(dim=1, keepdim=True)  # S > 400
    return embedding


def test_every_scorer_has_an_oracle():
    assert set(ORACLE) == set(SCORERS)
    assert set(SCORERS) - METRIC == {"msp", "max_logit", "energy", "entropy"}


@pytest.mark.parametrize("name", SCORERS)
def test_scorer_is_its_equation(name):
    embedding = near_prototypes_and_between()
    output = metric_output(embedding)
    score = SCORERS[name](output)
    assert score.shape == (2, 6, 5) and score.dtype == torch.float32
    for b in range(2):
        expected = ORACLE[name](embedding[b].numpy(), output.logits[b].double().numpy())
        np.testing.assert_allclose(score[b].numpy(), expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", SCORERS)
def test_half_precision_outputs_give_float32_scores(name):
    output = metric_output(near_prototypes_and_between())
    half = Output((), output.embedding.bfloat16(), output.logits.bfloat16())
    assert SCORERS[name](half).dtype == torch.float32


@pytest.mark.parametrize("name", sorted(set(SCORERS) - PER_PICTURE))
def test_score_of_a_pixel_depends_on_that_pixel_alone(name):
    output = metric_output(near_prototypes_and_between())
    whole = SCORERS[name](output)
    part = Output((), output.embedding[1:, :, 2:4, :3], output.logits[1:, :, 2:4, :3])
    torch.testing.assert_close(SCORERS[name](part), whole[1:, 2:4, :3])


@pytest.mark.parametrize("name", sorted(PER_PICTURE))
def test_paper_variants_depend_on_their_own_picture_alone(name):
    output = metric_output(near_prototypes_and_between())
    whole = SCORERS[name](output)
    alone = SCORERS[name](Output((), output.embedding[1:], output.logits[1:]))
    torch.testing.assert_close(alone, whole[1:])
    embedding = output.embedding[1:].clone()
    embedding[0, :, 0, 0], embedding[0, :, 0, 1] = (
        -9,
        3 / 7,
    )  # the extremes of S: very far, and at the centroid
    assert not torch.allclose(SCORERS[name](metric_output(embedding))[:, 1:], whole[1:, 1:], atol=1e-3)


@given(st.floats(-50, 50), st.floats(1.1, 4))
@settings(max_examples=25, deadline=None)
def test_softmax_scores_under_shift_and_scale(shift, scale):
    logits = torch.randn(1, 5, 3, 3, generator=torch.Generator().manual_seed(0)).double() * 2
    before, shifted = Output((), logits, logits), Output((), logits, logits + shift)
    for name in ("msp", "entropy"):
        torch.testing.assert_close(SCORERS[name](shifted), SCORERS[name](before), rtol=1e-3, atol=1e-4)
        assert (SCORERS[name](Output((), logits, logits * scale)) < SCORERS[name](before)).all()
    for name in ("max_logit", "energy"):
        torch.testing.assert_close(SCORERS[name](shifted), SCORERS[name](before) - shift, rtol=1e-4, atol=1e-4)


def test_msp_ranks_pixels_that_are_all_but_certain():
    gap = torch.tensor([5.0, 20.0, 40.0, 80.0])  # 1 - p in float32 is 0 from a gap of 17 on
    logits = torch.stack([gap, torch.zeros(4)])[None, :, None]
    np.testing.assert_allclose(msp(Output((), logits, logits))[0, 0], 1 / (1 + np.exp(gap.double())), rtol=1e-5)


def test_bounds_are_reached_where_all_classes_are_alike():
    logits = torch.full((1, 5, 1, 1), 2.5)
    output = Output((), logits, logits)
    assert SCORERS["msp"](output).item() == pytest.approx(0.8)
    assert SCORERS["entropy"](output).item() == pytest.approx(np.log(5))


def test_scores_have_gradients():
    embedding = near_prototypes_and_between(4, 1).requires_grad_()
    for name in SCORERS:
        SCORERS[name](metric_output(embedding)).sum().backward()
    assert torch.isfinite(embedding.grad).all()


@given(st.integers(2, 20), st.floats(0.5, 8), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_eds_is_greatest_at_the_centroid_of_the_prototypes(classes, scale, seed):
    centroid = torch.full((1, classes, 1, 1), scale / classes)
    away = centroid + torch.randn(1, classes, 4, 4, generator=torch.Generator().manual_seed(seed))
    least = scale**2 * (classes - 1)
    assert eds(metric_output(centroid, scale)).item() == pytest.approx(-least, rel=1e-4)
    assert (eds(metric_output(away, scale)) < -least).all()
    prototype = PrototypeClassifier(classes, scale).prototypes[:1, :, None, None]
    assert eds(metric_output(prototype, scale)).item() == pytest.approx(-2 * least, rel=1e-4)
    absolute = [mixture(metric_output(at, scale), scale=scale).item() for at in (centroid, prototype)]
    # alpha is 0.98 at the centroid and 1e-7 at a prototype, where only MMSP is left.
    assert absolute[0] > 0.97 and absolute[1] == pytest.approx(msp(metric_output(prototype, scale)).item(), abs=1e-6)


@pytest.mark.parametrize("classes,scale", [(2, 3.0), (13, 3.0), (7, 1.5)])
def test_distance_sum_is_equation_7(classes, scale):
    embedding = near_prototypes_and_between(classes)
    expected = np.stack([oracle.distance_sum(e.numpy(), scale) for e in embedding])
    np.testing.assert_allclose(distance_sum(embedding, scale), expected, rtol=1e-5)
    np.testing.assert_allclose(-eds(metric_output(embedding, scale)), expected, rtol=1e-5)


def test_metric_scores_do_not_care_which_class_is_which():
    embedding = near_prototypes_and_between()
    shuffled = embedding[:, torch.randperm(7, generator=torch.Generator().manual_seed(3))]
    for name in METRIC:
        a, b = SCORERS[name](metric_output(embedding)), SCORERS[name](metric_output(shuffled))
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normalisation", BETA)
def test_mixture_reads_its_parameters(normalisation):
    embedding = near_prototypes_and_between(5, 1, seed=4)
    score = mixture(metric_output(embedding), normalisation, beta=7.0, gamma=0.5)[0]
    expected = oracle.mixture(embedding[0].numpy(), normalisation, 7.0, 0.5)
    np.testing.assert_allclose(score.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_per_picture_scores_of_a_constant_picture_are_finite():
    output = metric_output(torch.full((1, 4, 3, 3), 0.3))
    for name in PER_PICTURE:
        assert torch.isfinite(SCORERS[name](output)).all()
    assert (SCORERS["eds_code"](output) == 0).all()


def test_paper_s_eds_has_a_zero_in_every_picture_and_the_code_s_a_one():
    output = metric_output(near_prototypes_and_between())
    assert (SCORERS["eds_paper"](output).amin((1, 2)) == 0).all()
    assert (SCORERS["eds_code"](output).amax((1, 2)) == 1).all()


def test_max_similarity_is_the_closed_class_s_own_coordinate():
    embedding = near_prototypes_and_between()
    own = embedding.gather(1, metric_output(embedding).logits.argmax(1, keepdim=True))[:, 0]
    torch.testing.assert_close(max_similarity(metric_output(embedding)), -own)


def test_unknown_normalisation_is_named():
    output = metric_output(torch.zeros(1, 3, 2, 2))
    for scorer in (eds, mixture):
        with pytest.raises(OwsegError, match="'relative'; it is absolute, paper or code"):
            scorer(output, normalisation="relative")


# --- Mahalanobis ---

C, K = 5, 4
SHRINKAGE = 0.01


def pyramid(seed, batch=1, grid=(6, 8)):
    """Two stages on one grid; the classes' places and the channels' scales differ; class 3 is absent."""
    g = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 3, (batch, *grid), generator=g)
    mean = torch.tensor([[0.0, 0, 0, 0, 0], [2, -1, 1, 0, 10], [-2, 0, 3, 1, -20]])[target].movedim(-1, 1)
    mix = torch.tensor([1.0, 0.5, 2, 1, 30])[None, :, None, None]
    x = mean + mix * torch.randn(batch, C, *grid, generator=g) + 0.7 * torch.randn(batch, 1, *grid, generator=g) + 5
    target[:, 0, 0], target[:, 1, 1] = IGNORE, UNKNOWN
    return output_of(x[:, :2], x[:, 2:]), target


def output_of(*stages):
    return Output(tuple(stages), torch.zeros(1), torch.zeros(1))


def scorer(**options):
    return RelativeMahalanobis(**{"channels": C, "num_classes": K, "level": 0, "shrinkage": SHRINKAGE, **options})


def flat(output):
    return torch.cat(output.features, 1).movedim(1, -1).flatten(0, 2).numpy().astype(np.float64)


def shrunk(s, variances):
    """Shrinking the standardised covariance towards I is shrinking the covariance towards the variances."""
    return (1 - SHRINKAGE) * s + SHRINKAGE * np.diag(variances)


@pytest.mark.parametrize("relative", [True, False])
def test_mahalanobis_agrees_with_scipy(relative):
    seen = [pyramid(s) for s in range(4)]
    fitted = scorer(relative=relative).fit(seen)
    x = np.concatenate([flat(o) for o, _ in seen])
    y = np.concatenate([t.numpy().ravel() for _, t in seen])
    means, within, centre, total = oracle.covariances(x, y, K)
    np.testing.assert_allclose(total, empirical_covariance(x[y < K]), rtol=1e-9)  # the oracle itself
    inverse, inverse_total = (np.linalg.inv(shrunk(s, np.diag(total))) for s in (within, total))
    new = pyramid(99, batch=2)[0]
    for stage in new.features:
        stage[0, :, 2, 2] = 0  # where the mean of the absent class would be, were it 0
    expected = []
    for v in flat(new):
        m = min(mahalanobis(v, mean, inverse) ** 2 for mean in means.values())
        expected.append(m - mahalanobis(v, centre, inverse_total) ** 2 * relative)
    np.testing.assert_allclose(fitted(new).flatten(), expected, rtol=1e-3, atol=1e-3)
    nearest = [min(mahalanobis(v, mean, inverse) ** 2 for mean in means.values()) for v in flat(new)]
    np.testing.assert_allclose(fitted.distances(new)[0].flatten(), nearest, rtol=1e-3, atol=1e-3)
    assert fitted(new).shape == (2, 6, 8) and fitted(new).dtype == torch.float32


def test_far_features_score_higher_than_the_fitted_ones():
    seen = [pyramid(s) for s in range(4)]
    fitted = scorer().fit(seen)
    far = output_of(seen[0][0].features[0] + 50, seen[0][0].features[1])
    assert fitted(far).min() > fitted(seen[0][0]).quantile(0.9)


def test_fit_does_not_depend_on_the_split_into_batches():
    whole, target = pyramid(0, batch=6)
    parts = [(output_of(*(s[i:j] for s in whole.features)), target[i:j]) for i, j in [(0, 1), (1, 4), (4, 6)]]
    one, many = scorer().fit([(whole, target)]), scorer().fit(reversed(parts))
    for name, value in one.state_dict().items():
        torch.testing.assert_close(many.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_fit_is_accurate_far_from_the_origin():
    seen = [pyramid(s) for s in range(3)]
    moved = [(output_of(*(s + 1000.0 for s in o.features)), t) for o, t in seen]
    new = pyramid(7)[0]
    there = output_of(*(s + 1000.0 for s in new.features))
    torch.testing.assert_close(scorer().fit(moved)(there), scorer().fit(seen)(new), rtol=2e-2, atol=2e-2)


def test_score_does_not_depend_on_the_scale_of_a_stage():
    def stretched(o):
        return output_of(o.features[0], o.features[1] * 50)

    seen, new = [pyramid(s) for s in range(4)], pyramid(9)[0]
    a = scorer().fit(seen)(new)
    b = scorer().fit([(stretched(o), t) for o, t in seen])(stretched(new))
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_state_goes_into_a_fresh_module_by_way_of_its_config():
    fitted = scorer(shrinkage=0.05).fit([pyramid(0)])
    fresh = RelativeMahalanobis(**json.loads(json.dumps(fitted.config)))
    fresh.load_state_dict(fitted.state_dict())
    assert torch.equal(fresh(pyramid(1)[0]), fitted(pyramid(1)[0]))
    assert all(torch.isfinite(v).all() for v in fitted.state_dict().values())


def test_fitting_twice_forgets_the_first_fit():
    twice = scorer().fit([pyramid(0)]).fit([pyramid(1)])
    torch.testing.assert_close(twice.state_dict(), scorer().fit([pyramid(1)]).state_dict())


def test_stages_meet_on_the_grid_of_the_level():
    torch.manual_seed(0)
    stages = [torch.randn(2, 2, 12, 16), torch.randn(2, 1, 6, 8), torch.randn(2, 2, 3, 4)]
    target = torch.randint(0, K, (2, 24, 32))
    fitted = scorer(level=1).fit([(output_of(*stages), target)])
    on_grid = output_of(torch.cat([resize(s, (6, 8)) for s in stages], 1))
    centres = target[:, 2::4, 2::4]  # cells of 4x4 pixels; of the four about the centre, the one nearest-exact takes
    same = scorer(level=0).fit([(on_grid, centres)])
    torch.testing.assert_close(fitted(output_of(*stages)), same(on_grid))
    assert fitted(output_of(*stages)).shape == (2, 6, 8)


def test_a_channel_that_never_varies_does_no_harm():
    seen = [pyramid(s) for s in range(3)]
    dead = [(output_of(*o.features, torch.full_like(o.features[0][:, :1], 2.0)), t) for o, t in seen]
    score = scorer(channels=C + 1).fit(dead)(dead[0][0])
    torch.testing.assert_close(score, scorer().fit(seen)(seen[0][0]), rtol=1e-2, atol=1e-2)


def test_bad_input_to_mahalanobis_is_named():
    output, target = pyramid(0)
    with pytest.raises(OwsegError, match="not fitted"):
        scorer()(output)
    with pytest.raises(OwsegError, match="no pixel is labelled"):
        scorer().fit([(output, torch.full_like(target, IGNORE))])
    with pytest.raises(OwsegError, match="no pixel is labelled"):
        scorer().fit([])
    with pytest.raises(OwsegError, match="made for 5 channels and the pyramid has 2"):
        scorer().fit([(output, target)])(output_of(output.features[0]))
    with pytest.raises(OwsegError, match="no stage 2; the pyramid has 2"):
        scorer(level=2).fit([(output, target)])
    with pytest.raises(OwsegError, match="must be \\(B, H, W\\) with B = 1"):
        scorer().fit([(output, target[0])])
    with pytest.raises(OwsegError, match="NaN or infinite"):
        scorer().fit([(output_of(*(s * float("nan") for s in output.features)), target)])
    with pytest.raises(OwsegError, match="shrinkage"):
        scorer(shrinkage=0.0)

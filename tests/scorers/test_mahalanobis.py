"""The relative Mahalanobis score."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import empirical_covariance

from owseg.errors import OwsegError
from owseg.labels import IGNORE
from owseg.models.ops import resize
from owseg.scorers import mahalanobis as module
from owseg.scorers.mahalanobis import RelativeMahalanobis, product
from owseg.types import Output
from tests.reference import scorers as oracle
from tests.support.outputs import CHANNELS, K, labelled

SHRINKAGE = 0.01


def output_of(*stages):
    return Output(tuple(stages), torch.zeros(1), torch.zeros(1))


def scorer(**options):
    return RelativeMahalanobis(
        **{"channels": CHANNELS, "num_classes": K, "level": 0, "shrinkage": SHRINKAGE, **options}
    )


def flat(output):
    return torch.cat(output.features, 1).movedim(1, -1).flatten(0, 2).numpy().astype(np.float64)


def shrunk(s, variances):
    """Shrinking the standardised covariance towards I is shrinking the covariance towards the variances."""
    return (1 - SHRINKAGE) * s + SHRINKAGE * np.diag(variances)


@pytest.mark.parametrize("relative", [True, False])
def test_mahalanobis_agrees_with_scipy(relative):
    train = [labelled(s) for s in range(4)]
    fitted = scorer(relative=relative).fit(train)
    x = np.concatenate([flat(o) for o, _ in train])
    y = np.concatenate([t.numpy().ravel() for _, t in train])
    means, within, centre, total = oracle.covariances(x, y, K)
    np.testing.assert_allclose(total, empirical_covariance(x[y < K]), rtol=1e-9)  # the oracle itself
    inverse, inverse_total = (np.linalg.inv(shrunk(s, np.diag(total))) for s in (within, total))
    new = labelled(99, images=2)[0]
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
    train = [labelled(s) for s in range(4)]
    fitted = scorer().fit(train)
    far = output_of(train[0][0].features[0] + 50, train[0][0].features[1])
    assert fitted(far).min() > fitted(train[0][0]).quantile(0.9)


def test_fit_is_accurate_far_from_the_origin():
    train = [labelled(s) for s in range(3)]
    moved = [(output_of(*(s + 1000.0 for s in o.features)), t) for o, t in train]
    new = labelled(7)[0]
    there = output_of(*(s + 1000.0 for s in new.features))
    torch.testing.assert_close(scorer().fit(moved)(there), scorer().fit(train)(new), rtol=2e-2, atol=2e-2)


def test_score_does_not_depend_on_the_scale_of_a_stage():
    def stretched(o):
        return output_of(o.features[0], o.features[1] * 50)

    train, new = [labelled(s) for s in range(4)], labelled(9)[0]
    a = scorer().fit(train)(new)
    b = scorer().fit([(stretched(o), t) for o, t in train])(stretched(new))
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


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
    train = [labelled(s) for s in range(3)]
    dead = [(output_of(*o.features, torch.full_like(o.features[0][:, :1], 2.0)), t) for o, t in train]
    score = scorer(channels=CHANNELS + 1).fit(dead)(dead[0][0])
    torch.testing.assert_close(score, scorer().fit(train)(train[0][0]), rtol=1e-2, atol=1e-2)


def test_bad_input_is_named():
    output, target = labelled(0)
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
    with pytest.raises(OwsegError, match="must be \\(B, H, W\\) with B = 2"):
        scorer().fit([(output, target[0])])
    with pytest.raises(OwsegError, match="NaN or infinite"):
        scorer().fit([(output_of(*(s * float("nan") for s in output.features)), target)])
    with pytest.raises(OwsegError, match="shrinkage"):
        scorer(shrinkage=0.0)


def test_whitened_features_have_the_mahalanobis_distances_as_squared_euclidean_ones():
    train, output = [labelled(s) for s in range(4)], labelled(9)[0]
    fitted = scorer().fit(train)
    z = fitted.whitened(output)
    assert z.shape == (2, CHANNELS, 6, 8)
    to_means = (z[:, None] - fitted.means[:3].view(1, 3, CHANNELS, 1, 1)).square().sum(2)
    torch.testing.assert_close(to_means.amin(1), fitted.distances(output)[0], rtol=1e-3, atol=1e-3)


def test_a_linear_function_of_whitened_features_is_one_of_the_pyramid():
    fitted, output = scorer().fit([labelled(s) for s in range(4)]), labelled(9)[0]
    weight, bias = torch.randn(CHANNELS, generator=torch.Generator().manual_seed(0)), 0.7
    raw, raw_bias = fitted.unwhitened(weight, bias)
    x, z = torch.cat(output.features, 1).double(), fitted.whitened(output).double()
    there, here = (torch.einsum("bchw,c->bhw", maps, w.double()) for maps, w in ((z, weight), (x, raw)))
    torch.testing.assert_close(here + raw_bias, there + bias, rtol=1e-4, atol=1e-4)


def test_not_relative_leaves_the_common_distance_out():
    train, output = [labelled(s) for s in range(4)], labelled(9)[0]
    nearest, overall = scorer().fit(train).distances(output)
    assert torch.equal(scorer(relative=False).fit(train)(output), nearest)
    assert torch.equal(scorer().fit(train)(output), nearest - overall)
    assert torch.equal(scorer().fit(train).parts()["mahalanobis_absolute"](output), nearest)
    assert scorer(relative=False).fit(train).parts() == {}


def test_a_state_of_0_1_0_keeps_what_it_holds():
    """Its second whitening is not used, but counts in the fingerprint of the knowledge base."""
    fitted, output = scorer().fit([labelled(s) for s in range(3)]), labelled(9)[0]
    old = {**fitted.state_dict(), "whiten_total": torch.rand(CHANNELS, CHANNELS)}
    again = scorer()
    again.load_state_dict(old)
    assert torch.equal(again.state_dict()["whiten_total"], old["whiten_total"])
    assert torch.equal(again(output), fitted(output)) and "whiten_total" not in fitted.state_dict()


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e5])
def test_a_product_of_16_bits_is_right_to_three_digits_at_any_scale_of_the_features(scale):
    """Scales of single channels, too; what is far too large stays finite."""
    g = torch.Generator().manual_seed(0)
    scales = scale * torch.logspace(-3, 3, 64)
    x, rows = torch.randn(200, 64, generator=g) * scales, torch.randn(64, 64, generator=g).tril() / scales
    expected = x.double() @ rows.double().T
    found = product(x, rows, half=True)
    assert found.dtype == torch.float32
    error = (found.double() - expected).norm(dim=1) / expected.norm(dim=1)
    assert 1e-5 < error.max() < 2e-3  # so it is of 16 bits
    torch.testing.assert_close(product(x, rows).double(), expected, rtol=1e-4, atol=1e-4)
    assert product(x * 1e6, rows, half=True).isfinite().all()
    rows[:, 3] = 0  # a channel that counts for nothing
    torch.testing.assert_close(product(x, rows, half=True), (x @ rows.T), rtol=0.05, atol=0.05)


def test_on_a_gpu_the_product_is_of_16_bits(monkeypatch):
    """Features that only say that they are there."""
    halves = []
    fitted, output = scorer().fit([labelled(0)]), labelled(1)[0]
    expected = [*fitted.distances(output), fitted.whitened(output)]
    x, shape = fitted._centred(output)
    monkeypatch.setattr(module, "product", lambda x, rows, half: halves.append(half) or product(x.real, rows, half))
    monkeypatch.setattr(fitted, "_centred", lambda output: (SimpleNamespace(is_cuda=True, real=x), shape))
    found = [*fitted.distances(output), fitted.whitened(output)]
    assert halves == [True, True]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-2 * float(other.abs().max()))
    monkeypatch.setattr(fitted, "_centred", lambda output: (SimpleNamespace(is_cuda=False, real=x), shape))
    assert torch.equal(fitted.distances(output)[0], expected[0]) and halves == [True, True, False]


def test_weights_are_told_back_on_the_device_of_the_scorer():
    """Those of a probe, which scikit-learn fits, come from the CPU."""
    weight, bias = scorer().fit([labelled(0)]).to("meta").unwhitened(torch.zeros(CHANNELS), 0.5)
    assert weight.is_meta and bias.is_meta

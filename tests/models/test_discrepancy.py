import numpy as np
import pytest
import torch

from owseg.models.discrepancy import DiscrepancyNetwork, stages_of
from tests.reference import resynthesis as oracle

CHANNELS = (3, 5, 4)


def network(**options):
    torch.manual_seed(0)
    return DiscrepancyNetwork(CHANNELS, 4, **{"widths": (6, 7, 8), "label_widths": (2, 3, 5), **options}).eval()


def features(seed, size=(8, 12)):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(2, c, size[0] >> i, size[1] >> i, generator=g) for i, c in enumerate(CHANNELS)]


def labels(size=(8, 12)):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 4, (2, *size)))


def test_with_vgg16_it_has_the_published_size():
    """6.16 million weights learn (Lis et al., ICCV 2019)."""
    with torch.device("meta"):
        made = DiscrepancyNetwork((64, 128, 256, 512), 19, (64, 128, 256, 256), (32, 64, 128, 256))
    assert sum(p.numel() for p in made.parameters()) == pytest.approx(6.16e6, abs=5e3)


@pytest.mark.parametrize("drawn", [True, False])
def test_the_logits_are_their_equations(drawn):
    made, other = network(drawn=drawn), features(1) if drawn else None
    found = made(features(0), other, labels())
    expected = oracle.discrepancy(made.state_dict(), features(0), other, oracle.one_hot(labels().numpy(), 4))
    assert found.shape == (2, 2, 8, 12)
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), atol=1e-4)
    if drawn:
        assert not torch.allclose(found, made(features(0), features(2), labels()))


def test_labels_of_an_image_are_averaged_to_the_grid_of_the_finest_stage():
    made = network(drawn=False)
    large = labels().repeat_interleave(4, 1).repeat_interleave(4, 2)
    torch.testing.assert_close(made(features(0), None, large), made(features(0), None, labels()))


def test_stages_need_not_be_exact_halves():
    """A stage of 5 x 7 cells follows one of 9 x 13."""
    g = torch.Generator().manual_seed(0)
    odd = [torch.randn(1, c, h, w, generator=g) for c, (h, w) in zip(CHANNELS, ((9, 13), (5, 7), (3, 4)), strict=True)]
    assert network()(odd, odd, labels((36, 52))[:1]).shape == (1, 2, 9, 13)


def test_the_last_stage_of_each_stride_is_taken():
    assert stages_of((4, 8, 16, 16, 32, 32), 3) == (0, 1, 3)
    assert stages_of((4, 8, 16, 16, 32, 32), 4) == (0, 1, 3, 5)
    assert stages_of((2, 4, 4), 5) == (0, 1, 2)
    # Of a dilated network, whose stages share strides.
    assert stages_of((4, 8, 8, 8), 3) == (0, 2, 3) and stages_of((4, 8, 8, 8), 4) == (0, 1, 2, 3)
    assert stages_of((4, 8, 8, 8), 2) == (0, 3) and stages_of((4, 8, 16, 16), 3) == (0, 1, 3)


def test_the_config_builds_it_again():
    made = network()
    again = DiscrepancyNetwork(**made.config)
    again.load_state_dict(made.state_dict())
    assert torch.equal(again(features(0), features(1), labels()), made(features(0), features(1), labels()))

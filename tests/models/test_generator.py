import numpy as np
import pytest
import torch
import torch.nn.functional as F

from owseg.errors import OwsegError
from owseg.models.generator import Generator, label_planes
from owseg.models.ops import resize
from tests.reference import resynthesis as oracle


def generator(**options):
    torch.manual_seed(0)
    return Generator(**{"classes": 4, "width": 4, "depth": 2, "blocks": 2, "side": 16, **options}).eval()


def labels(size=(16, 24), classes=4, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, classes, (2, *size)))


@pytest.mark.parametrize("options,millions", [((35, 64, 4, 9), 182.5), ((19, 16, 3, 6), 2.0), ((19, 16, 4, 9), 11.4)])
def test_it_has_the_published_size(options, millions):
    with torch.device("meta"):
        made = Generator(*options)
    assert sum(p.numel() for p in made.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize("depth,blocks", [(2, 2), (1, 0), (3, 1)])
def test_a_drawing_is_its_equation(depth, blocks):
    made = generator(depth=depth, blocks=blocks)
    planes = label_planes(labels(), 4)
    found = made(planes)
    expected = oracle.generator(made.state_dict(), planes, depth, blocks)
    assert found.shape == (2, 3, 16, 24) and 0 <= found.min() < found.max() <= 1
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), atol=1e-4)


def test_planes_are_one_hot_and_empty_where_there_is_no_class():
    ids = labels()
    ids[0, :3], ids[1, 5] = 255, 254
    found = label_planes(ids, 4)
    assert torch.equal(found.double(), oracle.one_hot(ids.numpy(), 4)) and found[0, :, :3].sum() == 0


def test_an_image_is_drawn_at_the_side_of_the_training():
    made = generator()
    assert made.grid((480, 640)) == (16, 20) and made.grid((640, 480)) == (20, 16) and made.grid((50, 90)) == (16, 28)
    drawn = made.draw(labels(), (33, 47))
    assert drawn.shape == (2, 3, 33, 47)
    assert torch.equal(drawn, resize(made(label_planes(labels(), 4)), (33, 47)))


def test_what_is_redrawn_is_the_closed_map_on_its_own_grid():
    made, logits = generator(), torch.randn(1, 4, 9, 13)
    grid = made.grid((36, 52))
    at = F.interpolate(logits, size=grid, mode="bilinear").argmax(1)
    assert torch.equal(made.redraw(logits, (36, 52)), made.draw(at, (36, 52)))
    assert torch.equal(made.redraw(logits.half(), (36, 52)), made.redraw(logits.half().float(), (36, 52)))


def test_a_side_that_cannot_be_halved_so_often_is_refused():
    with pytest.raises(OwsegError, match="halves 3 times draws 16 pixels or more, not 15"):
        Generator(4, depth=3, side=15)

"""Tiles cover the image, coincide with the cells of every stage, and are averaged where they overlap."""

import itertools

import numpy as np
import pytest
import torch

from owseg.errors import OwsegError
from owseg.models.engine import Engine
from owseg.models.residual_pattern import residual_of
from owseg.models.tiles import ALIGN, spans, tiled, windowed
from owseg.types import Output
from tests.reference import protocols as reference
from tests.support import tiny


@pytest.mark.parametrize("side", [32, 63, 64, 96, 100, 256, 540])
@pytest.mark.parametrize("length", [1, 63, 64, 65, 97, 128, 540, 541, 1000, 2160])
def test_spans_cover_the_length_and_overlap(length, side):
    found = spans(length, side)
    assert found[0][0] == 0 and found[-1][1] == length
    assert all(0 < end - start <= max(side, 64) for start, end in found)
    if length <= max(side, 64):
        assert found == [(0, length)]
        return
    assert all(start % ALIGN == 0 for start, _ in found)
    for (start, end), (following, last) in itertools.pairwise(found):
        assert start < following < end < last


def of_cells(image):
    """What has no surroundings: means over cells of 4, 8 and 32 pixels, those at the edges of what is there."""

    def means(stride, x):
        return torch.nn.functional.avg_pool2d(x, stride, ceil_mode=True, count_include_pad=False)

    embedding = means(4, image)
    features = (embedding, means(8, image), means(32, 2 * image))
    return Output(features, embedding, -embedding, None, embedding + 1, embedding[:, 0])


@pytest.mark.parametrize("shape", [(64, 64), (65, 130), (200, 333), (97, 64), (500, 70)])
def test_a_function_of_each_cell_is_the_same_in_tiles(shape):
    image = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(0))
    calls = []

    def run(part):
        calls.append(tuple(part.shape[-2:]))
        return of_cells(part)

    found, whole = tiled(run, image, 96), of_cells(image)
    for a, b in zip(found.features, whole.features, strict=True):
        torch.testing.assert_close(a, b)
    for name in ("embedding", "logits", "evidence", "negative"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name))
    assert found.residual is None and max(max(size) for size in calls) <= 96
    assert len(calls) == len(spans(shape[0], 96)) * len(spans(shape[1], 96))


def test_where_tiles_overlap_the_nearer_centre_weighs_more():
    """Two tiles of 64 pixels, of 16 cells each, that overlap by 8: every cell by hand."""
    numbers = iter([1.0, 3.0])

    def run(part):
        value = part.new_full((1, 1, part.shape[-2] // 4, part.shape[-1] // 4), next(numbers))
        return Output((value,), value, value)

    assert spans(96, 64) == [(0, 64), (32, 96)]
    row = tiled(run, torch.zeros(1, 3, 64, 96), 64).logits[0, 0, 5]
    expected = []
    for cell in range(24):
        weights = [1 + min(c, 15 - c) if 0 <= (c := cell - start) < 16 else 0 for start in (0, 8)]
        expected.append((weights[0] * 1 + weights[1] * 3) / sum(weights))
    np.testing.assert_allclose(row, expected, rtol=1e-6)


def test_a_stride_that_is_no_power_of_2_is_refused():
    def run(part):
        value = part[:, :, ::3, ::3]
        return Output((value,), value, value)

    with pytest.raises(OwsegError, match="cannot be run in tiles"):
        tiled(run, torch.zeros(1, 3, 64, 96), 64)


def test_an_engine_runs_tiles_at_the_size_of_the_image():
    network, image = tiny.network(size=64), tiny.image(size=(160, 96))
    batch = torch.from_numpy(image).float().div(255)[None].contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = tiled(network, batch, 64)
    output = Engine(network, tile=True)(image)
    torch.testing.assert_close(output.logits, expected.logits)
    assert output.logits.shape[-2:] == (40, 24) and Engine(network)(image).logits.shape[-2:] == (24, 16)
    # With a size it is that of the image; what fits into one tile is run as it is.
    torch.testing.assert_close(
        Engine(network, size=32, tile=True)(image).logits, Engine(network, size=32)(image).logits
    )
    double = Engine(network, size=192, tile=True)(image).logits
    assert double.shape[-2:] == (80, 48)
    several = Engine(network, multi_scale=True, tile=True)(image).logits
    with torch.no_grad():
        torch.testing.assert_close(several, tiled(network.multi_scale, batch, 64).logits)
    assert Engine(tiny.network(), tile=True)(image).logits.shape[-2:] == (40, 24)


@pytest.mark.parametrize("side", [64, 96, 256, 1024])
@pytest.mark.parametrize("length", [1, 64, 96, 97, 128, 540, 1000, 1024, 2048])
def test_windows_begin_where_they_do_in_the_release_at_the_next_cell(length, side):
    """The release takes starts at any pixel: here they are rounded up to whole cells, and none is there twice."""
    step = -(-side // 3)
    found = spans(length, side, step)
    expected = sorted({-(-start // ALIGN) * ALIGN for start, _ in reference.windows(length, side, step)})
    assert [start for start, _ in found] == expected
    assert found[-1][1] == length and all(end - start <= side for start, end in found)


def test_the_windows_of_the_release_on_cityscapes():
    assert reference.windows(2048, 1024, 342) == [(0, 1024), (342, 1366), (684, 1708), (1024, 2048)]
    assert spans(2048, 1024, 342) == [(0, 1024), (352, 1376), (704, 1728), (1024, 2048)]
    assert spans(1024, 1024, 342) == [(0, 1024)]


def test_windows_count_equally_and_so_does_the_mirror_image():
    """Against sums over windows, cell by cell, of what depends on the window, the cell and the mirroring."""
    height, width, side, step = 96, 160, 64, 22
    image = torch.arange(height * width, dtype=torch.float32).reshape(1, 1, height, width).repeat(1, 3, 1, 1) / 1e3

    def run(part):
        value = part[:, :1, ::4, ::4] + torch.arange(part.shape[-1] // 4) ** 2  # not the same mirrored
        return Output((value[:, :, ::2, ::2],), value, 2 * value)

    found = windowed(run, image, side)
    total, count = np.zeros((height // 4, width // 4)), np.zeros((height // 4, width // 4))
    for top, bottom in spans(height, side, step):
        for left, right in spans(width, side, step):
            for flipped in (False, True):
                part = image[0, 0, top:bottom, left:right].numpy().astype(float)
                part = part[:, ::-1] if flipped else part
                cells = part[::4, ::4] + np.arange(part.shape[1] // 4) ** 2
                cells = cells[:, ::-1] if flipped else cells
                for y in range(cells.shape[0]):
                    for x in range(cells.shape[1]):
                        total[top // 4 + y, left // 4 + x] += cells[y, x]
                        count[top // 4 + y, left // 4 + x] += 1
    assert count.max() == 4 * count.min() > 0
    np.testing.assert_allclose(found.embedding[0, 0], total / count, rtol=1e-5)
    np.testing.assert_allclose(found.logits[0, 0], 2 * total / count, rtol=1e-5)
    assert found.features[0].shape[-2:] == (12, 20)


def test_an_engine_runs_windows_at_the_size_of_the_image():
    network, image = tiny.network(size=64), tiny.image(size=(160, 96))
    batch = torch.from_numpy(image).float().div(255)[None].contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        expected, straight = windowed(network, batch, 64), network(batch).logits
        back = network(batch.flip(-1)).logits.flip(-1)
    torch.testing.assert_close(Engine(network, window=64)(image).logits, expected.logits)
    assert not torch.allclose(expected.logits, straight, atol=1e-2)
    # What fits into one window is the mean of the image and its mirror image; a size is that of the image.
    torch.testing.assert_close(Engine(network, window=192)(image).logits, (straight + back) / 2)
    assert Engine(network, size=192, window=64)(image).logits.shape[-2:] == (80, 48)


def test_windows_of_a_network_with_a_residual_have_its_logits_averaged_likewise():
    """Over windows and their mirror images, one by one; all else is as without it."""
    network, image = tiny.network(classifier="linear"), tiny.image(size=(96, 160))
    torch.manual_seed(1)
    residual = residual_of(network).eval()
    with torch.no_grad():
        residual.final.weight.normal_(std=0.5)
    batch = torch.from_numpy(image).float().div(255)[None]
    found, plain = Engine(network, residual, window=64)(image), Engine(network, window=64)(image)
    total, count = torch.zeros_like(found.residual), torch.zeros(found.residual.shape[-2:])
    stride = 96 // count.shape[0]
    for top, bottom in spans(96, 64, 22):
        for left, right in spans(160, 64, 22):
            part = batch[..., top:bottom, left:right]
            cells = np.s_[..., top // stride : bottom // stride, left // stride : right // stride]
            with torch.no_grad():
                total[cells] += network(part, residual).residual
                total[cells] += network(part.flip(-1), residual).residual.flip(-1)
            count[cells] += 2
    torch.testing.assert_close(found.residual, total / count, rtol=1e-4, atol=1e-4)
    assert torch.equal(found.logits, plain.logits) and plain.residual is None
    assert not torch.allclose(found.residual, found.logits, atol=0.1)

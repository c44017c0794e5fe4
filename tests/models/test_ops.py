"""Operations and layers that several networks use."""

import pytest
import torch
import torch.nn.functional as F

from owseg.models import ops
from owseg.models.ops import (
    closed_map_at,
    conv_bn,
    depthwise,
    resize,
    resize_image,
    resize_labels,
    widened_conv,
    working_size,
)
from owseg.openset import closed_map


def test_resize_is_bilinear_and_nothing_at_the_same_size():
    maps = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    assert resize(maps, (5, 7)) is maps
    expected = F.interpolate(maps, size=(9, 4), mode="bilinear", align_corners=False)
    assert torch.equal(resize(maps, (9, 4)), expected)
    ramp = torch.arange(4.0).view(1, 1, 1, 4)
    assert resize(ramp, (1, 8))[0, 0, 0].tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("at_once", [1, 7 * 2 * 30 * 20, 10**9])
def test_the_closed_map_at_a_size_takes_a_few_classes_at_a_time(at_once, memory_format, monkeypatch):
    logits = torch.randn(2, 19, 5, 6, generator=torch.Generator().manual_seed(0)).round()  # with ties
    logits = logits.contiguous(memory_format=memory_format)
    expected = closed_map(resize(logits, (30, 20)))
    taken = []
    monkeypatch.setattr(ops, "AT_ONCE", at_once)
    monkeypatch.setattr(ops, "resize", lambda maps, size: taken.append(maps.shape[1]) or resize(maps, size))
    assert torch.equal(closed_map_at(logits, (30, 20)), expected)
    assert sum(taken) == 19 and max(taken) == {1: 1, 10**9: 19}.get(at_once, 7)


@pytest.mark.parametrize("make", [lambda: conv_bn(4, 6), lambda: conv_bn(4, 6, 3, 2), lambda: depthwise(4, 1)])
def test_a_norm_is_folded_into_its_convolution_where_nothing_learns(make, monkeypatch):
    torch.manual_seed(0)
    layer, x = make(), torch.randn(3, 4, 9, 8)
    norm = layer[1]
    for _ in range(5):
        layer(2 * x + 1)  # statistics that are not 0 and 1
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.normal_()
    plain = torch.nn.Sequential(*layer)
    layer.eval()
    assert torch.equal(layer(x), plain(x)) and layer(x).requires_grad  # with gradients as it is written
    with torch.no_grad():
        torch.testing.assert_close(layer(x), plain(x), rtol=1e-5, atol=1e-6)
        asked = []
        monkeypatch.setattr(norm, "forward", lambda y: asked.append(1) or y)
        layer(x)
        assert not asked
        layer.train()
        layer(x)
        assert asked  # in training it takes the batch's statistics
    synchronised = torch.nn.SyncBatchNorm.convert_sync_batchnorm(make()).eval()
    with torch.no_grad():
        assert torch.equal(synchronised(x), torch.nn.Sequential(*synchronised)(x))


def test_a_wider_convolution_has_the_old_outputs_and_zeros():
    conv, x = torch.nn.Conv2d(4, 3, 1), torch.randn(1, 4, 2, 2)
    wider = widened_conv(conv, 5)
    with torch.no_grad():
        torch.testing.assert_close(wider(x)[:, :3], conv(x))
        assert (wider(x)[:, 3:] == 0).all() and wider.weight.requires_grad
        wider.weight.add_(1)
    assert not torch.equal(wider.weight[:3], conv.weight)


@pytest.mark.parametrize("kernel", [1, 3])
def test_conv_bn_keeps_the_size(kernel):
    layers = conv_bn(4, 6, kernel)
    assert layers(torch.randn(2, 4, 8, 9)).shape == (2, 6, 8, 9)
    assert layers[0].bias is None and [type(m) for m in layers] == [
        torch.nn.Conv2d,
        torch.nn.BatchNorm2d,
        torch.nn.ReLU,
    ]


@pytest.mark.parametrize("rate", [1, 3])
def test_a_depthwise_convolution_keeps_the_size_and_the_channels_apart(rate):
    layers = depthwise(4, rate)
    x = torch.randn(2, 4, 8, 9, requires_grad=True)
    assert layers(x).shape == x.shape
    layers[0](x)[:, 1].sum().backward()
    assert x.grad[:, 1].any() and not x.grad[:, [0, 2, 3]].any()
    assert layers[0].dilation == (rate, rate)


@pytest.mark.parametrize(("size", "shorter", "scale", "expected"), [
    ((360, 480), None, 1.0, (360, 480)), ((720, 1280), 540, 1.0, (540, 960)), ((1280, 720), 540, 0.5, (480, 270)),
    ((6000, 4000), 360, 1.0, (540, 360)), ((1, 9000), 4, 0.1, (1, 3600)), ((100, 100), None, 0.7, (70, 70)),
])  # fmt: skip
def test_the_working_size_is_that_of_the_shorter_side(size, shorter, scale, expected):
    assert working_size(size, shorter, scale) == expected


def test_images_are_resized_without_aliasing():
    stripes = torch.zeros(1, 3, 32, 32)
    stripes[..., ::2] = 1
    assert (resize_image(stripes, (8, 8))[..., 1:-1] - 0.5).abs().max() < 0.1
    assert resize_image(stripes, (32, 32)) is stripes
    larger = resize_image(stripes, (64, 64))
    torch.testing.assert_close(larger, F.interpolate(stripes, size=(64, 64), mode="bilinear"))


def test_labels_are_resized_by_the_nearest_pixel():
    ids = torch.arange(24, dtype=torch.uint8).reshape(1, 4, 6)
    assert torch.equal(resize_labels(ids, (2, 3)), ids[:, 1::2, 1::2].long())
    assert torch.equal(resize_labels(ids, (4, 6)), ids.long())
    assert resize_labels(torch.full((1, 4, 4), 255), (9, 9)).unique().tolist() == [255]

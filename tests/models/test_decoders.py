"""Every decoder of the registry: shapes, configuration, growth; the forward pass of the two that are written here."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from owseg.errors import OwsegError
from owseg.models.assemble import assemble, build_network, make_decoder
from owseg.models.backbones.configs import config_of
from owseg.models.decoders import DECODERS
from owseg.models.decoders.aspp import ASPPDecoder
from owseg.models.decoders.mean import MeanDecoder
from owseg.models.decoders.psp import PSPDecoder
from owseg.models.decoders.pyramid import PyramidDecoder
from tests.support import tiny
from tests.support.mask_models import mask2former
from tests.support.registries import assert_cards_are_what_their_text_says

CHANNELS, STRIDES = (6, 8, 12, 16), (2, 4, 8, 16)
SEGFORMER = SegformerConfig(**tiny.CONFIGS["segformer"], decoder_hidden_size=24, num_labels=5)


def pyramid(size=(64, 96), channels=CHANNELS, strides=STRIDES):
    g = torch.Generator().manual_seed(0)
    return [torch.randn(2, c, size[0] // s, size[1] // s, generator=g) for c, s in zip(channels, strides, strict=True)]


def of_segformer():
    model = SegformerForSemanticSegmentation(SEGFORMER)
    return {"config": config_of(model.config)}, 24, (8, 16, 24, 32), (4, 8, 16, 32)


def of_mask2former():
    """Of four classes the evidence has a channel more, and one for a negative class."""
    options = {"config": config_of(mask2former().config), "with_negative": True}
    return options, 6, (8, 16, 32, 64), (4, 8, 16, 32)


# Options, channels of the embedding, channels and strides of the pyramid, stride of the embedding.
ROWS = {
    "aspp": ({"width": 16}, 5, CHANNELS, STRIDES, 4),
    "psp": ({"width": 16}, 5, CHANNELS, STRIDES, 16),
    "pyramid": ({"width": 16, "fine": 8}, 5, CHANNELS, STRIDES, 4),
    "mean": ({"of": {"kind": "pyramid", "width": 16, "fine": 8}, "count": 3}, 5, CHANNELS, STRIDES, 4),
    "espnetv2": ({}, 10, (8, 16, 32, 64), STRIDES, 2),
    "dabnet": ({}, 5, (35, 131, 259), (2, 4, 8), 4),
    "fddwnet": ({}, 5, (16, 64, 128, 128), (2, 4, 8, 8), 1),
    "pspnet": ({"width": 8}, 5, CHANNELS, (4, 8, 8, 8), 8),
    "deeplabv3plus": ({"width": 8, "low": 4}, 5, CHANNELS, (4, 8, 16, 16), 4),
    "deeplabv3plus_wide": ({"width": 8, "low": 4}, 5, CHANNELS, (2, 4, 8, 8), 1),
    "transformers": (*of_segformer(), 4),
    "masks": (*of_mask2former(), 4),
}  # fmt: skip
GROW = ("aspp", "psp", "pyramid", "pspnet", "deeplabv3plus")


def made(name):
    torch.manual_seed(0)
    options, out, channels, strides, _ = ROWS[name]
    return DECODERS[name].make(channels, strides, out, **options).eval()


def test_cards_are_what_their_text_says():
    assert_cards_are_what_their_text_says(DECODERS)


def test_every_decoder_has_a_row():
    assert set(ROWS) == set(DECODERS)


@pytest.mark.parametrize("name", ROWS)
def test_a_decoder_makes_an_embedding_of_its_width_at_its_stride(name):
    _, out, channels, strides, stride = ROWS[name]
    with torch.no_grad():
        embedding = made(name)(pyramid((64, 96), channels, strides))
    assert embedding.shape == (2, out, 64 // stride, 96 // stride) and torch.isfinite(embedding).all()


@pytest.mark.parametrize("name", ROWS)
def test_a_decoder_is_its_configuration_and_its_weights(name):
    first, (_, out, channels, strides, _) = made(name), ROWS[name]
    config = json.loads(json.dumps(first.config))
    assert config["kind"] == first.kind == name
    backbone = type("Backbone", (), {"channels": channels, "strides": strides})
    second = make_decoder(backbone=backbone, out=out, **config).eval()
    second.load_state_dict(first.state_dict())
    maps = pyramid((64, 96), channels, strides)
    with torch.no_grad():
        assert torch.equal(first(maps), second(maps))


@pytest.mark.parametrize("name", GROW)
def test_a_wider_decoder_has_the_old_channels_and_zeros(name):
    decoder, maps = made(name), pyramid((64, 96), *ROWS[name][2:4])
    before = copy.deepcopy(decoder.state_dict())
    wider = decoder.widened(7)
    with torch.no_grad():
        old, new = decoder(maps), wider(maps)
    torch.testing.assert_close(new[:, :5], old)
    assert (new[:, 5:] == 0).all() and new.shape[1] == 7
    assert all(torch.equal(v, before[n]) for n, v in decoder.state_dict().items())
    with torch.no_grad():
        for parameter in wider.parameters():
            parameter.zero_()
        assert torch.equal(decoder(maps), old)  # a copy: nothing is shared


@pytest.mark.parametrize("name", ("espnetv2", "dabnet", "fddwnet", "deeplabv3plus_wide", "transformers", "masks"))
def test_a_decoder_that_cannot_grow_says_so(name):
    with pytest.raises(
        OwsegError, match=f"a {name} decoder cannot be given another output; learn with the method probe"
    ):
        made(name).widened(7)


def test_aspp_fuses_the_pooled_pyramid_with_finer_maps():
    decoder, maps = made("aspp"), pyramid()
    deep = maps[-1]
    with torch.no_grad():
        branches = [branch(deep) for branch in decoder.branches]
        pooled = F.relu(F.conv2d(deep.mean((2, 3), keepdim=True), decoder.pool[1].weight, decoder.pool[1].bias))
        x = decoder.project(torch.cat([*branches, pooled.expand(-1, -1, 4, 6)], 1))
        for fine, lateral, fuse in zip((maps[2], maps[1]), decoder.lateral, decoder.fuse, strict=True):
            x = F.interpolate(x, size=fine.shape[-2:], mode="bilinear")
            x = fuse(torch.cat([x, lateral(fine)], 1))
        torch.testing.assert_close(decoder(maps), decoder.head(decoder.refine(x)))
    dilations = [branch[0][0].dilation for branch in list(decoder.branches)[1:]]
    assert dilations == [(3, 3), (6, 6), (12, 12)] and decoder.branches[1][0][0].groups == 16


@pytest.mark.parametrize(
    "strides,finest,expected",
    [
        ((2, 4, 8, 16), 4, [8, 4]),
        ((2, 4, 8, 16, 16), 4, [8, 4]),  # two stages at one stride: the coarsest map is the last
        ((4, 8, 8, 16, 32), 8, [16, 8]),
        ((14, 14, 14), 4, []),
    ],
)
def test_aspp_skips_the_last_map_of_each_finer_stride(strides, finest, expected):
    decoder = ASPPDecoder([4 + i for i in range(len(strides))], strides, 3, width=8, skip_stride=finest)
    assert [strides[i] for i in decoder.skips] == expected
    assert all(strides[i + 1] > strides[i] for i in decoder.skips)
    assert [lateral[0].in_channels for lateral in decoder.lateral] == [4 + i for i in decoder.skips]


def test_psp_joins_the_coarsest_map_with_its_means_over_bins():
    decoder, maps = made("psp"), pyramid((128, 192))
    deep = maps[-1]
    with torch.no_grad():
        means = []
        for bins, pool in zip((1, 2, 3, 6), decoder.pools, strict=True):
            small = F.relu(F.conv2d(F.adaptive_avg_pool2d(deep, bins), pool[1].weight, pool[1].bias))
            means.append(F.interpolate(small, size=deep.shape[-2:], mode="bilinear"))
        torch.testing.assert_close(decoder(maps), decoder.head(decoder.join(torch.cat([deep, *means], 1))))


def test_pyramid_sums_all_stages_at_stride_8_and_joins_stride_4():
    """In float64, each stage interpolated before it is projected and joined: the other order."""
    decoder, maps = made("pyramid").double(), [m.double() for m in pyramid()]
    for norm in decoder.scale:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    with torch.no_grad():
        scaled = [
            (m - n.running_mean.view(1, -1, 1, 1)) / (n.running_var + n.eps).sqrt().view(1, -1, 1, 1)
            for m, n in zip(maps, decoder.scale, strict=True)
        ]
        on_grid = [F.interpolate(m, size=(8, 12), mode="bilinear") for m in scaled]
        weight = torch.cat([p.weight for p in decoder.project], 1)
        x = decoder.sum(F.conv2d(torch.cat(on_grid, 1), weight))
        deep = scaled[-1].mean((2, 3), keepdim=True)
        pooled = F.relu(F.conv2d(deep, decoder.pool[1].weight, decoder.pool[1].bias)).expand(-1, -1, 8, 12)
        branches = [F.interpolate(branch(x), size=(8, 12), mode="bilinear") for branch in decoder.branches]
        x = decoder.join(torch.cat([x, *branches, pooled], 1))
        x = torch.cat([F.interpolate(x, size=(16, 24), mode="bilinear"), decoder.lateral(maps[1])], 1)
        torch.testing.assert_close(decoder(maps), decoder.head(decoder.refine(decoder.fuse(x))))


def test_mean_is_the_mean_of_its_members_each_with_weights_of_its_own():
    """Of three copies it is one of them; widened it is the mean of the wider ones."""
    decoder, maps = made("mean"), pyramid()
    with torch.no_grad():
        each = [member(maps) for member in decoder.decoders]
        torch.testing.assert_close(decoder(maps), (each[0] + each[1] + each[2]) / 3)
        assert torch.equal(decoder.embed(decoder.penultimate(maps)), decoder(maps))  # with a residual between them
        assert not torch.allclose(each[0], each[1]) and not torch.allclose(each[1], each[2])
        wider = decoder.widened(7)(maps)
        torch.testing.assert_close(wider[:, :5], decoder(maps))
        assert (wider[:, 5:] == 0).all() and wider.shape[1] == 7
        same = MeanDecoder([copy.deepcopy(decoder.decoders[0]) for _ in range(3)])
        torch.testing.assert_close(same(maps), each[0])
    assert decoder.title == "3 x pyramid" and decoder.decoders[0].title == "pyramid"
    with pytest.raises(OwsegError, match="needs one or more"):
        MeanDecoder([])


def test_an_assembled_network_of_several_members_decodes_their_mean():
    net = assemble(tiny.backbone("resnet"), 3, width=8, members=2).eval()
    assert net.config["decoder"] == {"kind": "mean", "of": {"kind": "pyramid", "width": 8, "fine": 4}, "count": 2}
    assert assemble(tiny.backbone("resnet"), 3, width=8).decoder.kind == "pyramid"
    again = build_network(json.loads(json.dumps(net.config))).eval()
    again.load_state_dict(net.state_dict())
    image = torch.from_numpy(tiny.image()).float()[None] / 255
    with torch.no_grad():
        features = net.encode(image)
        expected = torch.stack([member(features) for member in net.decoder.decoders]).mean(0)
        assert torch.equal(net(image).embedding, expected) and torch.equal(again(image).embedding, expected)
    with pytest.raises(OwsegError, match="members"):
        assemble(tiny.backbone("resnet"), 3, members=0)


@pytest.mark.parametrize("name", ["pspnet", "deeplabv3plus"])
def test_the_mean_over_one_image_is_not_normalised_in_training(name):
    decoder, maps = made(name).train(), pyramid((64, 96), *ROWS[name][2:4])
    assert torch.isfinite(decoder(maps)).all()
    with pytest.raises(OwsegError, match="give a batch of 2 or more"):
        decoder([m[:1] for m in maps])
    for norm in (m for m in decoder.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.eval()  # as where a head is trained on a few images
    assert torch.isfinite(decoder([m[:1] for m in maps])).all()


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_branch_filters_the_means_of_its_cells(factor):
    branch, x = PyramidDecoder(CHANNELS, STRIDES, 3, 8, factors=(factor,)).branches[0].eval(), torch.randn(1, 8, 8, 12)
    with torch.no_grad():
        means = x.unfold(2, factor, factor).unfold(3, factor, factor).mean((-1, -2))
        torch.testing.assert_close(branch(x), branch.filter(means))
        assert branch(torch.randn(1, 8, 7, 5)).shape == (1, 8, -(-7 // factor), -(-5 // factor))


@pytest.mark.parametrize(("strides", "grid", "finest"), [
    ((4, 8, 16, 16, 32, 32), 1, 0), ((2, 4, 8, 8, 16), 3, 1), ((4, 16, 32), 0, 0), ((14, 14, 14, 14), 0, 0),
])  # fmt: skip
def test_the_grid_of_pyramid_is_its_last_stage_at_stride_8_or_finer(strides, grid, finest):
    decoder = PyramidDecoder([4] * len(strides), strides, 3, width=8)
    assert (decoder.grid, decoder.finest) == (grid, finest)


@pytest.mark.parametrize(
    "decoder",
    [ASPPDecoder(CHANNELS, STRIDES, 3, 8), PSPDecoder(CHANNELS, 3, 8), PyramidDecoder(CHANNELS, STRIDES, 3, 8)],
)
def test_dropout_is_one_layer_of_a_tenth(decoder):
    assert [m.p for m in decoder.modules() if isinstance(m, torch.nn.Dropout2d)] == [0.1]


@pytest.mark.parametrize(
    ("name", "width"), [("aspp", 128), ("psp", 512), ("pyramid", 128), ("pspnet", 512), ("deeplabv3plus", 256)]
)
def test_the_width_is_an_option(name, width):
    assert DECODERS[name].make(CHANNELS, STRIDES, 3, width=24).config["width"] == 24
    assert DECODERS[name].make(CHANNELS, STRIDES, 3).config["width"] == width

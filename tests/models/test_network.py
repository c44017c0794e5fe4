import numpy as np
import pytest
import torch

from owseg.errors import OwsegError
from owseg.models.assemble import assemble, build_network
from owseg.models.backbones.base import from_pretrained
from owseg.models.network import Network, to_tensor
from owseg.models.residual_pattern import residual_of
from tests.support import tiny


@pytest.mark.parametrize("kind", tiny.CONFIGS)
def test_a_backbone_is_a_pyramid_and_can_be_built_again(kind):
    first = tiny.backbone(kind).eval()
    image = torch.rand(2, 3, 112, 140)
    maps = first(image)
    assert [m.shape[1] for m in maps] == list(first.channels)
    assert list(first.strides) == sorted(first.strides)
    for feature, stride in zip(maps, first.strides, strict=True):
        assert abs(feature.shape[-1] - 140 / stride) <= 1
    from owseg.models.backbones.base import build

    second = build(first.config).eval()
    second.load_state_dict(first.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(maps, second(image), strict=True))


@pytest.mark.parametrize("kind", tiny.CONFIGS)
@pytest.mark.parametrize("decoder", ["aspp", "psp"])
def test_forward_is_its_three_steps_one_after_the_other(kind, decoder):
    network = tiny.network(4, kind, decoder=decoder)
    image = torch.rand(1, 3, 112, 140)
    with torch.no_grad():
        output = network(image)
        embedding = network.decode(network.encode(image))
        logits = network.classify(embedding)
    assert torch.equal(output.embedding, embedding)
    assert torch.equal(output.logits, logits)
    assert output.logits.shape[:2] == (1, 4)
    assert output.embedding.shape[1] == 4


@pytest.mark.parametrize("options", [{}, {"classifier": "linear"}, {"decoder": "psp"}, {"scale": 5.0}])
def test_a_network_is_its_config_and_its_weights(options):
    first = tiny.network(5, **options)
    second = build_network(first.config).eval()
    second.load_state_dict(first.state_dict())
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(first(image).logits, second(image).logits)


def test_full_resolution_classifies_the_interpolated_embedding():
    network = tiny.network(3)
    with torch.no_grad():
        output = network(torch.rand(1, 3, 64, 96))
        full = network.full_resolution(output, (64, 96))
    assert full.logits.shape == (1, 3, 64, 96)
    expected = -((full.embedding[:, None] - 3 * torch.eye(3)[None, :, :, None, None]) ** 2).sum(2)
    assert torch.allclose(full.logits, expected, atol=1e-4)


def test_a_frozen_stem_learns_nothing_and_keeps_its_statistics():
    network = tiny.network(3, "mobilenet_v2")
    network.backbone.freeze_stem()
    network.train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
    network(torch.rand(2, 3, 64, 64)).logits.mean().backward()
    optimizer.step()
    changed = {k for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    stem = ("backbone.model.conv_stem", "backbone.model.layer.0.", "backbone.model.layer.1.")
    assert not any(k.startswith(stem) for k in changed)
    assert any(k.startswith("backbone.model.layer.2.") for k in changed)
    assert any(k.startswith("decoder") for k in changed)


def test_a_saved_backbone_loads_by_path(tmp_path):
    made = tiny.backbone("mobilenet_v2")
    made.model.save_pretrained(tmp_path / "net")
    loaded = from_pretrained(str(tmp_path / "net"))
    image = torch.rand(1, 3, 64, 64)
    for a, b in zip(made.eval()(image), loaded.eval()(image), strict=True):
        # the stored network was made for inputs in [-1, 1], as the tiny one is
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["./no/such/folder", "no-such-owner/no-such-net"])
def test_a_backbone_that_is_not_there(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OwsegError, match="cannot be loaded"):
        from_pretrained(name)


@pytest.mark.parametrize("name, said", [
    ("dinov2-smal", "did you mean facebook/dinov2-small?"), ("efficientnet-lit0", "did you mean efficientnet-lite0?"),
    ("wde-resnet38", "did you mean wide-resnet38:FILE?"), ("zzz", "one of facebook/convnext-tiny-224, "),
])  # fmt: skip
def test_a_bare_name_is_not_looked_up_on_the_hub(name, said, monkeypatch):
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", None)
    with pytest.raises(OwsegError, match="there is no backbone") as caught:
        from_pretrained(name)
    assert said in str(caught.value)


def test_a_folder_without_a_slash_in_its_name(tmp_path, monkeypatch):
    tiny.backbone("mobilenet_v2").model.save_pretrained(tmp_path / "net")
    monkeypatch.chdir(tmp_path)
    assert from_pretrained("net").kind == "mobilenet_v2"


@pytest.mark.parametrize("options", [{"decoder": "unet"}, {"classifier": "cosine"}])
def test_parts_that_do_not_exist(options):
    with pytest.raises(OwsegError, match="there is no"):
        assemble(tiny.backbone(), 3, **options)


@pytest.mark.parametrize("classifier", ["prototype", "linear"])
def test_several_scales_are_averaged(classifier):
    net = tiny.network(classifier=classifier)
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain, output = net(image), net.multi_scale(image, (1.0, 1.5))
        larger = torch.nn.functional.interpolate(image, size=(96, 144), mode="bilinear")
        views = [net(image).embedding, net(image.flip(-1)).embedding.flip(-1)]
        views += [net(larger).embedding, net(larger.flip(-1)).embedding.flip(-1)]
    grid = plain.embedding.shape[2:]
    views = [torch.nn.functional.interpolate(v, size=grid, mode="bilinear") for v in views]
    assert torch.allclose(output.embedding, sum(views) / 4, atol=1e-5)
    assert torch.allclose(output.logits, net.classify(sum(views) / 4), atol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(output.features, plain.features, strict=True))


@pytest.mark.parametrize("classifier", ["prototype", "linear"])
def test_a_network_of_several_scales_averages_pyramids_and_embeddings(classifier):
    """On the grids of the first scale; the steps, and so the training, take images as they are."""
    net = tiny.network(classifier=classifier, scales=(1.0, 0.5), negative=True)
    plain = build_network({k: v for k, v in net.config.items() if k != "scales"}).eval()
    plain.load_state_dict(net.state_dict())
    image = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(0))

    def mean(first, second):
        return (first + torch.nn.functional.interpolate(second, size=first.shape[-2:], mode="bilinear")) / 2

    with torch.no_grad():
        own, half = plain(image), plain(torch.nn.functional.interpolate(image, size=(48, 64), mode="bilinear"))
        output = net(image)
        for got, a, b in zip(output.features, own.features, half.features, strict=True):
            torch.testing.assert_close(got, mean(a, b))
        torch.testing.assert_close(output.embedding, mean(own.embedding, half.embedding))
        torch.testing.assert_close(output.logits, net.classify(output.embedding))
        torch.testing.assert_close(output.negative, mean(own.negative[:, None], half.negative[:, None])[:, 0])
        assert torch.equal(net.decode(net.encode(image)), own.embedding)
        several = net.multi_scale(image, (1.0,))
        assert all(torch.equal(a, b) for a, b in zip(several.features, output.features, strict=True))
        torch.testing.assert_close(several.embedding, plain.multi_scale(image, (1.0,)).embedding)
        pattern = residual_of(net, width=8).eval()
        torch.nn.init.normal_(pattern.final.weight)
        views = [
            plain(x, pattern) for x in (image, torch.nn.functional.interpolate(image, size=(48, 64), mode="bilinear"))
        ]
        torch.testing.assert_close(net(image, pattern).residual, mean(*(view.residual for view in views)))
        mirrored = plain(image.flip(-1), pattern).residual.flip(-1)
        both = plain.multi_scale(image, (1.0,), pattern)
        torch.testing.assert_close(both.residual, (views[0].residual + mirrored) / 2)
        assert not torch.allclose(views[0].residual, views[0].evidence, atol=1e-2)
        full = net.full_resolution(both, (96, 128))
        expected = torch.nn.functional.interpolate(both.residual, size=(96, 128), mode="bilinear")
        torch.testing.assert_close(full.residual, expected)
    assert net.config["scales"] == [1.0, 0.5] and build_network(net.config).scales == (1.0, 0.5)
    assert "scales" not in plain.config


def test_with_a_working_size_each_scale_has_sides_of_a_multiple_of_32(monkeypatch):
    """Without one they are what the factor makes of them."""
    for size, expected in ((96, [(96, 128), (64, 96)]), (None, [(96, 128), (64, 85)])):
        net, sizes = tiny.network(size=size, scales=(1.0, 0.667)), []
        encode = net.encode
        monkeypatch.setattr(net, "encode", lambda x, e=encode, s=sizes: (s.append(tuple(x.shape[-2:])), e(x))[1])
        with torch.no_grad():
            net(torch.rand(1, 3, 96, 128))
        assert sizes == expected


def test_an_image_is_three_planes_of_bytes_and_stays_as_it_was():
    given = tiny.image()
    flipped = given[::-1]
    assert np.array_equal(to_tensor(flipped)[0, 0].mul(255).round().byte().numpy(), given[2])
    for wrong in (given.astype(np.float32), given.transpose(1, 2, 0), given[0], "photo.jpg"):
        with pytest.raises(OwsegError, match="array"):
            to_tensor(wrong)


def test_a_network_is_stored_with_its_working_size():
    assert "size" not in tiny.network().config and build_network(tiny.network().config).size is None
    network = tiny.network(size=96)
    assert network.config["size"] == build_network(network.config).size == 96


@pytest.mark.parametrize("scales", [(1.0,), (1.0, 0.5)])
def test_the_negative_class_changes_nothing_else_by_a_bit(scales):
    """It is the one channel of a decoder of its own; in an average over mirrored views, too."""
    network = tiny.network(negative=True, scales=scales)
    plain = Network(network.backbone, network.decoder, network.classifier, scales=scales).eval()
    image = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        output, without = network(image), plain(image)
        for name in ("embedding", "logits", "evidence"):
            assert torch.equal(getattr(output, name), getattr(without, name))
        assert without.negative is None and output.negative.std() > 0
        if scales == (1.0,):
            assert torch.equal(output.negative, network.negative(network.encode(image))[:, 0])
        several = network.multi_scale(image, (1.0,))
        assert torch.equal(several.embedding, plain.multi_scale(image, (1.0,)).embedding)
        views = [network.negative(network.encode(x)) for x in (image, image.flip(-1))]
        torch.testing.assert_close(several.negative, ((views[0] + views[1].flip(-1)) / 2)[:, 0])
    full = network.full_resolution(output, (64, 96))
    expected = torch.nn.functional.interpolate(output.negative[:, None], size=(64, 96), mode="bilinear")[:, 0]
    torch.testing.assert_close(full.negative, expected)
    again = build_network(network.config)
    assert again.config == network.config and "negative" not in plain.config
    again.load_state_dict(network.state_dict())

"""DMLNet's and RPL's networks, from files of their authors' layout, against their equations in float64."""

import pytest
import torch

from owseg.errors import OwsegError
from owseg.models.backbones.base import Backbone
from owseg.models.published.deeplabv3plus import (
    DeepLabV3PlusDecoder,
    WideDeepLabDecoder,
    deeplab_resnet,
    deeplab_wide,
)
from owseg.models.published.resnet import RESNET50, ResNetEncoder
from owseg.models.published.resnet_psp import PSPNetDecoder, resnet_psp
from owseg.models.published.wide_resnet import WideResNetEncoder
from owseg.models.residual_pattern import DENSE, ResidualPattern
from tests.reference import paper_networks as reference
from tests.support.published_files import deeplab_file, psp_files, rpl_file

MEAN, STD = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
SIZES = ((64, 96), (72, 56))


def images(size):
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(5))
    return image.double(), (image.double() - MEAN.double()) / STD.double()


def psp(folder):
    states = psp_files(folder)
    files = (folder / "encoder_epoch_20.pth", folder / "decoder_epoch_20.pth")
    return states, resnet_psp(*files)


def millions(*modules):
    return round(sum(p.numel() for module in modules for p in module.parameters()) / 1e6, 1)


@pytest.mark.parametrize("size", SIZES)
def test_pspnet_computes_its_equations(size, tmp_path):
    states, network = psp(tmp_path)
    image, normalised = images(size)
    with torch.no_grad():
        embedding = network.double().decode(network.encode(image))
        torch.testing.assert_close(embedding, reference.dmlnet_psp(*states, normalised))
    assert embedding.shape == (2, 13, size[0] // 8, size[1] // 8)
    assert network.classifier.config == {"kind": "prototype", "scale": 3.0}
    assert network.backbone.strides == (4, 8, 8, 8)


@pytest.mark.parametrize("size", SIZES)
def test_deeplab_on_a_resnet_computes_its_equations_and_so_does_each_head(size, tmp_path):
    path = tmp_path / "latest.pth"
    state = deeplab_file(path, 16, learned=2)
    network, heads = deeplab_resnet(path)
    image, normalised = images(size)
    network.double()
    with torch.no_grad():
        features = network.encode(image)
        for name, decoder in zip(
            ("classifier", "classifier_1", "classifier_2"), (network.decoder, *heads), strict=True
        ):
            expected = reference.dmlnet_deeplab(state, normalised, name)
            torch.testing.assert_close(decoder.double().eval()(features), expected)
    assert expected.shape == (2, 18, size[0] // 4, size[1] // 4)
    assert network.backbone.strides == (4, 8, 16, 16)
    assert network.classifier.config == {"kind": "prototype", "scale": 3.0}


@pytest.mark.parametrize("size", SIZES)
def test_deeplab_on_a_wide_resnet_computes_its_equations_with_its_residual_and_without(size, tmp_path):
    path = tmp_path / "rpl.pth"
    state = rpl_file(path)
    network, residual = deeplab_wide(path)
    image, normalised = images(size)
    network.double(), residual.double()
    with torch.no_grad():
        features = network.encode(image)
        penultimate = network.decoder.penultimate(features)
        embedding = network.decoder.embed(penultimate)
        beside = residual.added(network.decoder, features, penultimate, embedding)
        frozen, changed = reference.rpl_network(state, normalised)
    torch.testing.assert_close(embedding, frozen)
    torch.testing.assert_close(beside, changed)
    assert embedding.shape == (2, 19, *size) and (frozen - changed).abs().max() > 0.1
    assert network.backbone.strides == (2, 4, 8, 8)
    names = [f"residual_block.proj_head.proj.0.{name}" for name in ("weight", "bias")]
    assert all(torch.equal(p.float(), state[n]) for p, n in zip(residual.project.parameters(), names, strict=True))
    assert (residual.place, residual.form, residual.skip) == ("penultimate", "dense", 0)


@pytest.mark.parametrize("residual", [True, False])
def test_rpl_without_corocl_has_no_projection_and_a_closed_network_no_residual(residual, tmp_path):
    path = tmp_path / "plain.pth"
    state = rpl_file(path, residual=residual, projection=False)
    network, found = deeplab_wide(path)
    assert (found is not None) is residual
    image, normalised = images((32, 48))
    with torch.no_grad():
        torch.testing.assert_close(
            network.double().decode(network.encode(image)), reference.rpl_network(state, normalised)[0]
        )


@pytest.mark.parametrize("size", [(61, 83), (33, 50)])
@pytest.mark.parametrize("name", ["psp", "resnet", "wide"])
def test_an_image_of_any_size_is_labelled(name, size, tmp_path):
    path = tmp_path / "net.pth"
    if name == "psp":
        network = psp(tmp_path)[1]
    else:
        (rpl_file if name == "wide" else deeplab_file)(path)
        network = (deeplab_wide if name == "wide" else deeplab_resnet)(path)[0]
    with torch.no_grad():
        assert torch.isfinite(network(torch.rand(1, 3, *size)).logits).all()


def test_at_full_width_they_have_the_published_numbers_of_parameters():
    with torch.device("meta"):
        backbone = Backbone(ResNetEncoder(RESNET50, output_stride=8, deep_stem=True))
        # Deep supervision, which the published decoder has besides: 3x3 and norm from 1024 channels, 1x1 to 13.
        deep = torch.nn.Sequential(
            torch.nn.Conv2d(1024, 512, 3, bias=False), torch.nn.BatchNorm2d(512), torch.nn.Conv2d(512, 13, 1)
        )
        assert (millions(backbone), millions(PSPNetDecoder(backbone.channels, 13), deep)) == (23.6, 27.8)
        backbone = Backbone(ResNetEncoder())
        assert (millions(backbone), len(backbone.state_dict())) == (42.5, 624)
        head = DeepLabV3PlusDecoder(backbone.channels, 17)
        assert sum(p.numel() for p in head.parameters()) == pytest.approx(16.25e6, rel=1e-3)
        backbone = Backbone(WideResNetEncoder())
        decoder = WideDeepLabDecoder(backbone.channels, 19)
        residual = ResidualPattern(backbone.channels, 304, skip=0, **DENSE)
        assert (millions(residual), millions(backbone, decoder, residual)) == (30.9, 168.0)
        tensors = sum(len(part.state_dict()) for part in (backbone, decoder, residual))
        assert tensors == 302 + 1  # the residual's last layer has a bias here


def test_a_resnet_has_a_stride_of_8_16_or_32():
    for stride, strides in ((8, (4, 8, 8, 8)), (16, (4, 8, 16, 16)), (32, (4, 8, 16, 32))):
        assert Backbone(ResNetEncoder((1, 1, 1, 1), 2, stride)).strides == strides
    with pytest.raises(OwsegError, match="8, 16 or 32, not 4"):
        ResNetEncoder(output_stride=4)


def test_a_wide_resnet_drops_channels_of_its_last_two_modules():
    dropout = [(name, m.p) for name, m in WideResNetEncoder((1,) * 6, 2).named_modules() if hasattr(m, "p")]
    assert dropout == [("mod6.block1.convs.dropout", 0.3), ("mod7.block1.convs.dropout", 0.5)]

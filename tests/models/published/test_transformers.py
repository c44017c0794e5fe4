import pytest
import torch
from transformers import (
    BeitConfig,
    BeitForSemanticSegmentation,
    ConvNextConfig,
    MobileNetV2Config,
    MobileNetV2ForSemanticSegmentation,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

from owseg.errors import OwsegError
from owseg.models.assemble import build_network
from owseg.models.published.transformers import from_pretrained, to_network
from tests.support import tiny

SMALL = dict(tiny.CONFIGS["segformer"], decoder_hidden_size=24, num_labels=5)
CONVNEXT = ConvNextConfig(**tiny.CONFIGS["convnext"])


def models():
    torch.manual_seed(0)
    yield SegformerForSemanticSegmentation(SegformerConfig(**SMALL))
    upernet = UperNetConfig(backbone_config=CONVNEXT, hidden_size=16, use_auxiliary_head=False, num_labels=5)
    yield UperNetForSemanticSegmentation(upernet)
    yield MobileNetV2ForSemanticSegmentation(MobileNetV2Config(depth_multiplier=0.25, output_stride=16, num_labels=5))


@pytest.mark.parametrize("model", models(), ids=lambda m: m.config.model_type)
def test_a_split_segmenter_has_the_logits_of_the_whole(model):
    model.eval()
    image = torch.rand(1, 3, 96, 128)
    mean, std = (
        (0.5, 0.5) if model.config.model_type == "mobilenet_v2" else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    normal = (image - torch.tensor(mean).reshape(-1, 1, 1)) / torch.tensor(std).reshape(-1, 1, 1)
    with torch.no_grad():
        expected = model(normal).logits
        network = to_network(model).eval()
        output = network(image)
    if model.config.model_type == "upernet":  # the whole model ends with interpolation to the image
        logits = torch.nn.functional.interpolate(output.logits, size=(96, 128), mode="bilinear")
    else:
        logits = output.logits
    assert torch.allclose(logits, expected, atol=1e-5)
    again = build_network(network.config).eval()
    again.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(again(image).logits, output.logits)


def test_what_cannot_be_split_is_refused(tmp_path):
    config = BeitConfig(hidden_size=8, num_hidden_layers=4, num_attention_heads=2, intermediate_size=8, image_size=32,
                        out_indices=[1, 2, 3, 4], num_labels=3)  # fmt: skip
    model = BeitForSemanticSegmentation(config)
    with pytest.raises(OwsegError, match="a beit cannot be split into backbone and decoder"):
        to_network(model)
    model.save_pretrained(tmp_path / "beit")
    with pytest.raises(OwsegError, match="a beit cannot be split into backbone and decoder"):
        from_pretrained(str(tmp_path / "beit"))
    with pytest.raises(OwsegError, match="cannot be loaded"):
        from_pretrained(str(tmp_path / "nothing"))


def test_a_segmenter_loads_by_path(tmp_path):
    model = SegformerForSemanticSegmentation(SegformerConfig(**SMALL)).eval()
    model.save_pretrained(tmp_path / "net")
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        first, second = (to_network(m).eval()(image).logits for m in (model, from_pretrained(str(tmp_path / "net"))))
    assert torch.equal(first, second)

"""The encoders of published networks as families of backbones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.models.backbones.family import IMAGENET
from owseg.models.published.dabnet import DABNetEncoder
from owseg.models.published.espnetv2 import ESPNetV2Encoder
from owseg.models.published.fddwnet import FDDWNetEncoder
from owseg.models.published.resnet import ResNetEncoder
from owseg.models.published.resnet import load as load_resnet
from owseg.models.published.wide_resnet import WideResNetEncoder
from owseg.models.published.wide_resnet import load as load_wide_resnet


class EncoderFamily:
    """A family whose models are encoders of ``owseg.models.published``.

    An encoder returns its stages, finest first; it has a ``kind`` and ``options``, the arguments of its constructor.
    ``load`` returns one by its name and file; without it weights come with a whole network alone, which a user names as
    ``KIND-cityscapes:FILE``. ``first`` are the names of the layers down to the end of the first stage.
    """

    mean, std = IMAGENET

    def __init__(
        self, make: Callable[..., nn.Module], load: Callable[[str], nn.Module] | None = None, first: Sequence[str] = ()
    ) -> None:
        self.make, self.load, self.first = make, load, first

    def from_pretrained(self, name: str, config: Any, output_stride: int) -> nn.Module:
        """Return the encoder ``name``; raise ``OwsegError`` where the weights are those of a whole network."""
        if self.load is None:
            kind = getattr(self.make, "kind", "network of this kind")
            raise OwsegError(f"{kind} is loaded as a whole network, {kind}-cityscapes:FILE, and is no backbone.")
        return self.load(name)

    def from_config(self, config: dict[str, Any]) -> nn.Module:
        """Return an encoder with random weights."""
        return self.make(**{name: value for name, value in config.items() if name != "model_type"})

    def trim(self, model: nn.Module) -> None:
        """Remove nothing."""

    def published_name(self, model: nn.Module) -> str | None:
        """Return None: its weights are in no package."""
        return None

    def config_of(self, model: Any) -> dict[str, Any]:
        """Return the ``model_type`` and the options."""
        return {"model_type": model.kind, **model.options}

    def features(self, model: nn.Module, image: Tensor) -> tuple[Tensor, ...]:
        """Return the stages."""
        maps: tuple[Tensor, ...] = model(image)
        return maps

    def stem(self, model: nn.Module) -> list[nn.Module]:
        """Return the layers down to the end of the first stage; none of a network that is not trained further."""
        return [model.get_submodule(name) for name in self.first]


CARDS = (
    Card(
        "espnetv2",
        "less than a million parameters, for cameras and CPUs",
        make=partial(EncoderFamily, ESPNetV2Encoder),
        source="Mehta et al., CVPR 2019",
    ),
    Card(
        "dabnet",
        "0.75 million parameters, dilated bottlenecks",
        make=partial(EncoderFamily, DABNetEncoder),
        source="Li et al., BMVC 2019",
    ),
    Card(
        "fddwnet",
        "0.77 million parameters, factorised depth-wise filters",
        make=partial(EncoderFamily, FDDWNetEncoder),
        source="Liu et al., ICASSP 2020",
    ),
    Card(
        "dilated_resnet",
        "ResNet-50 with a deep stem at stride 8 or ResNet-101 at stride 16, of DMLNet's networks",
        make=partial(EncoderFamily, ResNetEncoder, load_resnet, ("stem", "layer1")),
        source="He et al., CVPR 2016",
        facts={
            "prefix": "dilated-resnet",
            "example": "dilated-resnet50:FILE",
            "preprocessing": "mean and deviation of ImageNet",
            "licence": "BSD-3-Clause (code)",
            "sizes": (224,),
        },
    ),
    Card(
        "wide_resnet",
        "WideResNet-38 at stride 8, of RPL's network",
        make=partial(EncoderFamily, WideResNetEncoder, load_wide_resnet, ("mod1", "mod2")),
        source="Wu et al., Pattern Recognition 2019",
        facts={
            "prefix": "wide-resnet",
            "example": "wide-resnet38:FILE",
            "preprocessing": "mean and deviation of ImageNet",
            "licence": "BSD-3-Clause (code)",
            "sizes": (224,),
        },
    ),
)

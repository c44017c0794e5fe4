"""The encoders of published networks as families of backbones; their weights come with a whole network."""

from __future__ import annotations

from collections.abc import Callable
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
from owseg.models.published.wide_resnet import WideResNetEncoder


class EncoderFamily:
    """A family whose models are encoders of ``owseg.models.published``.

    An encoder returns its stages, finest first; it has a ``kind`` and ``options``, the arguments of its constructor.
    ``name`` is the form in which a user names the network that it comes with, by default ``KIND-cityscapes:FILE``.
    """

    mean, std = IMAGENET

    def __init__(self, make: Callable[..., nn.Module], name: str = "") -> None:
        self.make, self.name = make, name

    def from_pretrained(self, name: str, config: Any, output_stride: int) -> nn.Module:
        """Raise ``OwsegError``: the weights are those of a whole network."""
        kind = getattr(self.make, "kind", "network of this kind")
        name = self.name or f"{kind}-cityscapes:FILE"
        raise OwsegError(f"{kind} is loaded as a whole network, {name}, and is no backbone.")

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
        """Return nothing: only published weights are used, which are not trained further."""
        return []


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
        "ResNet-50 at stride 8 or ResNet-101 at stride 16, of DMLNet's networks",
        make=partial(EncoderFamily, ResNetEncoder, "owseg import dmlnet:FILE"),
        source="He et al., CVPR 2016",
    ),
    Card(
        "wide_resnet",
        "WideResNet-38 at stride 8, of RPL's network",
        make=partial(EncoderFamily, WideResNetEncoder, "owseg import rpl:FILE"),
        source="Wu et al., Pattern Recognition 2019",
    ),
)

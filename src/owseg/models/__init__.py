"""Networks: backbones from transformers, light decoders, linear and prototype classifiers."""

from owseg.models.backbones import Backbone, from_pretrained
from owseg.models.network import Network, assemble, build_network, to_tensor

__all__ = ["Backbone", "Network", "assemble", "build_network", "from_pretrained", "to_tensor"]

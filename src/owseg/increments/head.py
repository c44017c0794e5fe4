"""A class learned as a decoder head on the frozen backbone (DMLNet's PLM, and fine-tuning)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from owseg._registry import Card
from owseg.increments.base import Increment
from owseg.models.assemble import make_classifier, make_decoder
from owseg.models.classifiers import Classifier
from owseg.models.decoders.base import Decoder
from owseg.models.network import Network
from owseg.models.ops import closed_map_at, filled
from owseg.types import Output

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class Head:
    """One learned class: a decoder head that knows every class up to this one, its last.

    It reads the same pyramid as the base network. A pixel is of the class where the head's last class is the most
    likely; with ``alone``, the head labels every pixel, and network and heads before it are not used (PLM_latest of
    DMLNet, Table 4).
    """

    name: str
    decoder: Decoder
    classifier: Classifier
    alone: bool = False

    @property
    def last(self) -> int:
        """The id of its own class among those of the head."""
        return self.classifier.num_classes - 1

    @torch.no_grad()
    def labels(self, output: Output, size: tuple[int, int]) -> Tensor:
        """Return the most likely of its classes, (B, H, W) long."""
        logits = self.classifier(self.decoder(output.features).float())
        # Logits are interpolated, as in ``KnowledgeBase.assess``, so heads and base network are compared alike.
        return closed_map_at(logits, size)

    def predict_mask(self, output: Output, size: tuple[int, int]) -> Tensor:
        """Return where its last class is the most likely, (B, H, W) bool: ``M_out,t`` of DMLNet, Algorithm 1."""
        return self.labels(output, size) == self.last

    def update_labels(self, labels: Tensor, output: Output, label: int) -> Tensor:
        """Return ``labels``, or with ``alone`` the head's own map, with ``label`` where the class is predicted."""
        own = self.labels(output, (labels.shape[1], labels.shape[2]))
        return (own if self.alone else labels).masked_fill(own == self.last, label)

    def renamed(self, names: Mapping[str, str]) -> Head:
        """Return it with the new name of its class, if ``names`` has one by the old."""
        return replace(self, name=names.get(self.name, self.name))

    def without(self, others: Sequence[Increment]) -> Head:
        """Return itself: where it predicts another class, the classes before it are predicted."""
        return self

    def to(self, device: torch.device) -> Head:
        """Return it with its tensors on ``device``."""
        decoder, classifier = copy.deepcopy((self.decoder, self.classifier))
        return replace(self, decoder=decoder.to(device), classifier=classifier.to(device))

    def to_json(self) -> dict[str, Any]:
        """Return the architecture as plain JSON; the weights are ``tensors``."""
        return {
            "kind": "head",
            "name": self.name,
            "alone": self.alone,
            "classes": self.classifier.num_classes,
            "decoder": self.decoder.config,
            "classifier": self.classifier.config,
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights of decoder and classifier."""
        return dict(nn.ModuleDict({"decoder": self.decoder, "classifier": self.classifier}).state_dict())


def frozen(module: M) -> M:
    """Return ``module``, in evaluation mode and without gradients."""
    return module.requires_grad_(False).eval()


def _restore(value: dict[str, Any], tensors: Mapping[str, Tensor], network: Network) -> Head:
    def make() -> nn.ModuleDict:
        classifier = make_classifier(num_classes=value["classes"], **value["classifier"])
        decoder = make_decoder(backbone=network.backbone, out=classifier.embedding_channels, **value["decoder"])
        return nn.ModuleDict({"decoder": decoder, "classifier": classifier})

    parts = frozen(filled(make, lambda: tensors, f"the head of {value['name']!r} does not have its weights"))
    return Head(value["name"], cast(Decoder, parts["decoder"]), cast(Classifier, parts["classifier"]), value["alone"])


CARDS = (
    Card("head", "a decoder head on the frozen backbone", make=_restore, source="Cen et al., ICCV 2021, Sec. 4.3"),
)

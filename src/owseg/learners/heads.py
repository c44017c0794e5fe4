"""Learning a class by training a decoder head on the frozen backbone: DMLNet's pseudo-label method, and fine-tuning."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from owseg.errors import OwsegError
from owseg.labels import IGNORE
from owseg.learners.increment import Increment
from owseg.learners.shots import Look, Shot
from owseg.losses import class_weights, objective
from owseg.models.classifiers import LinearClassifier, PrototypeClassifier
from owseg.models.decoders import ASPPDecoder, PSPDecoder
from owseg.models.network import Decoder, Network, make_classifier, make_decoder
from owseg.openset import closed_map
from owseg.progress import progress
from owseg.scorers.joint import Joint
from owseg.types import Output, resize

if TYPE_CHECKING:
    from owseg.knowledge import KnowledgeBase


@dataclass(frozen=True, eq=False)
class Head:
    """One learned class: a decoder head that knows every class up to this one, its last.

    It reads the same pyramid as the base network. It claims where its last class is the likeliest; or, if it stands
    ``alone``, it labels every pixel by itself and no head before it is asked (PLM_latest of DMLNet, Table 4).
    """

    name: str
    decoder: Decoder
    classifier: LinearClassifier | PrototypeClassifier
    alone: bool = False

    @torch.no_grad()
    def labels(self, output: Output, size: tuple[int, int]) -> Tensor:
        """Return the likeliest of its classes, (B, H, W) long."""
        logits = self.classifier(self.decoder(output.features).float())
        return closed_map(resize(logits, size))

    def claim(self, output: Output, size: tuple[int, int]) -> Tensor:
        """Return where its last class is the likeliest, (B, H, W) bool: ``M_out,t`` of DMLNet, Algorithm 1."""
        return self.labels(output, size) == self.classifier.num_classes - 1

    def relabel(self, labels: Tensor, output: Output, label: int) -> Tensor:
        """Return ``labels`` with ``label`` where the class claims or, alone, the head's own map."""
        own = self.labels(output, (labels.shape[1], labels.shape[2]))
        return own if self.alone else labels.masked_fill(own == label, label)

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

    @classmethod
    def restore(
        cls, value: dict[str, Any], tensors: Mapping[str, Tensor], network: Network, fitted: Joint | None
    ) -> Head:
        """Read what ``to_json`` and ``tensors`` gave; raise ``OwsegError`` if the weights do not fit."""
        classifier = make_classifier(num_classes=value["classes"], **value["classifier"])
        decoder = make_decoder(backbone=network.backbone, out=classifier.embedding_channels, **value["decoder"])
        try:
            nn.ModuleDict({"decoder": decoder, "classifier": classifier}).load_state_dict(tensors)
        except RuntimeError as error:
            raise OwsegError(
                f"the head of {value['name']!r} does not have its weights ({str(error).splitlines()[0]})."
            ) from None
        return cls(value["name"], _ready(decoder), _ready(classifier), value["alone"])


@dataclass(frozen=True)
class PLM:
    """DMLNet's pseudo-label method (Sec. 4.3, Algorithm 1): a new head for each class, in a space one dimension larger.

    The head starts from the one before it and is trained by the network's own loss on the shots and their mirror
    images, whose pixels the old heads label and the annotation overrides; void stays void. Backbone and old heads
    are frozen, statistics included. ``heads`` is "all" (each head answers for its class) or "latest" (the newest
    answers for all). ``balance`` as in ``TrainConfig``. The pyramids of the shots are computed once.
    """

    heads: str = "all"
    steps: int = 200
    lr: float = 1e-3
    variance_weight: float = 0.01
    balance: float = 0.5
    seed: int = 0
    method = "plm"

    def __call__(self, kb: KnowledgeBase, name: str, shots: Sequence[Shot], look: Look) -> tuple[Increment, ...]:
        """Return the increments with a head trained on ``pseudo_labels``."""
        if self.heads not in ("all", "latest"):
            raise OwsegError(f"PLM asks 'all' heads or the 'latest', not {self.heads!r}.")
        views = [view for shot in shots for view in (shot, shot.mirrored())]
        outputs = [look(view.image) for view in views]
        targets = [pseudo_labels(kb, output, view) for output, view in zip(outputs, views, strict=True)]
        decoder, classifier = _grown(kb)
        _train(decoder, classifier, outputs, targets, self)
        return (*kb.increments, Head(name, _ready(decoder), _ready(classifier), self.heads == "latest"))


@dataclass(frozen=True)
class FineTune:
    """The baseline that forgets: the newest head goes on learning from the annotated pixels alone.

    What the old heads know of the other pixels is not used, so that nothing holds the old classes in place (the FT
    row of DMLNet, Table 4).
    """

    steps: int = 50
    lr: float = 1e-3
    variance_weight: float = 0.01
    balance: float = 0.0
    seed: int = 0
    method = "finetune"

    def __call__(self, kb: KnowledgeBase, name: str, shots: Sequence[Shot], look: Look) -> tuple[Increment, ...]:
        """Return the increments with a head that stands alone."""
        views = [view for shot in shots for view in (shot, shot.mirrored())]
        targets = [np.where(view.mask, len(kb.labels), IGNORE).astype(np.uint8) for view in views]
        decoder, classifier = _grown(kb)
        _train(decoder, classifier, [look(view.image) for view in views], targets, self)
        return (*kb.increments, Head(name, _ready(decoder), _ready(classifier), alone=True))


@torch.no_grad()
def pseudo_labels(kb: KnowledgeBase, output: Output, shot: Shot) -> np.ndarray:
    """Return the pseudo-label map (H, W) uint8 of a shot of the next class (DMLNet, Algorithm 1).

    The base head labels every pixel, each older increment writes its class where it claims, void becomes IGNORE, and
    the annotation is written last.
    """
    labels = closed_map(resize(output.logits, shot.size))
    for label, increment in enumerate(kb.increments, kb.network.num_classes):
        labels = labels.masked_fill(increment.claim(output, shot.size), label)
    pseudo = labels[0].to(torch.uint8).cpu().numpy()
    if shot.void is not None:
        pseudo[shot.void] = IGNORE
    pseudo[shot.mask] = len(kb.labels)
    return pseudo


def _grown(kb: KnowledgeBase) -> tuple[Decoder, LinearClassifier | PrototypeClassifier]:
    """Return a copy of the newest head with room for one class more than ``kb`` knows; a new class begins at zero."""
    heads = [i for i in kb.increments if isinstance(i, Head)]
    source = heads[-1] if heads else kb.network
    decoder, classes = copy.deepcopy(source.decoder), len(kb.labels) + 1
    if isinstance(source.classifier, PrototypeClassifier):
        assert isinstance(decoder, ASPPDecoder | PSPDecoder)  # the others come with linear classifiers
        decoder.head = _wider(decoder.head, classes)
        return decoder, PrototypeClassifier(classes, source.classifier.scale)
    classifier = LinearClassifier(source.classifier.embedding_channels, classes)
    classifier.conv = _wider(source.classifier.conv, classes)
    return decoder, classifier


@torch.no_grad()
def _wider(conv: nn.Conv2d, out: int) -> nn.Conv2d:
    assert conv.bias is not None
    wider = nn.Conv2d(conv.in_channels, out, 1)
    assert wider.bias is not None
    wider.to(conv.weight.device)
    for new, old in ((wider.weight, conv.weight), (wider.bias, conv.bias)):
        new.zero_()
        new[: len(old)] = old
    return wider


def _train(
    decoder: nn.Module,
    classifier: LinearClassifier | PrototypeClassifier,
    outputs: Sequence[Output],
    targets: Sequence[np.ndarray],
    how: PLM | FineTune,
) -> None:
    """Train a head in place on the pyramids of some pictures; a step sees one picture in its turn."""
    weights = class_weights(targets, classifier.num_classes, how.balance)
    parameters = [p for module in (decoder, classifier) for p in module.requires_grad_(True).parameters()]
    device = parameters[0].device
    optimizer = torch.optim.AdamW(parameters, lr=how.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, how.steps)
    order = np.random.default_rng(how.seed)
    # The copied statistics come from thousands of pictures, the shots' own would come from one.
    decoder.train()
    for module in decoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    with torch.random.fork_rng(), torch.enable_grad(), progress("training a head", how.steps) as tick:
        torch.manual_seed(how.seed)
        turn: list[int] = []
        for _ in range(how.steps):
            turn = turn or order.permutation(len(outputs)).tolist()
            i = turn.pop()
            target = torch.from_numpy(targets[i]).long().to(device)[None]
            loss = objective(classifier, decoder(outputs[i].features), target, how.variance_weight, weights.to(device))
            if not torch.isfinite(loss):
                raise OwsegError(f"the loss of the new head is {loss.item()}; lower the learning rate.")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            tick(f"loss {loss.item():.3f}")


def _ready(module: Any) -> Any:
    return module.requires_grad_(False).eval()

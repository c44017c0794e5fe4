"""Mask classifiers of transformers, split into backbone and queries: Mask2Former, OneFormer and EoMT.

Their output is Q queries, each with class logits and a mask. The decoder makes them a map of evidence, which is the
embedding (see ``query_evidence``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from owseg.errors import OwsegError
from owseg.labels import LabelSpace, short_name
from owseg.models.backbones.base import Backbone, family_of
from owseg.models.backbones.configs import config_of, stored_config
from owseg.models.backbones.preprocessing import stored_normalisation
from owseg.models.classifiers import MaskClassifier
from owseg.models.decoders.base import Decoder
from owseg.models.network import Network
from owseg.models.published.eomt import EomtEncoder, EomtHead
from owseg.models.queries import query_evidence

TASK = (49406, 518, 10549, 533, 29119, 1550, 49407)
"""What OneFormer is asked: "the task is semantic" in the tokens of CLIP, between those of start and end."""


class Mask2FormerHead(nn.Module):
    """Pixel decoder and queries of a Mask2Former (Cheng et al., CVPR 2022)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.pixels = model.model.pixel_level_module.decoder
        self.transformer, self.class_layer = model.model.transformer_module, model.class_predictor

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return queries (B, Q, C) and mask logits (B, Q, h, w)."""
        pixels = self.pixels(features)
        found = self.transformer(pixels.multi_scale_features, pixels.mask_features)
        # Of every layer, (Q, B, C); the last counts.
        return found.intermediate_hidden_states[-1].transpose(0, 1), found.masks_queries_logits[-1]


class OneFormerHead(nn.Module):
    """Pixel decoder and queries of a OneFormer (Jain et al., CVPR 2023), asked for semantic segmentation.

    Raises ``OwsegError`` for one whose stored weights are not all (see below).
    """

    task: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        config = model.config
        if config.conv_dim != config.hidden_dim or config.enforce_input_proj:
            # They are in a plain list, so transformers (5.23) neither stores nor loads these projections.
            raise OwsegError("this OneFormer projects its pixel maps, by weights that transformers does not store.")
        self.pixels = model.model.pixel_level_module.decoder
        self.transformer, self.tasks = model.model.transformer_module, model.model.task_encoder
        asked = torch.zeros(1, config.task_seq_len)
        asked[0, : len(TASK)] = torch.tensor(TASK, dtype=torch.float)[: config.task_seq_len]
        self.register_buffer("task", asked, persistent=False)

    @property
    def class_layer(self) -> nn.Linear:
        """The layer that makes class logits of queries."""
        layer: nn.Linear = self.transformer.decoder.class_embed
        return layer

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return queries (B, Q, C) and mask logits (B, Q, h, w)."""
        pixels = self.pixels(features)
        task = self.tasks(self.task).expand(len(features[0]), -1)
        found = self.transformer(pixels.multi_scale_features, pixels.mask_features, task)
        return self.transformer.decoder.decoder_norm(found.object_queries), found.prediction_masks


HEADS: dict[str, Callable[[Any], nn.Module]] = {
    "mask2former": Mask2FormerHead,
    "eomt": EomtHead,
    "oneformer": OneFormerHead,
}
"""The kinds of model that can be split, by the name that transformers gives them (``model_type``)."""


class MaskDecoder(Decoder):
    """Pyramid of its own backbone -> evidence of queries (B, K + 1, h, w), or K + 2 ``with_negative`` class.

    The negative class is one further row of the class layer (UNO, Delić et al., BMVC 2024), which begins at zero.
    """

    kind = "masks"

    def __init__(self, model: Any, with_negative: bool = False) -> None:
        super().__init__()
        self.model_config = model.config
        self.head: Any = HEADS[model.config.model_type](model)
        self.negative = self.row() if with_negative else None

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of ``make_decoder``: the configuration of the whole model; plain JSON."""
        return {
            "kind": self.kind,
            "config": config_of(self.model_config),
            "with_negative": self.negative is not None,
        }

    @property
    def title(self) -> str:
        """What people read: the name of the model."""
        return str(self.model_config.model_type)

    def row(self) -> nn.Linear:
        """Return a class that no query has yet: weights and bias are 0."""
        row = nn.Linear(self.head.class_layer.in_features, 1)
        nn.init.zeros_(row.weight)
        nn.init.zeros_(row.bias)
        return row

    def queries(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (B, Q, C), their class logits (B, Q, K + 1) and mask logits (B, Q, h, w)."""
        queries, masks = self.head(features)
        return queries, self.head.class_layer(queries), masks

    def penultimate(self, features: Sequence[Tensor]) -> Tensor:
        """Return the evidence at the resolution of the masks; there is no block behind it."""
        queries, classes, masks = self.queries(features)
        return query_evidence(classes, masks, None if self.negative is None else self.negative(queries)[..., 0])


def from_config(config: dict[str, Any]) -> Any:
    """Return a mask classifier with random weights from what ``config_of`` returned."""
    from transformers import AutoModelForUniversalSegmentation

    # Only its training reads the text branch of a OneFormer.
    training = {"is_training": False} if config.get("model_type") == "oneformer" else {}
    return AutoModelForUniversalSegmentation.from_config(stored_config({**config, **training}))  # type: ignore[no-untyped-call]


def load(name: str) -> tuple[Network, LabelSpace]:
    """Return the mask classifier of a hub name or local path, and its classes.

    Raises ``OwsegError`` where there is none, where weights are missing, and for one that names no classes.
    """
    from transformers import AutoModelForUniversalSegmentation

    try:
        model, report = AutoModelForUniversalSegmentation.from_pretrained(
            name, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
        # transformers makes up what is missing, and only logs it. Losses are for its training alone.
        missing = sorted(key for key in report["missing_keys"] if not key.startswith("criterion."))
        if missing:
            raise ValueError(f"{len(missing)} of its tensors are missing, such as {missing[0]}")
        normalisation = stored_normalisation(name)
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise OwsegError(
            f"the mask classifier {name!r} cannot be loaded ({reason}); give a hub name or a path."
        ) from None
    labels = _labels_of(name, model.config)
    return to_network(model, normalisation).eval(), labels


def to_network(model: Any, normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None) -> Network:
    """Split a mask classifier into a ``Network``, whose logits are the class scores s at the masks' resolution.

    ``normalisation`` is mean and standard deviation of RGB in [0, 1], by default those of ImageNet.
    """
    family = family_of(model.config.model_type)
    is_eomt = model.config.model_type == "eomt"
    body = EomtEncoder(model) if is_eomt else model.model.pixel_level_module.encoder
    backbone = Backbone(body, *(normalisation or (family.mean, family.std)))
    classifier, size = MaskClassifier(model.config.num_labels), model.config.image_size if is_eomt else None
    return Network(backbone, MaskDecoder(model), classifier, size, squares=is_eomt)


def _labels_of(name: str, config: Any) -> LabelSpace:
    names: dict[int, str] = config.id2label
    numbered = sorted(names) == list(range(len(names)))
    if not numbered or all(names[i] == f"LABEL_{i}" for i in names):  # what transformers makes up
        raise OwsegError(f"the configuration of {name!r} names no classes; give it an id2label of ids from 0.")
    return LabelSpace.of(short_name(names[i]) for i in range(len(names)))

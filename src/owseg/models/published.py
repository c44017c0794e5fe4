"""Networks with weights that others published: ``espnetv2-cityscapes:FILE`` and ``hf:NAME``."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from owseg.data.cityscapes import CITYSCAPES
from owseg.errors import OwsegError
from owseg.labels import BACKGROUND, LabelSpace
from owseg.models.backbones import Backbone, normalisation
from owseg.models.classifiers import LinearClassifier
from owseg.models.espnetv2 import ESPNetV2Decoder, ESPNetV2Encoder
from owseg.models.network import Network, take_apart
from owseg.models.segmenters import fetch

ESPNETV2 = "espnetv2-cityscapes"
WITH_BACKGROUND = "+background"
TRANSFORMERS = "hf:"
_LAST = "bu_dec_l4.merge_layer.3."


def published(name: str, weights: str | Path | None = None) -> tuple[Network, LabelSpace] | None:
    """Return the network called ``name`` and its classes; None if that is no name of a published one.

    ``espnetv2-cityscapes`` reads ``weights`` (or what follows a colon): model.safetensors, or the folder that has it;
    ``espnetv2-cityscapes+background`` keeps the output for background as a class.
    ``hf:NAME`` is any segmenter of transformers that can be taken apart, by hub name or local path. Raises
    ``OwsegError`` for weights that are missing or do not fit.
    """
    if name.startswith(TRANSFORMERS):
        model = fetch(name.removeprefix(TRANSFORMERS))
        names: dict[int, str] = model.config.id2label
        return take_apart(model).eval(), LabelSpace.of(names[i] for i in range(len(names)))
    kind, _, place = name.partition(":")
    if kind in (ESPNETV2, ESPNETV2 + WITH_BACKGROUND):
        if not (weights or place):
            raise OwsegError(f"say where the weights of {kind} are: {kind}:FILE.")
        labels = CITYSCAPES if kind == ESPNETV2 else CITYSCAPES.extend(BACKGROUND)
        return espnetv2(Path(weights or place), len(labels)), labels
    return None


def espnetv2(path: Path, outputs: int = len(CITYSCAPES)) -> Network:
    """Return the ESPNetv2 of published Cityscapes weights (Mehta et al., CVPR 2019), any width.

    Its first ``outputs`` are kept: 19 are the classes, the twentieth stands for background.
    """
    path = path.expanduser()
    path = path / "model.safetensors" if path.is_dir() else path
    try:
        state = load_file(path)
        encoder = ESPNetV2Encoder(len(state["base_net.level2_0.act.weight"]) / 64)
        backbone = Backbone(encoder, *normalisation(encoder.kind))
        last = LinearClassifier(state[_LAST + "weight"].shape[1], outputs)
        last.conv.load_state_dict({n: state.pop(_LAST + n)[:outputs] for n in ("weight", "bias")})
        decoder = ESPNetV2Decoder(backbone.channels, last.embedding_channels)
        encoder.load_state_dict({n.removeprefix("base_net."): v for n, v in state.items() if n.startswith("base_net.")})
        decoder.load_state_dict({n: v for n, v in state.items() if not n.startswith("base_net.")})
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise OwsegError(f"{path} does not hold the weights of an ESPNetv2 for Cityscapes ({reason}).") from None
    return Network(backbone, decoder, last).eval()

"""Small networks with random weights, and a small knowledge base, for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from owseg.data.dataset import DataSet, Source
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import calibrate, fit_scorers
from owseg.knowledge.event import Event
from owseg.labels import IGNORE, LabelSpace
from owseg.models.assemble import assemble, make_decoder
from owseg.models.backbones.base import Backbone, build
from owseg.models.engine import prepare
from owseg.models.network import Network

STAGES: dict[str, Any] = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
HALVING: dict[str, Any] = {**STAGES, "size_multiple": 32}
WINDOWS: dict[str, Any] = {"embed_dim": 8, "depths": [1, 2, 1, 1], "num_heads": [1, 2, 2, 4]}
VIT: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 6, "num_attention_heads": 2}

CONFIGS: dict[str, dict[str, Any]] = {
    "mobilenet_v2": {"depth_multiplier": 0.25, "output_stride": 16},
    "resnet": {
        "embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "layer_type": "basic",
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    },
    "convnext": {
        "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1],
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    },
    "convnextv2": {**HALVING, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
    "dinov3_convnext": {**HALVING, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
    "swin": {**HALVING, **WINDOWS, "window_size": 4, "image_size": 64},
    "swinv2": {**HALVING, **WINDOWS, "window_size": 4, "image_size": 64},
    "hiera": {**STAGES, **WINDOWS, "image_size": [64, 64]},
    "dinov2": {**VIT, "image_size": 56, "patch_size": 14},
    "dinov2_with_registers": {**VIT, "image_size": 56, "patch_size": 14, "num_register_tokens": 3},
    "dinov3_vit": {**VIT, "image_size": 64, "patch_size": 16, "num_register_tokens": 3, "intermediate_size": 32},
    "segformer": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2]},
    "efficientnet_lite": {"width": 0.25, "depth": 0.3},
}  # fmt: skip


def backbone(kind: str = "resnet") -> Backbone:
    config = {"model_type": kind, **CONFIGS[kind]}
    return build({"config": config, "mean": [0.5] * 3, "std": [0.5] * 3})


def network(classes: int = 3, kind: str = "resnet", negative: bool = False, **options: Any) -> Network:
    torch.manual_seed(0)
    net = assemble(backbone(kind), classes, width=16, **{"decoder": "aspp", **options}).eval()
    if negative:
        net.negative = make_decoder("pyramid", net.backbone, 1, width=8, fine=8).eval()
    if kind in ("mobilenet_v2", "resnet"):
        _spread(net)
    return net


@torch.no_grad()
def _spread(net: Network) -> None:
    """Fit the normalisations to images and scale the last layer, so that the embedding fills the metric space.

    Random weights alone give nearly one point.
    """
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    usual = [m.momentum for m in norms]
    for norm in norms:
        norm.momentum = 1.0
    net.train()(torch.stack([torch.from_numpy(image(i)).float() / 255 for i in range(4)]))
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    net.eval()
    features = net.encode(torch.from_numpy(image()).float()[None] / 255)
    for decoder in getattr(net.decoder, "decoders", [net.decoder]):
        embedding = decoder(features)[0].flatten(1)
        head, scale = decoder.head, 1.5 / embedding.std(1).clamp(min=1e-6)
        head.bias.copy_(1 + (head.bias - embedding.mean(1)) * scale)
        head.weight.mul_(scale.view(-1, 1, 1, 1))


def knowledge_base(names: tuple[str, ...] = ("road", "sky", "tree"), **options: Any) -> KnowledgeBase:
    net = prepare(network(len(names), **options))  # a knowledge base would copy one that is not
    return KnowledgeBase(net, LabelSpace.of(names), history=(Event("train", "made for a test"),))


def far_out(shift: float = 300.0) -> KnowledgeBase:
    """The tiny knowledge base with ``shift`` added to every value of its embedding: the same classes, |f| large."""
    net = network()
    with torch.no_grad():
        net.decoder.head.bias.add_(shift)
    return KnowledgeBase(net, LabelSpace.of(("road", "sky", "tree")))


def image(seed: int = 0, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """An image (3, H, W) uint8 with some structure."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (3, size[0] // 8, size[1] // 8))
    return np.kron(coarse, np.ones((1, 8, 8))).astype(np.uint8)


def dataset(count: int = 8, classes: int = 3, size: tuple[int, int] = (48, 64), unknown: bool = False) -> DataSet:
    """Images whose colour tells the class of each 16x16 block; with ``unknown`` the last class is not known."""
    names = ("road", "sky", "tree", "rock", "cow")[:classes]
    colors = np.array([[220, 30, 30], [30, 220, 30], [30, 30, 220], [220, 220, 30], [220, 30, 220]])

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([7, i])
        blocks = rng.integers(0, classes, (size[0] // 16, size[1] // 16))
        blocks.flat[:classes] = np.arange(classes)  # every class in every image
        ids = np.kron(blocks, np.ones((16, 16))).astype(np.uint8)
        noise = rng.integers(-25, 25, (3, *size))
        return np.clip(colors[ids].transpose(2, 0, 1) + noise, 0, 255).astype(np.uint8), ids

    source = Source("tiny", LabelSpace.of(names), tuple(f"f{i}" for i in range(count)), read)
    return DataSet(source, source.classes.without(names[-1:]) if unknown else source.classes)


def with_void() -> Source:
    """The source of ``dataset``, void at the left edge of each image."""
    source = dataset().source

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        image, ids = source.read(i)
        return image, np.where(np.arange(64) < 8, IGNORE, ids).astype(np.uint8)

    return Source("void", source.classes, source.ids, read)


def varied(more: int = 6) -> DataSet:
    """The images of ``dataset``, and so many like ``image``, in which a pixel's strongest colour is its class.

    To what is fitted to both, an image of either kind is known in part; to what is fitted to the first alone, no pixel
    of the second need be.
    """
    plain = dataset().source

    def read(i: int) -> tuple[np.ndarray, np.ndarray | None]:
        if i < len(plain.ids):
            return plain.read(i)
        return image(100 + i), image(100 + i).argmax(0).astype(np.uint8)

    ids = tuple(f"f{i}" for i in range(len(plain.ids) + more))
    return DataSet(Source("tiny", plain.classes, ids, read), plain.classes)


def calibrated(fpr: float = 0.05, data: DataSet | None = None, **options: Any) -> KnowledgeBase:
    """The tiny knowledge base with the scorer joint, fitted and calibrated on ``data``, by default ``varied``."""
    data = data or varied()
    return calibrate(fit_scorers(knowledge_base(**options), data), data, fpr, scorer="joint")


def write_photos(folder: Path, count: int) -> Path:
    """Write ``count`` images, p0.png and so on, into ``folder`` and return it."""
    folder.mkdir(parents=True)
    for i in range(count):
        Image.fromarray(image(i).transpose(1, 2, 0)).save(folder / f"p{i}.png")
    return folder

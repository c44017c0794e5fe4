"""Scores of mask classifiers: how far the masks of all queries leave a pixel to no class."""

from __future__ import annotations

from torch import Tensor

from owseg._registry import Card
from owseg.types import Output


def rba(output: Output) -> Tensor:
    """Return ``-sum_k tanh(s_k)`` (B, h, w), s the logits; Nayal et al., ICCV 2023.

    In [-K, 0]; near 0 where every class rejects the pixel.
    """
    return -output.logits.float().tanh().sum(1)


def eam(output: Output) -> Tensor:
    """Return ``1 - sum_q m_q max_k P_q(k)`` (B, h, w), at most 1; k over the K classes.

    The confidence of each mask counts for its pixels; Grcic et al., CVPRW 2023, arXiv:2301.03407.
    """
    return 1 - output.embedding[:, 0].float()


def mask_msp(output: Output) -> Tensor:
    """Return ``1 - max_k s_k`` (B, h, w), at most 1; s the logits."""
    return 1 - output.logits.float().amax(1)


CARDS = (
    Card(
        "rba",
        "mask classifier: every class rejects the pixel",
        make=lambda network: rba,
        source="Nayal et al., ICCV 2023",
        facts={"needs": "masks"},
    ),
    Card(
        "eam",
        "mask classifier: no confident mask covers the pixel",
        make=lambda network: eam,
        source="Grcic et al., CVPRW 2023",
        facts={"needs": "masks"},
    ),
    Card(
        "mask_msp",
        "mask classifier: 1 - the largest class score",
        make=lambda network: mask_msp,
        source="Cheng et al., NeurIPS 2021",
        facts={"needs": "masks"},
    ),
)

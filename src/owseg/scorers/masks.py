"""Scores of mask classifiers (Mask2Former, EoMT): Q queries, each with class logits and a mask.

``class_logits`` are (B, Q, K + 1), the last for "no object"; ``mask_logits`` (B, Q, h, w). Higher is more anomalous.
"""

from __future__ import annotations

import torch
from torch import Tensor


def class_scores(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Return ``s_k = sum_q softmax(c_q)_k sigmoid(m_q)`` (B, K, h, w) for the K classes, no object left out.

    Their argmax is the closed map; Cheng et al., NeurIPS 2021 (MaskFormer), Sec. 3.4.
    """
    known = class_logits.float().softmax(-1)[..., :-1]
    return torch.einsum("bqk,bqhw->bkhw", known, mask_logits.float().sigmoid())


def rba(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Return ``-sum_k tanh(s_k)`` (B, h, w), s the ``class_scores``; Nayal et al., ICCV 2023.

    In [-K, 0]; near 0 where every class rejects the pixel.
    """
    return -class_scores(class_logits, mask_logits).tanh().sum(1)


def eam(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Return ``1 - sum_q sigmoid(m_q) max_k softmax(c_q)_k`` (B, h, w), at most 1; k over the K classes.

    Each mask's own confidence, spread over its pixels; Grcic et al., CVPRW 2023, arXiv:2301.03407.
    """
    sure = class_logits.float().softmax(-1)[..., :-1].amax(-1)
    return 1 - torch.einsum("bq,bqhw->bhw", sure, mask_logits.float().sigmoid())


def mask_msp(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Return ``1 - max_k s_k`` (B, h, w), at most 1; ``s`` is ``class_scores``."""
    return 1 - class_scores(class_logits, mask_logits).amax(1)


MASK_SCORERS = {"rba": rba, "eam": eam, "mask_msp": mask_msp}
"""The scores of a mask classifier by name."""

"""An anomaly score as a package of its own: how close the two most likely classes are (docs/extending.md)."""

import torch

from owseg import Card, Output


def margin(output: Output) -> torch.Tensor:
    """Return 1 - (p_1 - p_2), p_1 and p_2 the two largest softmax probabilities; (B, h, w) in [0, 1]."""
    first, second = output.softmax_logits.softmax(1).topk(2, 1).values.unbind(1)
    return 1 - (first - second)


CARD = Card("margin", "how close the two most likely classes are", make=lambda network: margin)

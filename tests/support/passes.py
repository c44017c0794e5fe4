"""Outputs of networks in tests: all of their tensors, and whether two are the same."""

import torch

from owseg.models.residual_pattern import residual_of


def learned_residual(network):
    torch.manual_seed(1)
    pattern = residual_of(network, width=8, contrast=4).eval()
    torch.nn.init.normal_(pattern.final.weight)
    return pattern


def tensors(output):
    return (
        *output.features, output.embedding, output.logits, output.residual, output.evidence, output.negative
    )  # fmt: skip


def same(one, other):
    return all(b is None if a is None else torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))

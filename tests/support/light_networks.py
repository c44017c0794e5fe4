"""DABNet and FDDWNet with random weights, stored as the published ones are."""

import torch
from safetensors.torch import save_file
from torch import nn

from owseg.models.published.dabnet import DABNetEncoder
from owseg.models.published.fddwnet import FDDWNetDecoder, FDDWNetEncoder


def random_state(*modules):
    """Return the tensors of ``modules``, random batch statistics included."""
    torch.manual_seed(0)
    for norm in (m for module in modules for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.running_mean, std=0.2), nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5), nn.init.normal_(norm.bias, std=0.2)
    return {name: value for module in modules for name, value in module.state_dict().items()}


def stored_dabnet(path, classes=19):
    """Store the weights in the folder ``path`` and return them."""
    torch.manual_seed(1)
    state = random_state(DABNetEncoder()) | {"layer15.weight": 0.1 * torch.randn(classes, 259, 1, 1)}
    save_file(state, path / "model.safetensors")
    return state


def stored_fddwnet(path, classes=19):
    """Store the weights in the folder ``path`` and return them."""
    state = random_state(FDDWNetEncoder(), FDDWNetDecoder(classes))
    save_file(state, path / "model.safetensors")
    return state

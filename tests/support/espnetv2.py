"""The weights of a small ESPNetv2 with random values, stored as the published ones are."""

import torch
from safetensors.torch import save_file

from owseg.models.published.espnetv2 import ESPNetV2Decoder, ESPNetV2Encoder


def stored_weights(path, scale=0.5):
    """Store the weights in the folder ``path`` and return the parts: encoder, decoder, last layer."""
    torch.manual_seed(0)
    encoder = ESPNetV2Encoder(scale).eval()
    channels = [m.shape[1] for m in encoder(torch.zeros(1, 3, 64, 64))]
    decoder, last = ESPNetV2Decoder(channels, 10).eval(), torch.nn.Conv2d(10, 20, 1)
    state = {f"base_net.{k}": v for k, v in encoder.state_dict().items()} | decoder.state_dict()
    state |= {f"bu_dec_l4.merge_layer.3.{k}": v for k, v in last.state_dict().items()}
    save_file(state, path / "model.safetensors")
    return encoder, decoder, last

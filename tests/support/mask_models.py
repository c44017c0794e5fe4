"""Small mask classifiers of transformers with random weights."""

import torch
from transformers import (
    EomtConfig,
    EomtForUniversalSegmentation,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    OneFormerConfig,
    OneFormerForUniversalSegmentation,
    SwinConfig,
)

SWIN = SwinConfig(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4, image_size=64,
                  out_features=["stage1", "stage2", "stage3", "stage4"])  # fmt: skip
NAMES = {0: "road", 1: "sky", 2: "tree", 3: "car"}


@torch.no_grad()
def spread(model):
    """Give norms weights other than 1 and 0, and classes that are far apart: no layer is left out unnoticed."""
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm | torch.nn.GroupNorm):
            module.weight.uniform_(0.5, 1.5)
            module.bias.uniform_(-0.5, 0.5)
        if isinstance(module, torch.nn.Linear) and module.out_features == model.config.num_labels + 1:
            module.weight.normal_(std=0.3)
    return model.eval()


def mask2former(**options):
    torch.manual_seed(0)
    config = Mask2FormerConfig(
        backbone_config=SWIN, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=16,
        encoder_layers=1, decoder_layers=2, num_attention_heads=2, dim_feedforward=16, num_queries=5,
        **{"id2label": NAMES, **options},
    )  # fmt: skip
    return spread(Mask2FormerForUniversalSegmentation(config))


def eomt(size=64, masked=1.0, **options):
    torch.manual_seed(0)
    config = EomtConfig(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, image_size=size, patch_size=16,
                        num_blocks=1, num_queries=5, num_register_tokens=1,
                        **{"id2label": NAMES, **options})  # fmt: skip
    model = spread(EomtForUniversalSegmentation(config))
    model.attn_mask_probs.fill_(masked)
    return model


def oneformer(**options):
    torch.manual_seed(0)
    config = OneFormerConfig(
        backbone_config=SWIN, conv_dim=32, mask_dim=32, hidden_dim=32, encoder_feedforward_dim=16, encoder_layers=1,
        decoder_layers=2, query_dec_layers=1, num_attention_heads=2, dim_feedforward=16, num_queries=5,
        **{"id2label": NAMES, **options},
    )  # fmt: skip
    return spread(OneFormerForUniversalSegmentation(config))


MODELS = {"mask2former": mask2former, "eomt": eomt, "oneformer": oneformer}

"""Files as the authors of DMLNet and of RPL give them away: their names and shapes, light widths, random weights."""

import numpy as np
import torch
from safetensors.torch import save_file


class Layout:
    """Tensors by name, each added as its authors call it."""

    def __init__(self, seed=0):
        self.state, self.random = {}, torch.Generator().manual_seed(seed)

    def conv(self, name, out, inside, side, bias=False):
        # As wide as the sum over its inputs, so that what comes out is as large as what goes in.
        self.state[f"{name}.weight"] = self.normal(out, inside, side, side) / (inside * side * side / 2) ** 0.5
        if bias:
            self.state[f"{name}.bias"] = self.normal(out)

    def norm(self, name, channels, synchronised=False):
        self.state[f"{name}.weight"] = 0.5 + self.uniform(channels)
        self.state[f"{name}.bias"] = 0.2 * self.normal(channels)
        self.state[f"{name}.running_mean"] = 0.2 * self.normal(channels)
        self.state[f"{name}.running_var"] = 0.5 + self.uniform(channels)
        if synchronised:
            self.state[f"{name}._tmp_running_mean"] = self.normal(channels)
            self.state[f"{name}._tmp_running_var"] = self.normal(channels)
            self.state[f"{name}._running_iter"] = torch.ones(1)
        else:
            self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def normal(self, *shape):
        return torch.randn(*shape, generator=self.random)

    def uniform(self, *shape):
        return torch.rand(*shape, generator=self.random)

    def resnet(self, prefix, blocks, width, inside, synchronised=False):
        for i, count in enumerate(blocks):
            narrow = width * 2**i
            for n in range(count):
                block = f"{prefix}layer{i + 1}.{n}"
                for k, (out, into, side) in enumerate(
                    ((narrow, inside, 1), (narrow, narrow, 3), (4 * narrow, narrow, 1)), 1
                ):
                    self.conv(f"{block}.conv{k}", out, into, side)
                    self.norm(f"{block}.bn{k}", out, synchronised)
                if n == 0:
                    self.conv(f"{block}.downsample.0", 4 * narrow, inside, 1)
                    self.norm(f"{block}.downsample.1", 4 * narrow, synchronised)
                inside = 4 * narrow
        return inside

    def deep_stem(self, width):
        for k, (out, inside) in enumerate(((width, 3), (width, width), (2 * width, width)), 1):
            self.conv(f"conv{k}", out, inside, 3)
            self.norm(f"bn{k}", out, True)

    def wide(self, blocks, width):
        self.conv("mod1.conv1", width, 3, 3)
        inside = width
        for i, count in enumerate(blocks):
            channels = [width * c for c in WIDE[i]]
            for n in range(count):
                block, into, sides = f"mod{i + 2}.block{n + 1}", inside, (1, 3, 1) if len(channels) == 3 else (3, 3)
                self.norm(f"{block}.bn1.0", inside)
                for k, (side, out) in enumerate(zip(sides, channels, strict=True), 1):
                    if k > 1:
                        self.norm(f"{block}.convs.bn{k}.0", into)
                    self.conv(f"{block}.convs.conv{k}", out, into, side)
                    into = out
                if n == 0:  # every first block changes the width
                    self.conv(f"{block}.proj_conv", into, inside, 1)
                inside = into
        return inside


def imagenet_file(path, kind, blocks, width=2):
    """Write a classifier of images whose encoder is "deep" (DMLNet's ResNet-50), "plain" or "wide"; return its tensors.

    A name that ends in .safetensors is a file of that kind, any other one of torch.
    """
    layout = Layout(6)
    if kind == "wide":
        inside = layout.wide(blocks, width)
        layout.norm("bn_out.0", inside)
        layout.conv("classifier.fc", 5, inside, 1, bias=True)
    else:
        if kind == "deep":
            layout.deep_stem(width)
        else:
            layout.conv("conv1", width, 3, 7)
            layout.norm("bn1", width)
        layout.conv("fc", 5, layout.resnet("", blocks, width, width * (2 if kind == "deep" else 1)), 1, bias=True)
    if path.suffix == ".safetensors":
        save_file(layout.state, path)
    else:
        # As a training on several GPUs stores it.
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in layout.state.items()}}, path)
    return layout.state


def psp_files(folder, classes=13, width=2, narrow=4, blocks=(1, 2, 2, 2)):
    """Write DMLNet's two files for StreetHazards into ``folder``; return their tensors, the encoder's first."""
    encoder, decoder = Layout(1), Layout(2)
    encoder.deep_stem(width)
    deep = encoder.resnet("", blocks, width, 2 * width, True)
    for i in range(4):
        decoder.conv(f"ppm.{i}.1", narrow, deep, 1)
        decoder.norm(f"ppm.{i}.2", narrow, True)
    decoder.conv("cbr_deepsup.0", deep // 4, deep // 2, 3)
    decoder.norm("cbr_deepsup.1", deep // 4, True)
    decoder.conv("conv_last.0", narrow, deep + 4 * narrow, 3)
    decoder.norm("conv_last.1", narrow, True)
    decoder.conv("conv_last.4", classes, narrow, 1, bias=True)
    decoder.conv("conv_last_deepsup", classes, deep // 4, 1, bias=True)
    for name, layout in (("encoder_epoch_20.pth", encoder), ("decoder_epoch_20.pth", decoder)):
        torch.save(layout.state, folder / name)
    return encoder.state, decoder.state


def deeplab_file(path, classes=19, learned=0, width=2, narrow=4, low=3, blocks=(1, 1, 2, 2)):
    """Write DMLNet's file for Cityscapes, with the heads of ``learned`` classes; return its tensors."""
    layout = Layout(3)
    layout.conv("backbone.conv1", width, 3, 7)
    layout.norm("backbone.bn1", width)
    deep = layout.resnet("backbone.", blocks, width, width)
    for i in range(learned + 1):
        head = f"classifier_{i}" if i else "classifier"
        layout.conv(f"{head}.project.0", low, 4 * width, 1)
        layout.norm(f"{head}.project.1", low)
        for k in range(4):
            layout.conv(f"{head}.aspp.convs.{k}.0", narrow, deep, 3 if k else 1)
            layout.norm(f"{head}.aspp.convs.{k}.1", narrow)
        layout.conv(f"{head}.aspp.convs.4.1", narrow, deep, 1)
        layout.norm(f"{head}.aspp.convs.4.2", narrow)
        layout.conv(f"{head}.aspp.project.0", narrow, 5 * narrow, 1)
        layout.norm(f"{head}.aspp.project.1", narrow)
        layout.conv(f"{head}.classifier.0", narrow, narrow + low, 3)
        layout.norm(f"{head}.classifier.1", narrow)
        layout.conv(f"{head}.classifier.3", classes + i, narrow, 1, bias=True)
        if i:
            weight, (alike, seed) = layout.state[f"{head}.classifier.3.weight"], NEAREST[i - 1]
            weight[-1] = weight[alike % classes] + 0.3 * Layout(seed).normal(narrow, 1, 1)
    beside = {"cur_itrs": 30000, "optimizer_state": {"state": {}, "param_groups": []}, "best_score": np.float64(0.7)}
    torch.save({**beside, "model_state": layout.state}, path)
    return layout.state


NEAREST = ((7, 21), (12, 32), (13, 23))
"""Of each head, the class that its random weights find most often, like which its own is, and a seed for how unlike it
is: so that in an image each head finds some of its own.
"""

WIDE = ((2, 2), (4, 4), (8, 8), (8, 16), (8, 16, 32), (16, 32, 64))


def rpl_file(path, classes=19, width=2, narrow=4, low=3, blocks=(1, 1, 2, 2, 1, 1), residual=True, projection=True):
    """Write RPL's file and return its tensors, without the prefix that they have there."""
    layout = Layout(4)
    inside = layout.wide(blocks, width)
    _rpl_pooling(layout, "aspp", inside, narrow)
    layout.conv("bot_fine", low, 2 * width, 1)
    layout.conv("bot_aspp", narrow, 5 * narrow, 1)
    for k, into in ((0, narrow + low), (3, narrow)):
        layout.conv(f"final.{k}", narrow, into, 3)
        layout.norm(f"final.{k + 1}", narrow)
    layout.conv("final.6", classes, narrow, 1)
    if residual:
        _rpl_pooling(layout, "residual_block.atten_aspp", inside, narrow)
        layout.conv("residual_block.bot_atten_aspp", narrow, 5 * narrow, 1)
        layout.conv("residual_block.atten_aspp_final", narrow + low, narrow, 1)
        if projection:
            layout.conv("residual_block.proj_head.proj.0", narrow + low, narrow, 1, bias=True)
    torch.save({"model": {f"branch1.{name}": tensor for name, tensor in layout.state.items()}}, path)
    return layout.state


def _rpl_pooling(layout, name, inside, narrow):
    for k in range(4):
        layout.conv(f"{name}.features.{k}.0", narrow, inside, 3 if k else 1)
        layout.norm(f"{name}.features.{k}.1", narrow)
    layout.conv(f"{name}.img_conv.0", narrow, inside, 1)
    layout.norm(f"{name}.img_conv.1", narrow)

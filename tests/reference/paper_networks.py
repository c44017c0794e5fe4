"""The networks of DMLNet and of RPL in float64, from the tensors of their authors' files alone: no module.

Images are normalised by the mean and deviation of ImageNet.
"""

import torch
import torch.nn.functional as F

from tests.reference.light_networks import conv, norm


def line(inside, out, align):
    """Return (out, inside): linear interpolation in a line, whose corner points meet (``align``) or its edges do."""
    weights = torch.zeros(out, inside, dtype=torch.float64)
    for i in range(out):
        place = i * (inside - 1) / max(1, out - 1) if align else (i + 0.5) * inside / out - 0.5
        place = min(max(place, 0.0), inside - 1.0)
        before = int(place)
        weights[i, before] += before + 1 - place
        if before + 1 < inside:
            weights[i, before + 1] += place - before
    return weights


def enlarged(x, size, align=False):
    rows, columns = (line(n, m, align) for n, m in zip(x.shape[-2:], size, strict=True))
    return torch.einsum("ih,bchw,jw->bcij", rows, x, columns)


def binned(x, bins):
    """Return the means over bins x bins parts, of which neighbours share a cell where the size is no multiple."""
    height, width = x.shape[-2:]
    rows = [slice(i * height // bins, -(-(i + 1) * height // bins)) for i in range(bins)]
    columns = [slice(i * width // bins, -(-(i + 1) * width // bins)) for i in range(bins)]
    return torch.stack([torch.stack([x[..., r, c].mean((-2, -1)) for c in columns], -1) for r in rows], -2)


def with_bias(state, name, x):
    return conv(state, name, x) + state[f"{name}.bias"].double().view(1, -1, 1, 1)


def filtered(state, conv_name, norm_name, x, stride=1, dilation=1):
    return norm(state, norm_name, conv(state, conv_name, x, stride, dilation)).relu()


def maximum(x):
    """Of 3 x 3, every second one."""
    return F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=-torch.inf), 3, 2)


# Of each layer: stride, dilation of the first 3x3, dilation of the others.
AT_8 = ((1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 4))
AT_16 = ((1, 1, 1), (2, 1, 1), (2, 1, 1), (1, 1, 2))


def resnet(state, x, layers):
    """Return the maps of the four layers, from what leaves the stem."""
    maps = []
    for i, (stride, first, other) in enumerate(layers, 1):
        n = 0
        while f"layer{i}.{n}.conv1.weight" in state:
            name, step, dilation = f"layer{i}.{n}", stride if n == 0 else 1, first if n == 0 else other
            y = filtered(state, f"{name}.conv1", f"{name}.bn1", x)
            y = filtered(state, f"{name}.conv2", f"{name}.bn2", y, step, dilation)
            y = norm(state, f"{name}.bn3", conv(state, f"{name}.conv3", y))
            if n == 0:
                x = norm(state, f"{name}.downsample.1", conv(state, f"{name}.downsample.0", x, step))
            x, n = (x + y).relu(), n + 1
        maps.append(x)
    return maps


def deep_resnet(state, x):
    """Return the maps of the four layers behind a deep stem, the last two at stride 8."""
    for k, stride in ((1, 2), (2, 1), (3, 1)):
        x = filtered(state, f"conv{k}", f"bn{k}", x, stride)
    return resnet(state, maximum(x), AT_8)


def plain_resnet(state, image):
    """Return the maps of the four layers behind a 7x7, the last at stride 16."""
    return resnet(state, maximum(filtered(state, "conv1", "bn1", image, 2)), AT_16)


def dmlnet_psp(encoder, decoder, image):
    """Return the embedding at stride 8 (Cen et al., ICCV 2021, on Zhao et al., CVPR 2017)."""
    deep = deep_resnet(encoder, image)[-1]
    parts = [deep]
    for i, bins in enumerate((1, 2, 3, 6)):
        small = filtered(decoder, f"ppm.{i}.1", f"ppm.{i}.2", binned(deep, bins))
        parts.append(enlarged(small, deep.shape[-2:]))
    return with_bias(decoder, "conv_last.4", filtered(decoder, "conv_last.0", "conv_last.1", torch.cat(parts, 1)))


def dmlnet_deeplab(state, image, head="classifier"):
    """Return the embedding of a head at stride 4 (Cen et al., ICCV 2021, on Chen et al., ECCV 2018)."""
    body = {name.removeprefix("backbone."): value for name, value in state.items()}
    fine, *_, deep = plain_resnet(body, image)
    aspp = f"{head}.aspp"
    parts = [
        filtered(state, f"{aspp}.convs.{k}.0", f"{aspp}.convs.{k}.1", deep, 1, rate)
        for k, rate in enumerate((1, 6, 12, 18))
    ]
    mean = filtered(state, f"{aspp}.convs.4.1", f"{aspp}.convs.4.2", deep.mean((2, 3), keepdim=True))
    x = torch.cat([*parts, mean.expand_as(parts[0])], 1)
    x = enlarged(filtered(state, f"{aspp}.project.0", f"{aspp}.project.1", x), fine.shape[-2:])
    x = torch.cat([filtered(state, f"{head}.project.0", f"{head}.project.1", fine), x], 1)
    x = filtered(state, f"{head}.classifier.0", f"{head}.classifier.1", x)
    return with_bias(state, f"{head}.classifier.3", x)


def wide_resnet(state, image):
    """Return the maps of mod2, mod3, mod5 and mod7 (Wu, Shen & van den Hengel, 2016, dilated to stride 8)."""

    def block(name, x, stride, dilation):
        y = normed = norm(state, f"{name}.bn1.0", x).relu()
        k = 1
        while f"{name}.convs.conv{k}.weight" in state:
            if k > 1:
                y = norm(state, f"{name}.convs.bn{k}.0", y).relu()
            side = state[f"{name}.convs.conv{k}.weight"].shape[-1]
            y = conv(state, f"{name}.convs.conv{k}", y, stride if k == 1 else 1, dilation if side == 3 else 1)
            k += 1
        return y + (conv(state, f"{name}.proj_conv", normed, stride) if f"{name}.proj_conv.weight" in state else x)

    def module(number, x, stride=1, dilation=1):
        n = 1
        while f"mod{number}.block{n}.bn1.0.weight" in state:
            x, n = block(f"mod{number}.block{n}", x, stride if n == 1 else 1, dilation), n + 1
        return x

    fine = module(2, maximum(conv(state, "mod1.conv1", image)))
    third = module(3, maximum(fine))
    fifth = module(5, module(4, third, stride=2), dilation=2)
    return [fine, third, fifth, module(7, module(6, fifth, dilation=4), dilation=4)]


def rpl_network(state, image):
    """Return the frozen logits and those with the residual, at the image's size (Liu et al., ICCV 2023)."""

    def pooled(name, x):
        """The mean over the image comes first."""
        mean = filtered(state, f"{name}.img_conv.0", f"{name}.img_conv.1", x.mean((2, 3), keepdim=True))
        parts = [
            filtered(state, f"{name}.features.{k}.0", f"{name}.features.{k}.1", x, 1, rate)
            for k, rate in enumerate((1, 12, 24, 36))
        ]
        return torch.cat([mean.expand_as(parts[0]), *parts], 1)

    def final(x):
        x = filtered(state, "final.3", "final.4", filtered(state, "final.0", "final.1", x))
        return enlarged(conv(state, "final.6", x), image.shape[-2:], align=True)

    fine, *_, deep = wide_resnet(state, image)
    size = fine.shape[-2:]
    low = enlarged(conv(state, "bot_aspp", pooled("aspp", deep)), size, align=True)
    d = torch.cat([conv(state, "bot_fine", fine), low], 1)
    if "residual_block.bot_atten_aspp.weight" not in state:
        return final(d), None
    pattern = conv(state, "residual_block.bot_atten_aspp", pooled("residual_block.atten_aspp", deep))
    residual = conv(state, "residual_block.atten_aspp_final", enlarged(pattern, size, align=True))
    return final(d), final(d + residual)

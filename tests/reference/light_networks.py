"""DABNet and FDDWNet in float64, from the tensors of a published file alone: no module, no padding that is derived."""

import torch
import torch.nn.functional as F


def _of(state, name):
    return torch.as_tensor(state[name], dtype=torch.float64)


def norm(state, name, x):
    mean, variance, gain, offset = (
        _of(state, f"{name}.{what}").view(1, -1, 1, 1) for what in ("running_mean", "running_var", "weight", "bias")
    )
    return gain * (x - mean) / (variance + 1e-5) ** 0.5 + offset


def prelu(state, name, x):
    return torch.where(x > 0, x, _of(state, f"{name}.activation.weight") * x)


def conv(state, name, x, stride=1, dilation=1):
    """A convolution whose output pixel i is centred on input pixel i * stride, with zeros beyond the image."""
    weight = _of(state, f"{name}.weight")
    rows, columns = (dilation * (side // 2) for side in weight.shape[-2:])
    x = F.pad(x, (columns, columns, rows, rows))
    return F.conv2d(x, weight, stride=stride, dilation=dilation, groups=x.shape[1] // weight.shape[1])


def dabnet(state, image):
    """Logits at the centres of cells of stride 4 (Li et al., BMVC 2019, Table 1), of the enlargement to all pixels."""

    def layer(name, x, stride=1, dilation=1):
        return prelu(state, f"{name}.2", norm(state, f"{name}.1", conv(state, f"{name}.0", x, stride, dilation)))

    def module(name, x, dilation):
        low = layer(f"{name}.init_conv", x)
        left = layer(f"{name}.left_branch.1", layer(f"{name}.left_branch.0", low))
        right = layer(f"{name}.right_branch.0", low, dilation=dilation)
        right = layer(f"{name}.right_branch.1", right, dilation=dilation)
        return layer(f"{name}.last_conv", left + right) + x

    small = [image]
    for _ in range(3):
        small.append(F.avg_pool2d(small[-1], 3, 2, 1, count_include_pad=True))
    x = layer("layer3", layer("layer2", layer("layer1", image, stride=2)))
    x = torch.cat([x, small[1]], 1)
    x = narrow = torch.cat([layer("layer4.conv", x, stride=2), F.max_pool2d(x, 3, 2, 1)], 1)
    for i in range(3):
        x = module(f"layer5_7.{i}", x, 2)
    x = narrow = layer("layer8", torch.cat([x, narrow, small[2]], 1), stride=2)
    for name, dilation in (("layer9_10", 4), ("layer11_12", 8), ("layer13_14", 16)):
        for i in range(2):
            x = module(f"{name}.{i}", x, dilation)
    x = conv(state, "layer15", torch.cat([x, narrow, small[3]], 1))
    rows, columns = (enlarged(n) for n in x.shape[-2:])
    return torch.einsum("ih,bchw,jw->bcij", rows, x, columns)


def enlarged(cells):
    """Return (2 cells, cells): linear interpolation in a line of 8 pixels a cell, which begins and ends at a centre."""
    weights = torch.zeros(2 * cells, cells, dtype=torch.float64)
    for i in range(2 * cells):
        place = (4 * i + 1.5) / (8 * cells - 1) * (cells - 1)
        before = min(int(place), cells - 2)
        weights[i, before], weights[i, before + 1] = before + 1 - place, place - before
    return weights


def fddwnet(state, image):
    """The last map before its ReLU, at the size of the image (Liu et al., 2020, Table 1)."""

    def layer(name, x, dilation=1):
        return norm(state, f"{name}.1", conv(state, f"{name}.0", x, 1, dilation))

    def down(name, x):
        filtered = norm(state, f"{name}.conv.1", conv(state, f"{name}.conv.0", x, 2)).relu()
        return torch.cat([filtered, F.max_pool2d(x, 3, 2, 1)], 1)

    def unit(name, x, dilation):
        y = layer(f"{name}.conv.2", layer(f"{name}.conv.1", layer(f"{name}.conv.0", x))).relu()
        y = layer(f"{name}.conv.4", layer(f"{name}.conv.3", y, dilation), dilation)
        return (layer(f"{name}.conv.5", y) + x).relu()

    def units(name, x, dilations):
        for i, dilation in enumerate(dilations):
            x = unit(f"{name}.{i}", x, dilation)
        return x

    def up(name, x):
        """Pixel i of the input is spread over output pixels 2 i - 1 to 2 i + 1."""
        weight, bias = _of(state, f"{name}.up_conv.0.weight"), _of(state, f"{name}.up_conv.0.bias")
        spread = x.new_zeros(len(x), weight.shape[1], 2 * x.shape[2] + 1, 2 * x.shape[3] + 1)
        for i in range(3):
            for j in range(3):
                part = torch.einsum("bchw,cd->bdhw", x, weight[:, :, i, j])
                spread[:, :, i : i + 2 * x.shape[2] : 2, j : j + 2 * x.shape[3] : 2] += part
        return norm(state, f"{name}.up_conv.1", spread[:, :, 1:, 1:] + bias.view(1, -1, 1, 1))

    fine = units("layer3_7", down("layer2", down("layer1", image)), (1, 1, 1, 1, 1))
    x = units("layer9_16", down("layer8", fine), (1, 2, 5, 9, 1, 2, 5, 9))
    x = units("layer17_24", x, (2, 5, 9, 17, 2, 5, 9, 17))
    x = units("layer26_27", up("layer25", x).relu(), (1, 1)) + fine
    return up("layer31", units("layer29_30", up("layer28", x).relu(), (1, 1)))

"""EfficientNet-Lite in NumPy and float64, from the tensors of a published file: no layer of PyTorch, no module."""

import numpy as np

STRIDES = (1, 2, 2, 2, 1, 2, 1)
"""Of the first block of each of the seven groups (Tan & Le, 2019, Table 1)."""


def forward(state, image, repeats):
    """Return the logits (B, classes), and the last map of each group, of an image (B, 3, H, W) in [-1, 1].

    ``state`` has the published names, ``repeats`` the number of blocks of each group.
    """
    state = {name: np.asarray(value, np.float64) for name, value in state.items()}
    x = relu6(norm(conv(np.asarray(image, np.float64), state["_conv_stem.weight"], 2), state, "_bn0"))
    number, maps = 0, []
    for stride, count in zip(STRIDES, repeats, strict=True):
        for n in range(count):
            x = block(x, state, f"_blocks.{number}.", stride if n == 0 else 1)
            number += 1
        maps.append(x)
    x = relu6(norm(conv(x, state["_conv_head.weight"], 1), state, "_bn1"))
    return x.mean((2, 3)) @ state["_fc.weight"].T + state["_fc.bias"], maps


def block(x, state, name, stride):
    """Widen (but in the first group), filter each channel alone, narrow; add the input where the shape allows."""
    y = x
    if f"{name}_expand_conv.weight" in state:
        y = relu6(norm(conv(y, state[f"{name}_expand_conv.weight"], 1), state, f"{name}_bn0"))
    y = relu6(norm(conv(y, state[f"{name}_depthwise_conv.weight"], stride), state, f"{name}_bn1"))
    y = norm(conv(y, state[f"{name}_project_conv.weight"], 1), state, f"{name}_bn2")
    return x + y if stride == 1 and x.shape == y.shape else y


def conv(x, weight, stride):
    """TensorFlow's "same" padding: pixel i of the ceil(n / stride) covers the inputs from i * stride - before on."""
    size, k = x.shape[2:], weight.shape[-1]
    out = [-(-n // stride) for n in size]
    # All zeros that are needed, halved; where they are odd, the one more is at the end.
    before = [max((o - 1) * stride + k - n, 0) // 2 for o, n in zip(out, size, strict=True)]
    canvas = np.zeros((*x.shape[:2], size[0] + 2 * k, size[1] + 2 * k))
    canvas[:, :, k : k + size[0], k : k + size[1]] = x
    total = 0.0
    for a in range(k):
        for b in range(k):
            top, left = k - before[0] + a, k - before[1] + b
            seen = canvas[:, :, top : top + stride * out[0] : stride, left : left + stride * out[1] : stride]
            if weight.shape[1] == 1 and x.shape[1] > 1:  # each channel alone
                total = total + seen * weight[:, 0, a, b, None, None]
            else:
                total = total + np.einsum("bihw,oi->bohw", seen, weight[:, :, a, b])
    return total


def norm(x, state, name):
    """Batch normalisation by the running statistics, epsilon 1e-3."""
    mean, var, weight, bias = (
        state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(var + 1e-3) * weight + bias


def relu6(x):
    """Clip to [0, 6]."""
    return np.clip(x, 0, 6)

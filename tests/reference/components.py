"""SegmentMeIfYouCan's component metrics from the set formulas of arXiv:2104.14812, section 4, pixel by pixel."""

from fractions import Fraction


def components(pixels):
    """The 8-connected components of a set of (i, j), as sets."""
    left, found = set(pixels), []
    while left:
        component, border = set(), [min(left)]
        left.discard(border[0])
        while border:
            i, j = border.pop()
            component.add((i, j))
            for near in [(i + di, j + dj) for di in (-1, 0, 1) for dj in (-1, 0, 1)]:
                if near in left:
                    left.discard(near)
                    border.append(near)
        found.append(component)
    return found


def matched(is_predicted, target, least_predicted, least_truth):
    """sIoU of every ground-truth component and PPV of every predicted one, as fractions."""
    grid = [(i, j) for i in range(len(target)) for j in range(len(target[0]))]
    void = {z for z in grid if target[z] == 255}
    objects = components(z for z in grid if target[z] == 254)
    predicted = components(z for z in grid if is_predicted[z] and z not in void)
    predicted = [p for p in predicted if len(p) >= least_predicted]
    void = set().union(*[k for k in objects if len(k) < least_truth])
    objects = [k for k in objects if len(k) >= least_truth]
    predicted = [p - void for p in predicted if p - void]
    siou, ppv = [], []
    for number, k in enumerate(objects):
        touching = set().union(*[p for p in predicted if p & k])
        others = set().union(*[o for n, o in enumerate(objects) if n != number])
        siou.append(Fraction(len(k & touching), len((k | touching) - others)))
    for p in predicted:
        ppv.append(Fraction(len(p & set().union(*objects)), len(p)))
    return siou, ppv


def metrics(images, least_predicted, least_truth, strict=False):
    """Mean sIoU, mean PPV, mean F1 (None where undefined) and the counts of TP and FP by tau, components pooled."""
    siou, ppv = [], []
    for is_predicted, target in images:
        s, p = matched(is_predicted, target, least_predicted, least_truth)
        siou += s
        ppv += p
    tps, fps, f1 = [], [], []
    for percent in range(25, 80, 5):
        tau = Fraction(percent, 100)
        tp = sum(s > tau if strict else s >= tau for s in siou)
        fp = sum(p <= tau if strict else p < tau for p in ppv)
        fn = len(siou) - tp
        tps.append(tp)
        fps.append(fp)
        f1.append(Fraction(2 * tp, 2 * tp + fn + fp) if siou or ppv else None)
    return {
        "siou": sum(siou) / len(siou) if siou else None,
        "ppv": sum(ppv) / len(ppv) if ppv else None,
        "f1": sum(f1) / len(f1) if siou or ppv else None,
        "ground_truths": len(siou),
        "predicted": len(ppv),
        "tp": tuple(tps),
        "fp": tuple(fps),
    }

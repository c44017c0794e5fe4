"""DMLNet's released operating point, threshold by threshold: the oracle of ``owseg.metrics.pixel``'s "nearest"."""


def fpr_nearest(score, outlier, recall=0.95):
    """Return the false-positive rate where the recall is nearest to ``recall``; every score is a threshold.

    ``score`` and ``outlier`` are (n,): a pixel is called unknown where its score is at least the threshold. From the
    highest threshold on, up to the first at which all outliers are found; these are then gone through backwards, so
    that among equal gaps, taken in float64, the lowest threshold wins.
    """
    pairs = sorted(zip(map(float, score), map(bool, outlier), strict=True), reverse=True)
    positives = sum(o for _, o in pairs)
    curve, tps, fps = [], 0, 0
    for number, (value, is_outlier) in enumerate(pairs):
        tps, fps = tps + is_outlier, fps + (not is_outlier)
        if number + 1 < len(pairs) and pairs[number + 1][0] == value:
            continue
        curve.append((tps / positives, fps))
        if tps == positives:
            break
    best, at = None, 0
    for share, false in reversed(curve):
        if best is None or abs(share - recall) < best:
            best, at = abs(share - recall), false
    return at / (len(pairs) - positives)

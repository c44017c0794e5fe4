"""Which pixels a published protocol counts, its thresholds and its windows: literal loops, one value each."""

from __future__ import annotations

from math import ceil

ANOMALIES = {2: (16, 17, 18), 1: (16, 17)}
"""Train ids of the anomalous classes of BDD-Anomaly, by version: 16 train, 17 motorcycle, 18 bicycle."""


def bdd_anomaly_splits(trees, version):
    """(names of train, val, test) of ``trees``: {"train": {name: rows of train ids}, "val": ...}."""
    splits = {"train": [], "val": [], "test": []}
    for part in ("train", "val"):
        for name in sorted(trees[part]):
            anomalous = False
            for row in trees[part][name]:
                for value in row:
                    if value in ANOMALIES[version]:
                        anomalous = True
            splits["test" if anomalous else part].append(f"{part}/{name}")
    return splits


def last_frames(frames):
    """The ids of the last labelled frame of each sequence; ``frames`` is {(scene, sequence, time): rows of ids}."""
    best = {}
    for (scene, sequence, time), rows in frames.items():
        if any(value for row in rows for value in row) and time > best.get((scene, sequence), (-1,))[0]:
            best[scene, sequence] = (time,)
    return sorted((*sequence, time) for sequence, (time,) in best.items())


def first_above(scores, anomalous, rate=0.95):
    """The highest of ``scores`` at which more than ``rate`` of the anomalous pixels score as much or more."""
    total = sum(anomalous)
    for threshold in sorted(set(scores), reverse=True):
        found = sum(1 for score, is_one in zip(scores, anomalous, strict=True) if is_one and score >= threshold)
        if found / total > rate:
            return threshold
    return None


def halved(rows):
    """A score map (lists of rows, even sides) at half its size, bilinear: the mean of each two by two pixels."""
    return [
        [(rows[y][x] + rows[y][x + 1] + rows[y + 1][x] + rows[y + 1][x + 1]) / 4 for x in range(0, len(rows[0]), 2)]
        for y in range(0, len(rows), 2)
    ]


def open_miou(images, classes, threshold):
    """The mean IoU of the known ``classes`` at ``threshold``; ``images`` are lists of (score, label, target).

    A target is the name of a class, "anomaly" or "void"; a pixel is predicted as unknown where its score is above.
    """
    ious = []
    for name in classes:
        both, either = 0, 0
        for image in images:
            for score, label, target in image:
                if target == "void":
                    continue
                predicted = "unknown" if score > threshold else label
                both += predicted == name and target == name
                either += predicted == name or target == name
        ious.append(both / either)
    return sum(ious) / len(ious)


def windows(length, side, step):
    """(start, end) of windows as RPL's code places them along a side; the last ends at the edge."""
    if length <= side:
        return [(0, length)]
    found = []
    for i in range(ceil((length - side) / step) + 1):
        end = min(i * step + side, length)
        found.append((end - side, end))
    return found


def in_16_bits(score, threshold, unit):
    """A score as it is handed in to SegmentMeIfYouCan: from the threshold in units, where float16 can hold it."""
    scaled = (score - threshold) / unit
    return 65504.0 if scaled > 65504 else -65504.0 if scaled < -65504 else scaled

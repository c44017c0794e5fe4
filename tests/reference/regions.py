"""Connected pieces by flooding, run lengths by counting, boxes pixel by pixel."""

import numpy as np


def flood(mask, start, visited):
    """The 4-connected pixels of ``mask`` from ``start`` on."""
    stack, found = [start], []
    while stack:
        i, j = stack.pop()
        if 0 <= i < mask.shape[0] and 0 <= j < mask.shape[1] and mask[i, j] and not visited[i, j]:
            visited[i, j] = True
            found.append((i, j))
            stack += [(i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)]
    return found


def pieces(mask):
    """All 4-connected pieces, as lists of pixels, in reading order of their first pixels."""
    visited = np.zeros(mask.shape, bool)
    return [flood(mask, at, visited) for at in np.ndindex(*mask.shape) if mask[at] and not visited[at]]


def components(unknown, least):
    """Holes of fewer than ``least`` pixels that touch no border are filled, then small pieces are dropped."""
    filled = unknown.copy()
    h, w = unknown.shape
    for hole in pieces(~unknown):
        inside = all(0 < i < h - 1 and 0 < j < w - 1 for i, j in hole)
        if inside and len(hole) < least:
            for at in hole:
                filled[at] = True
    return [piece for piece in pieces(filled) if len(piece) >= least]


def run_lengths(mask):
    """COCO's uncompressed counts: down the columns, off first."""
    counts, now, length = [], False, 0
    for j in range(mask.shape[1]):
        for i in range(mask.shape[0]):
            if bool(mask[i, j]) != now:
                counts.append(length)
                now, length = not now, 0
            length += 1
    return [*counts, length]


def box(pixels):
    """x, y, width, height of a list of pixels."""
    rows, columns = [i for i, _ in pixels], [j for _, j in pixels]
    return min(columns), min(rows), max(columns) - min(columns) + 1, max(rows) - min(rows) + 1

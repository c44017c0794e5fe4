"""A queue as owseg 0.1.0 wrote it, file by file."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from owseg._files import file_sha256
from owseg.discovery.contents import image_id_of
from owseg.discovery.queue import Queue
from tests.support.queues import IDS, SIZE, make, square

CORRECTED = square(9, 9, 3)
TIME = "2026-01-02T03:04:05+00:00"


def counts(mask: np.ndarray) -> dict[str, Any]:
    """Run lengths, column by column, off first."""
    runs = [(on, len([*several])) for on, several in groupby(mask.T.ravel().tolist())]
    return {"size": list(mask.shape), "counts": [0] * runs[0][0] + [length for _, length in runs]}


def region(mask: np.ndarray, box: list[int], core: np.ndarray | None = None) -> dict[str, Any]:
    core = mask if core is None else core
    return {"mask": counts(mask), "core": counts(core), "box": box, "area": int(mask.sum()), "mean": 2.0, "peak": 3.0,
            "nearest": "road", "distance": 1.5}  # fmt: skip


def write(place: Path) -> Queue:
    """What owseg 0.1.0 wrote of the queue that ``make`` makes, with some decisions, and a choice of shots."""
    made = make(place)
    folder = made.folder
    photos, unknown = place / "photos", np.zeros((2, *SIZE), bool)
    unknown[:, 20, 2:5] = True
    for path in (folder / "queue.db", folder / ".lock"):
        path.unlink()
    about = {"kb": "kb", "fingerprint": "0" * 16, "classes": ["road", "sky"], "root": str(photos), "min_area": 0.01}
    (folder / "queue.json").write_text(json.dumps({"format": 1, **about, "split_at": 0.5}))
    regions = (
        [region(square(2, 2), [2, 2, 6, 6], square(2, 2) & (np.arange(SIZE[1]) < 7)),
         region(square(2, 12, 5), [12, 2, 5, 5]), region(square(14, 20, 4), [20, 14, 4, 4])],
        [region(square(8, 8, 8), [8, 8, 8, 8])],
    )  # fmt: skip
    unknown[0] |= square(2, 2) | square(2, 12, 5) | square(14, 20, 4)
    unknown[1] |= square(8, 8, 8)
    (folder / "pictures").mkdir()
    for i, (name, own) in enumerate(zip(("p0.png", "p1.png"), regions, strict=True)):
        image = folder / "pictures" / image_id_of(name)
        np.save(image.with_suffix(".npy"), np.tile(np.array([1, 0], np.float32), (len(own), 1)))
        value = {"format": 1, "name": name, "sha256": file_sha256(photos / name), "size": list(SIZE)}
        image.with_suffix(".json").write_text(json.dumps({**value, "unknown": counts(unknown[i]), "regions": own}))
    groups = [{"regions": [IDS[0], IDS[3]], "copies": {IDS[0]: [IDS[1]]}, "priority": 2.5},
              {"regions": [IDS[2]], "copies": {}, "worth": 1}]  # fmt: skip
    (folder / "groups.json").write_text(json.dumps({"format": 1, "groups": groups}))
    actions = [
        {"do": "accept", "regions": [IDS[0], IDS[1]], "name": "dgo", "when": TIME},
        {"do": "accept", "regions": [IDS[3]], "name": "dgo", "mask": counts(CORRECTED), "when": TIME},
        {"do": "rename", "regions": [IDS[0], IDS[3]], "name": "dog", "when": TIME},
        {"do": "reject", "regions": [IDS[2]], "name": "none"},
        {"do": "known", "regions": [IDS[2]], "name": "sky", "when": TIME},
        {"do": "undo", "regions": [], "when": TIME},
    ]  # fmt: skip
    lines = "".join(json.dumps(action) + "\n" for action in actions)
    (folder / "decisions.jsonl").write_text(lines + '{"do": "accept", "regi')  # the last was never confirmed
    (folder / "shots.json").write_text(json.dumps({"dog": [IDS[3][:16]], "cat": []}))
    return Queue.open(folder)

"""What the mean of several networks' embeddings gains: mIoU of each and of the mean, on CamVid.

    export OWSEG_DATA=DIR                                          # DIR/camvid
    python -m recipes.average street-inliers street@1              # or other knowledge bases with prototypes

Prototypes of the same classes span the same space, whatever was trained towards them, so embeddings can be averaged.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from owseg.data.datasets import open_dataset
from owseg.errors import OwsegError
from owseg.knowledge.load import load
from owseg.metrics.iou import IoU
from owseg.models.ops import resize
from owseg.openset import closed_map
from recipes.tables import markdown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kbs", nargs="+", metavar="KB")
    parser.add_argument("--split", default="test")
    parser.add_argument("--every", type=int, default=1, help="only every n-th image")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("OWSEG_DATA", "data")))
    args = parser.parse_args()
    kbs = [load(name) for name in args.kbs]
    one = kbs[0]
    if not all(kb.labels == one.labels and kb.network.is_metric for kb in kbs):
        raise OwsegError("all need prototypes of the same classes.")
    data = open_dataset(f"camvid:{args.data}/camvid", args.split, one.labels)
    found = {name: IoU.of(one.labels.names) for name in (*args.kbs, "mean")}
    for i in range(0, len(data), args.every):
        sample = data[i]
        embeddings = [resize(kb.forward(sample.image).embedding, sample.target.shape) for kb in kbs]
        for name, embedding in zip(found, (*embeddings, sum(embeddings) / len(kbs)), strict=True):
            labels = closed_map(one.network.classify(embedding))[0].to(torch.uint8).numpy()
            found[name] = found[name].update(labels, sample.target)
    markdown("Embeddings averaged", ("network", "mIoU"), [(n, f"{iou.mean():.3f}") for n, iou in found.items()])


if __name__ == "__main__":
    main()

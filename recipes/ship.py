"""Copy trained knowledge bases into the package, one version of each.

python -m recipes.ship synthetic=runs/synthetic street-inliers=runs/backbones/efficientnet-lite0-frozen-11-0
python -m recipes.ship street=runs/backbones/efficientnet-lite0-frozen-outliers-11-0     # and with 8 for 11
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from owseg._files import read_json
from owseg.knowledge.load import load
from owseg.knowledge.pretrained import SHIPPED
from owseg.knowledge.versions import read_version

LIMIT = 10e6


def is_slim(source: str) -> bool:
    """Return whether the current version of ``source`` names its backbone."""
    return "backbone" in read_json(read_version(source)[1] / "knowledge.json")


def main() -> None:
    for pair in sys.argv[1:]:
        name, _, source = pair.partition("=")
        with tempfile.TemporaryDirectory() as place:
            aside = Path(place) / name
            load(source).save(aside, slim=is_slim(source))
            (aside / ".lock").unlink(missing_ok=True)
            size = sum(f.stat().st_size for f in aside.rglob("*") if f.is_file())
            print(f"{name}: {size / 1e6:.1f} MB")
            assert size < LIMIT, "too large to ship"
            shutil.rmtree(SHIPPED / name, ignore_errors=True)
            shutil.copytree(aside, SHIPPED / name)


if __name__ == "__main__":
    main()

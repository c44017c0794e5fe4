"""Copy trained knowledge bases into the package, one version of each.

python -m recipes.ship synthetic=runs/synthetic street8=runs/camvid/prototype-0
python -m recipes.ship street=runs/camvid/prototype-car-pedestrian-bicyclist-0
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from owseg.knowledge.load import load
from owseg.knowledge.pretrained import SHIPPED

LIMIT = 10e6


def main() -> None:
    for pair in sys.argv[1:]:
        name, _, source = pair.partition("=")
        with tempfile.TemporaryDirectory() as place:
            aside = Path(place) / name
            load(source).save(aside)
            (aside / ".lock").unlink(missing_ok=True)
            size = sum(f.stat().st_size for f in aside.rglob("*") if f.is_file())
            print(f"{name}: {size / 1e6:.1f} MB")
            assert size < LIMIT, "too large to ship"
            shutil.rmtree(SHIPPED / name, ignore_errors=True)
            shutil.copytree(aside, SHIPPED / name)


if __name__ == "__main__":
    main()

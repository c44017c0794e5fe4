"""Put trained knowledge bases into the package.

python -m recipes.ship synthetic=runs/synthetic street8=runs/camvid/prototype-0
python -m recipes.ship street=runs/camvid/prototype-car-pedestrian-bicyclist-0
"""

from __future__ import annotations

import shutil
import sys

from owseg.knowledge import load
from owseg.shipped import SHIPPED

LIMIT = 10e6


def main() -> None:
    for pair in sys.argv[1:]:
        name, _, source = pair.partition("=")
        kb = load(source)
        shutil.rmtree(SHIPPED / name, ignore_errors=True)
        kb.save(SHIPPED / name)
        (SHIPPED / name / ".lock").unlink(missing_ok=True)
        size = sum(f.stat().st_size for f in (SHIPPED / name).rglob("*") if f.is_file())
        print(f"{name}: {size / 1e6:.1f} MB")
        assert size < LIMIT, "too large to ship"


if __name__ == "__main__":
    main()

import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data, where it is at hand: $OWSEG_DATA, or ../shared/data beside the checkout."""
    place = Path(os.environ.get("OWSEG_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (place / "camvid" / "test").is_dir():
        pytest.skip(f"no CamVid in {place}; set OWSEG_DATA")
    return place

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.support import tiny


@pytest.fixture
def places(own_data, tmp_path):
    """Cut-outs of rocks and of hens, and a data set in which rock is not known."""
    (tmp_path / "objects").mkdir()
    for i, name in enumerate(("rock", "rock", "hen", "hen")):
        rgba = np.dstack([tiny.image(i, (48, 48)).transpose(1, 2, 0), np.full((48, 48), 255, np.uint8)])
        Image.fromarray(rgba).save(tmp_path / "objects" / f"{name}_{i}.png")
    return tmp_path / "objects", own_data


def test_outliers_that_a_test_set_shows_are_named(run_cli, fails, stored_kb, places):
    command = ("audit", stored_kb, places[0], "--data", places[1])
    code, out, err = run_cli(*command)
    assert code == 0, err
    assert "By name: rock." in out and "--exclude" in out and "similarity" in out
    value = json.loads(run_cli(*command, "--json")[1])
    assert value["by_name"] == ["rock"]
    shutil.rmtree(places[0])
    assert str(places[0]) in fails(*command)

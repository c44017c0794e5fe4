import json

import numpy as np
import pytest
from PIL import Image

from owseg.data import open_source
from owseg.data.images import by_stem
from owseg.data.outliers import open_outliers
from owseg.data.pictures import plain
from owseg.errors import OwsegError
from owseg.labels import LabelSpace
from owseg.learners import shots_in


def save(path, values, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("folders", "reader"),
    [
        (("images", "masks"), lambda place: open_source(f"folder:{place}", "test")),
        (("test", "testannot"), lambda place: open_source(f"camvid:{place}", "test")),
        (("images", "labels_masks"), lambda place: open_source(f"roadanomaly:{place}", "test")),
        (("images", "masks"), shots_in),
        (("images", "masks"), open_outliers),
        ((".",), open_outliers),
        ((".",), lambda place: plain(place, LabelSpace.of(["road"]))),
    ],
)
def test_two_files_of_one_name_are_refused(tmp_path, folders, reader):
    (tmp_path / "classes.json").write_text(json.dumps(["road", "car"]))
    for folder in folders:
        save(tmp_path / folder / "a.png", np.eye(6, 8))
    reader(tmp_path)
    save(tmp_path / folders[0] / "a.jpg", np.ones((6, 8)))
    with pytest.raises(OwsegError, match=r"a\.(jpg|png) and .*a\.(jpg|png) go by one name, 'a'; rename or remove one"):
        reader(tmp_path)


def test_files_are_found_by_their_stems(tmp_path):
    for name in ("b.PNG", "a.1.jpg", ".hidden.png"):
        save(tmp_path / name, np.zeros((2, 2)))
    assert by_stem(tmp_path) == {"a.1": tmp_path / "a.1.jpg", "b": tmp_path / "b.PNG"}

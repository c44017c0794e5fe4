"""Inlier images: a plain folder, or a split of a data set."""

import numpy as np
import pytest
from PIL import Image

from owseg.data.unlabeled import hold_out, open_inliers
from owseg.errors import OwsegError
from owseg.labels import KNOWN, LabelSpace
from tests.support import tiny, trees

LABELS = LabelSpace.of(["road", "car"])


def test_a_folder_of_images_has_no_ground_truth(photos):
    for split in ("train", "nonsense"):
        data = open_inliers(str(photos), split, LABELS)
        assert [s.id for s in data] == ["p0", "p1", "p2"] and data.labels == LABELS
        assert all(s.target is None and np.array_equal(s.image, tiny.image(i)) for i, s in enumerate(data))


def test_a_data_set_is_opened_in_the_split_that_is_asked_for(tmp_path):
    trees.roadanomaly21(tmp_path)
    spec = f"roadanomaly21:{tmp_path}"
    val, test = (open_inliers(spec, split, LABELS) for split in ("val", "test"))
    assert (len(val), len(test)) == (2, 1) and val.labels == LABELS and (val[0].target == KNOWN).any()
    assert open_inliers("synthetic", "val", LABELS).source.name == "synthetic:val"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere", "nowhere does not exist; name a folder of images, or a data set such as camvid:DIR"),
        ("camvid", "camvid is in a folder; name the data set as camvid:DIR"),
        ("kitti:x", "there is no kind of data set 'kitti'"),
    ],
)
def test_what_is_neither_ends_in_one_sentence(spec, message):
    with pytest.raises(OwsegError, match=message):
        open_inliers(spec, "train", LABELS)


def test_every_eighth_is_held_out(tmp_path):
    for i in range(19):
        Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(tmp_path / f"{i:02d}.png")
    data = open_inliers(str(tmp_path), "train", LABELS)
    rest, held = hold_out(data)
    assert [s.id for s in held] == ["07", "15"] and len(rest) == 17
    assert sorted(s.id for part in (rest, held) for s in part) == [s.id for s in data]
    assert [s.id for s in hold_out(data, 10)[1]] == ["09"]
    with pytest.raises(OwsegError, match="has 19 images; give 20 or more, as one of 20 is kept"):
        hold_out(data, 20)

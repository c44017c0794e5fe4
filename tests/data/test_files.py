"""Images and masks that are read from files, and a part of them."""

import numpy as np
from PIL import Image

from owseg.data.files import Files
from owseg.data.images import read_mask


def test_a_part_reads_its_images_and_holds_no_other_path(tmp_path):
    places = [tmp_path / f"{i}.png" for i in range(4)]
    for i, place in enumerate(places):
        Image.fromarray(np.full((2, 3), i, np.uint8)).save(place)
    files = Files(places, [places[3], None, places[1], places[0]], lambda path: read_mask(path) + 10)
    part = files.pick([2, 1])
    assert [*part.images, *part.masks] == [places[2], places[1], places[1], None]
    for i, whole in enumerate((2, 1)):
        (image, mask), (same, other) = part(i), files(whole)
        assert np.array_equal(image, same) and image.shape == (3, 2, 3) and (image == whole).all()
        assert (mask is None) == (other is None) == (whole == 1)
        assert mask is None or ((mask == other).all() and (mask == 11).all())

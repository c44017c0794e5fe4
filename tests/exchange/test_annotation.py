"""An annotation is a name, a mask and an image; nothing else can be one."""

import numpy as np
import pytest

from owseg.errors import OwsegError
from owseg.exchange.annotation import Annotation
from owseg.exchange.formats import write
from tests.support.exports import MASK


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("", MASK, "a"), "cannot be the name of a class"),
        (("a\tb", MASK, "a"), "cannot be the name of a class"),
        (("a\ud800", MASK, "a"), "cannot be the name of a class"),
        (("a\x00", MASK, "a"), "cannot be the name of a class"),
        (("car", MASK, " "), "cannot be the name of an image"),
        (("car", MASK.astype(np.uint8), "a"), r"give \(H, W\) bool"),
        (("car", MASK[None], "a"), r"give \(H, W\) bool"),
        (("car", np.zeros((0, 5), bool), "a"), "cannot be"),
        (("car", MASK, "a", (1, 2)), "colour"),
        (("car", MASK, "a", (1, 2, -3)), "colour"),
    ],
)
def test_what_is_no_annotation(args, message):
    with pytest.raises(OwsegError, match=message):
        Annotation(*args)


def test_one_image_has_one_size(tmp_path):
    made = [Annotation("car", MASK, "a.png"), Annotation("cow", MASK.T, "a.png")]
    with pytest.raises(OwsegError, match=r"a\.png has masks of two sizes, 9x7 and 7x9"):
        write(made, tmp_path, "coco")

"""An annotation is a name, a mask and an image; nothing else can be one."""

import numpy as np
import pytest

from owseg.data.masks import Rle
from owseg.errors import OwsegError
from owseg.exchange.annotation import Annotation, by_class
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


def test_the_shapes_of_a_class_are_joined_once(monkeypatch):
    unions, union = [], Rle.union
    monkeypatch.setattr(Rle, "union", lambda self, *others: unions.append(len(others)) or union(self, *others))
    shapes = [("ab"[i % 2], Rle.placed(np.ones((1, 1), bool), i, 0, (20, 1))) for i in range(20)]
    first, second = by_class("p.png", shapes, {})
    assert (first.name, first.mask[:, 0].nonzero()[0].tolist()) == ("a", [*range(0, 20, 2)])
    assert second.mask.sum() == 10 and unions == [9, 9]

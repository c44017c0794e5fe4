"""Every format gives back what it was given: masks to the pixel, names, colours, images."""

import tempfile
import weakref

import numpy as np
import pytest
from hypothesis import given, settings

from owseg.errors import OwsegError
from owseg.exchange import FORMATS
from owseg.exchange.annotation import Annotation
from owseg.exchange.formats import read, recognise, write
from tests.support.shapes import NAMES, annotation_lists, as_tuples, masks

WRITERS = {name: entry.facts["suffix"] for name, entry in FORMATS.entries.items() if "suffix" in entry.facts}
"""The suffix of every format that can be written."""

FREE = ["coco", "cvat", "labelstudio"]
"""The formats in which masks may overlap."""


def back(annotations, kind):
    """Write annotations in a format and read them again."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(iter(annotations), folder, kind)
        assert path.name == f"annotations{WRITERS[kind]}"
        assert recognise(path) == kind
        assert recognise(folder) == kind
        return list(read(path))


def in_use(annotations):
    """Colours as they come back: one a class, and the first that is given counts."""
    return {a.name: a.color for a in annotations}


@pytest.mark.parametrize("kind", FREE)
@settings(max_examples=40, deadline=None)
@given(annotations=annotation_lists())
def test_what_goes_out_comes_back(kind, annotations):
    assert as_tuples(back(annotations, kind)) == as_tuples(annotations)


@settings(max_examples=40, deadline=None)
@given(
    annotations=annotation_lists([n for n in NAMES if ":" not in n and n[0] != "#" and n == n.strip()], overlap=False)
)
def test_a_zip_of_masks_gives_back_what_it_can_hold(annotations):
    colors = list(filter(None, in_use(annotations).values()))
    if (0, 0, 0) in colors or len(set(colors)) < len(colors):
        with pytest.raises(OwsegError, match="cannot tell them apart"):
            back(annotations, "cvat-masks")
        return
    returned = back(annotations, "cvat-masks")
    shown = [Annotation(a.name, a.mask, a.image[:-4], a.color) for a in annotations if a.mask.any()]
    assert sorted(as_tuples(returned, colors=False)) == sorted(as_tuples(shown, colors=False))
    assert all(in_use(annotations)[a.name] in (None, a.color) for a in returned)
    assert len(set(in_use(returned).values())) == len(in_use(returned))


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("size", [(7, 9), (64, 48), (1, 1), (1, 300), (300, 1)])
@pytest.mark.parametrize("shape", masks((7, 9)))
def test_hard_masks_come_back_to_the_pixel(kind, size, shape):
    if min(size) < 7:
        mask = masks((7, 9))[shape].ravel()[np.arange(size[0] * size[1]) % 63].reshape(size)
    else:
        mask = masks(size)[shape]
    returned = back([Annotation("car", mask, "a.png", (1, 2, 3))], kind)
    if kind == "cvat-masks" and not mask.any():
        assert returned == []
        return
    (a,) = returned
    assert np.array_equal(a.mask, mask) and a.mask.dtype == bool
    assert (a.name, a.color) == ("car", (1, 2, 3))


def test_a_large_mask_comes_back(tmp_path):
    """Runs longer than Label Studio's longest, 2^16 words."""
    mask = np.zeros((700, 900), bool)
    mask[300:, 5:] = True
    for kind in WRITERS:
        (a,) = read(write([Annotation("car", mask, "a.png")], tmp_path / kind, kind))
        assert np.array_equal(a.mask, mask)


@settings(max_examples=20, deadline=None)
@given(annotations=annotation_lists(["car", "Straße"], overlap=False))
def test_round_all_tools_and_home(annotations):
    there = annotations
    for kind in (*FREE, *reversed(FREE)):
        there = back(there, kind)
    assert as_tuples(there) == as_tuples(annotations)


@pytest.mark.parametrize("kind", FREE)
def test_a_class_marked_twice_is_marked_where_either_is(kind):
    shapes = masks((8, 9))
    made = [Annotation("car", shapes[n], "a.png", c) for n, c in (("holes", None), ("columns", (9, 8, 7)))]
    (a,) = back(made, kind)
    assert np.array_equal(a.mask, shapes["holes"] | shapes["columns"]) and a.color == (9, 8, 7)


@pytest.mark.parametrize("kind", WRITERS)
def test_the_same_annotations_are_the_same_bytes(tmp_path, kind):
    made = [Annotation("car", masks((8, 9))["holes"], "a.png", (1, 2, 3))]
    one, two = (write(made, tmp_path / n, kind).read_bytes() for n in "ab")
    assert one == two


@pytest.mark.parametrize("kind", WRITERS)
def test_an_export_of_thousands_is_never_held_in_memory(tmp_path, kind):
    """A writer takes one annotation at a time; a reader gives one at a time."""
    alive = []

    def many():
        for i in range(50):
            mask = np.ones((50, 60), bool)
            alive.append(weakref.ref(mask))
            yield Annotation("car", mask, f"{i}.png")
            del mask
            assert sum(r() is not None for r in alive) <= 2

    path = write(many(), tmp_path, kind)
    assert sum(1 for _ in read(path)) == 50

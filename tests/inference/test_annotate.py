from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from owseg.data.images import read_image
from owseg.errors import OwsegError
from owseg.inference.annotate import predicted_annotations
from owseg.labels import UNKNOWN


def test_every_predicted_class_is_an_annotation_and_the_unknown_is_one_too(unsure_kb, photos):
    (photos / "deep").mkdir()
    (photos / "p2.png").rename(photos / "deep" / "p2.png")
    paths = [photos / "p1.png", photos / "deep" / "p2.png"]
    found = list(predicted_annotations(unsure_kb, paths))
    assert list(dict.fromkeys(a.image for a in found)) == ["p1.png", "deep/p2.png"]
    palette = unsure_kb.labels.palette()
    for path, name in zip(paths, ("p1.png", "deep/p2.png"), strict=True):
        open_set = unsure_kb.predict(read_image(path)).open_set
        own = {a.name: a for a in found if a.image == name}
        ids = {**dict(enumerate(unsure_kb.labels.names)), UNKNOWN: "unknown"}
        assert set(own) == {ids[i] for i in np.unique(open_set)} and "unknown" in own
        for i in np.unique(open_set):
            assert np.array_equal(own[ids[i]].mask, open_set == i) and own[ids[i]].color == tuple(palette[i])


def test_the_given_forward_is_used(unsure_kb, photos):
    forward = partial(unsure_kb.forward, full_resolution=True)
    masks = [
        np.stack([a.mask for a in predicted_annotations(unsure_kb, [photos / "p0.png"], f) if a.name == "unknown"])
        for f in (None, forward)
    ]
    assert not np.array_equal(*masks)


def test_what_cannot_be_predicted_ends_in_one_sentence(kb, photos):
    with pytest.raises(OwsegError, match="no threshold"):
        list(predicted_annotations(replace(kb, threshold=None), [photos / "p0.png"]))
    (photos / "p0.png").write_bytes(b"")
    with pytest.raises(OwsegError, match=r"p0\.png"):
        list(predicted_annotations(kb, [photos / "p0.png"]))

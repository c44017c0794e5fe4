"""Regions that were marked as known, as images to calibrate on."""

import numpy as np
import pytest

from owseg.discovery.known_regions import known_regions
from owseg.errors import OwsegError
from owseg.labels import IGNORE, KNOWN, LabelSpace
from tests.support.queues import square

LABELS = LabelSpace.of(["road", "sky", "cow"])


def test_what_was_marked_is_known_and_all_else_void(queue, ids):
    queue.mark_known([ids[0], ids[2]], "sky")
    queue.accept(ids[1], "rock")
    queue.mark_known(ids[3], "road")
    queue.reject(ids[3])  # the last decision counts
    data = known_regions(queue.folder, LABELS)
    assert len(data) == 1 and data.source.name == "2 regions of queue" and data.labels == LABELS
    marked = square(2, 2) | square(14, 20, 4)
    assert np.array_equal(data[0].target, np.where(marked, KNOWN, IGNORE))
    assert np.array_equal(data[0].image, queue.image(ids[0].partition("-")[0]))
    queue.mark_known(ids[3], "road")
    assert len(known_regions(queue.folder, LABELS)) == 2
    assert known_regions(queue.folder, LABELS).fingerprint() != data.fingerprint()


def test_what_makes_no_sense_is_refused(queue, ids):
    with pytest.raises(OwsegError, match="is not a queue"):
        known_regions(queue.folder.parent, LABELS)
    queue.reject(ids[0])
    with pytest.raises(OwsegError, match=r"no region of .* was marked as known; do so in `owseg review` \(K\)"):
        known_regions(queue.folder, LABELS)
    queue.mark_known(ids[0], "sky")
    with pytest.raises(OwsegError, match="has regions of 'sky', which is no class of this knowledge base"):
        known_regions(queue.folder, LABELS.without(["sky"]))
    data = known_regions(queue.folder, LABELS)
    (queue.folder.parent / "photos" / "p0.png").unlink()
    with pytest.raises(OwsegError, match="is gone; put it back"):
        list(data)

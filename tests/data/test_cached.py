"""Images are decoded once, as long as there is memory for them."""

import os
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from owseg.data import cached as module
from owseg.data.cached import ReadOnce, cached
from owseg.data.loader import can_fork, read_ahead
from tests.support import tiny


@pytest.mark.parametrize(("images", "reads"), [(4, 4), (2, 6), (0, 8)])
def test_images_are_decoded_once_as_long_as_there_is_memory(images, reads):
    data, calls = tiny.dataset(4), []
    counted = replace(data, source=replace(data.source, read=lambda i: calls.append(i) or data.source.read(i)))
    found = cached(counted, limit=images * 4 * 48 * 64)  # three channels and a mask, a byte each
    assert not calls
    for i in (0, 1, 2, 3, 0, 1, 2, 3):
        sample, expected = found[i], data[i]
        assert np.array_equal(sample.image, expected.image) and np.array_equal(sample.target, expected.target)
        assert sample.id == expected.id
    assert len(calls) == reads and len(found) == 4


def test_images_without_a_mask_are_kept_too():
    data, calls = tiny.dataset(2), []
    bare = replace(data, source=replace(data.source, read=lambda i: calls.append(i) or (data.source.read(i)[0], None)))
    found = cached(bare, limit=3 * 48 * 64)
    assert [found[i].target for i in (0, 0, 1, 1)] == [None] * 4 and calls == [0, 1, 1]


@pytest.mark.parametrize(("images", "reads"), [(4, 4), (2, 6), (0, 8)])
def test_the_second_reader_gets_what_the_first_decoded_as_long_as_there_is_memory(monkeypatch, images, reads):
    calls = []
    monkeypatch.setattr(module, "read_image", lambda path: calls.append(path) or tiny.image(int(path.name)))
    found, paths = ReadOnce(images * 3 * 48 * 64), [Path(str(i)) for i in range(4)]
    for reader in (found.first, found.second):
        assert all(np.array_equal(reader(path), tiny.image(i)) for i, path in enumerate(paths))
    assert len(calls) == reads
    found.second(paths[0])
    assert len(calls) == reads + 1 and found.bytes_left == images * 3 * 48 * 64  # what was handed on is forgotten


@pytest.mark.parametrize(("images", "reads"), [(4, 4), (2, 6), (0, 8)])
def test_shared_memory_bounds_all_processes_together(tmp_path, images, reads):
    """What a worker reads is there for the next one and for this process; what does not fit, for nobody."""
    if not can_fork():
        pytest.skip("processes cannot be forked here")
    data = tiny.dataset(4)

    def read(i):
        (tmp_path / f"{i}-{uuid.uuid4()}").touch()
        return data.source.read(i)

    found = cached(replace(data, source=replace(data.source, read=read)), images * 4 * 48 * 64, shared=True)
    pids = set()
    for workers in (2, 3, 0):
        if workers == 0:
            reads += 4 - min(images, 4)
        for i, (sample, pid) in enumerate(read_ahead(lambda i: (found[i], os.getpid()), range(4), workers)):
            assert np.array_equal(sample.image, data[i].image) and np.array_equal(sample.target, data[i].target)
            pids.add(pid)
    assert len(pids) == 6 and len(list(tmp_path.iterdir())) == reads


def test_shared_images_without_a_mask_and_with_one_of_more_pixels():
    data, mask = tiny.dataset(3), np.arange(96 * 128).reshape(96, 128).astype(np.uint8)
    masks = [None, mask, mask[:48, :64]]
    source = replace(data.source, read=lambda i: (tiny.image(i), masks[i]))
    shared = cached(replace(data, source=source), shared=True).source
    for _ in range(2):
        for i in range(3):
            image, found = shared.read(i)
            assert np.array_equal(image, tiny.image(i)) and np.array_equal(found, masks[i])
            assert image.flags.writeable  # torch warns of one that is not

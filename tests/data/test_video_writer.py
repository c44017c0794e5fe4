"""Writing videos: sizes, times, and names that are none."""

from pathlib import Path

import av
import numpy as np
import pytest

from owseg.data.frames import open_frames
from owseg.data.video_writer import VideoWriter, container_for
from owseg.errors import OwsegError
from tests.support import videos


@pytest.mark.parametrize("size", [(96, 128), (95, 127), (33, 64)])
def test_sides_become_even(tmp_path, size):
    (frame, _) = open_frames(str(videos.write(tmp_path / "a.mp4", 2, size=(size[0] // 8 * 8, size[1] // 8 * 8))))
    with VideoWriter(tmp_path / "b.mp4", "mp4") as writer:
        writer.write(np.full((*size, 3), 90, np.uint8), 0.0)
    (found,) = open_frames(str(tmp_path / "b.mp4"))
    assert found.image.shape == (3, size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert np.abs(found.image.astype(int) - 90).max() < 4 and frame.number == 0


def test_times_that_stand_still_are_moved_by_a_tick(tmp_path):
    times = [0.0, 0.0, 0.0, 0.5]
    found = [f.time for f in open_frames(str(videos.write(tmp_path / "a.mp4", times=times)))]
    np.testing.assert_allclose(found, times, atol=3e-3)
    assert found == sorted(set(found))


def test_without_x264_it_is_mpeg4(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    videos.write(tmp_path / "a.mp4")
    assert videos.codec_of(tmp_path / "a.mp4") == "mpeg4"


@pytest.mark.parametrize(
    "name, container", [("a.mp4", "mp4"), ("a.MP4", "mp4"), ("a.mov", "mov"), ("a.mkv", "matroska")]
)
def test_the_end_of_a_name_is_the_container(name, container):
    assert container_for(Path(name)) == container


@pytest.mark.parametrize("name", ["a", "a.avi", "a.gif", "mp4"])
def test_other_names_are_refused(name):
    with pytest.raises(OwsegError, match=r"is no name of a video; end it with \.mp4"):
        container_for(Path(name))

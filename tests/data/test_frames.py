"""Frames: their times and their order, which way is up, what is cut off, and what is no video."""

import sys
import threading
import wave
from time import monotonic, sleep

import numpy as np
import pytest
from PIL import Image

from owseg.data.frames import Frame, newest, open_frames, thinned
from owseg.errors import OwsegError
from tests.support import tiny, videos


def frame(number, time):
    return Frame(number, time, np.zeros((3, 4, 4), np.uint8))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_have_their_own_times(tmp_path, suffix):
    times = [0.0, 0.1, 0.15, 0.9, 1.3]
    frames = open_frames(str(videos.write(tmp_path / f"a{suffix}", times=times)))
    found = list(frames)
    assert [f.number for f in found] == [0, 1, 2, 3, 4] and frames.trouble == "" and not frames.live
    np.testing.assert_allclose([f.time for f in found], times, atol=1e-3)
    for one, written in zip(found, videos.images(5), strict=True):
        assert one.image.shape == (3, 96, 128) and one.image.dtype == np.uint8
        assert np.abs(one.image.astype(int) - written).mean() < 12  # as H.264 keeps it, with half the colour


def test_what_a_file_says_of_itself(tmp_path):
    frames = open_frames(str(videos.write(tmp_path / "a.mp4", 6)))
    assert frames.count == 6 and frames.rate == pytest.approx(10) and frames.name.endswith("a.mp4")


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_video_is_turned_as_its_file_says(tmp_path, degrees):
    path = videos.write(tmp_path / "a.mp4", 2)
    as_stored = next(iter(open_frames(str(path)))).image
    (found, _) = open_frames(str(videos.turned(path, degrees)))
    np.testing.assert_array_equal(found.image, np.rot90(as_stored, -degrees // 90, axes=(1, 2)))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_of_a_file_that_is_cut_off_what_is_there_is_read(tmp_path, suffix):
    path = videos.cut(videos.write_noise(tmp_path / f"a{suffix}"))
    frames = open_frames(str(path))
    found = list(frames)
    assert 5 < len(found) < 18
    of = " of 20" if suffix == ".mp4" else ""
    assert frames.trouble == f"{path} is cut off or damaged: {len(found)}{of} frames could be read."


def test_what_is_damaged_in_the_middle_costs_no_more(tmp_path):
    path = videos.write_noise(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    path.write_bytes(data)
    frames = open_frames(str(path))
    assert 15 <= len(list(frames)) < 20 and "is cut off or damaged" in frames.trouble


def no_index(path):
    videos.cut(videos.write(path, 20), 0.5)


def sound(path):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(1600))


def other_codec(path):
    path.write_bytes(videos.write(path).read_bytes().replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzC"))


@pytest.mark.parametrize("make, why", [
    (lambda path: None, "does not exist; give a video"),
    (lambda path: path.write_text("no video"), "cannot be read as a video"),
    (lambda path: path.write_bytes(b""), "cannot be read as a video"),
    (no_index, "cannot be read as a video"),
    (sound, "holds no video"),
    (other_codec, "has a video that nothing here decodes; convert it to H.264"),
    (lambda path: path.mkdir(), "holds no image"),
])  # fmt: skip
def test_what_is_no_video_is_said_in_one_sentence(tmp_path, make, why):
    make(tmp_path / "a.mp4")
    with pytest.raises(OwsegError, match=why) as found:
        open_frames(str(tmp_path / "a.mp4"))
    assert "a.mp4" in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize("place", ["/dev/video77", "rtsp://user:secret@127.0.0.1:9/a", "http://127.0.0.1:9/a.mp4"])
def test_a_camera_that_is_not_there(place):
    with pytest.raises(OwsegError, match=r"cannot be opened .*; is the camera or the network there\?") as found:
        open_frames(place)
    assert "secret" not in str(found.value)


def test_a_video_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("owseg.data.masks.MAX_PIXELS", 96 * 128 - 1)
    with pytest.raises(OwsegError, match="128x96 is larger"):
        open_frames(str(videos.write(tmp_path / "a.mp4", 1)))


def test_without_pyav_a_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(OwsegError, match=r"pip install 'owseg\[video\]'"):
        open_frames(str(tmp_path / "a.mp4"))


def test_images_in_a_row_are_a_video(photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)  # which they do not need
    for place in (str(photos), str(photos / "*.png")):
        frames = open_frames(place, 4)
        found = list(frames)
        assert [(f.number, f.time) for f in found] == [(0, 0.0), (1, 0.25), (2, 0.5)]
        assert (frames.count, frames.rate, frames.trouble, frames.live) == (3, 4, "", False)
        np.testing.assert_array_equal(found[1].image, tiny.image(1))


def test_an_image_that_cannot_be_read_is_left_out(photos):
    (photos / "p1.png").write_bytes(b"x")
    frames = open_frames(str(photos))
    assert [(f.number, f.time) for f in frames] == [(0, 0.0), (2, 0.2)]
    assert frames.trouble.startswith(f"1 of 3 images of {photos} could not be read: {photos / 'p1.png'}")


def test_frames_are_thinned_by_number_and_by_time():
    def at(every, fps, times):
        return [f.number for f in thinned([frame(i, t) for i, t in enumerate(times)], every, fps)]

    times = [i / 30 for i in range(30)]
    assert at(1, None, times) == list(range(30)) and at(7, None, times) == [0, 7, 14, 21, 28]
    assert len(at(1, 10, times)) == 10 and at(1, 10, times)[:3] == [0, 3, 6]
    # 20 of 30 cannot be evenly spread, but they are 20.
    assert len(at(1, 20, times)) == 20 and len(at(1, 50, times)) == 30
    assert at(2, 10, times)[:3] == [0, 4, 6]
    assert at(1, 10, [0, 5, 5.01, 5.11]) == [0, 1, 3]  # no more at once after a gap


def test_of_frames_that_nobody_waits_for_the_newest_is_given():
    """The reader is ahead by as many as it likes: what is asked for next is the last that it has read."""
    read = threading.Event()

    def source():
        yield 0
        read.wait(10)
        yield from range(1, 50)

    found = newest(source())
    assert next(found) == 0
    read.set()
    begun = monotonic()
    while threading.active_count() > 1 and any(
        t.name == "owseg-newest" and t.is_alive() for t in threading.enumerate()
    ):
        assert monotonic() < begun + 10
        sleep(0.01)
    assert list(found) == [49]


def test_what_goes_wrong_in_the_reader_is_raised():
    def source():
        yield 0
        raise OwsegError("the camera is gone.")

    found = newest(source())
    with pytest.raises(OwsegError, match="gone"):
        list(found)


def test_a_reader_ends_with_who_reads():
    ended = threading.Event()

    def source():
        try:
            while True:
                yield 0
                sleep(0.001)
        finally:
            ended.set()

    found = newest(source())
    next(found)
    found.close()
    assert ended.wait(10)


def test_a_file_that_is_played_comes_at_its_own_speed(monkeypatch):
    slept = []
    monkeypatch.setattr("owseg.data.frames.monotonic", lambda: 5.0)
    monkeypatch.setattr("owseg.data.frames.sleep", slept.append)
    assert list(newest([frame(0, 0.0), frame(1, 0.4)], lambda f: f.time))[-1].number == 1
    assert slept == [0.0, pytest.approx(0.4)]


def test_an_image_file_is_no_folder(photos):
    """One image is a video of one frame, as its format is one that PyAV reads."""
    Image.new("RGB", (64, 48)).save(photos / "one.png")
    assert len(list(open_frames(str(photos / "one.png")))) == 1

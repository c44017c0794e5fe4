"""Small videos for the tests, and what may be wrong with them: cut off, turned, of another codec."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

from owseg.data.frames import Frame, Frames
from owseg.data.video_writer import VideoWriter, container_for
from tests.support import tiny

SIZE = (96, 128)


def images(count: int, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    """Images (3, H, W) that hardly differ, as frames of a video do."""
    base = tiny.image(0, size).astype(int)
    return [np.clip(base + i, 0, 255).astype(np.uint8) for i in range(count)]


def frames(count: int, rate: float = 10.0, total: int | None = 0, live: bool = False) -> Frames:
    """The same as frames that are in memory; ``total`` is how many there should be."""

    def read(frames: Frames):
        return (Frame(i, i / rate, image) for i, image in enumerate(images(count)))

    return Frames("a video", read, count if total == 0 else total, rate, live)


def write(path: Path, count: int = 4, times: Sequence[float] | None = None, size: tuple[int, int] = SIZE) -> Path:
    """Write a video of ``count`` frames, ten a second, or at ``times``."""
    times = times or [i / 10 for i in range(count)]
    with VideoWriter(path, container_for(path), 10) as writer:
        for image, time in zip(images(len(times), size), times, strict=True):
            writer.write(image.transpose(1, 2, 0), time)
    return path


def write_noise(path: Path, count: int = 20) -> Path:
    """Write a video of noise, ten frames a second, whose index is at its beginning: one that is cut off can be read."""
    rng = np.random.default_rng(0)
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as file:
        video = file.add_stream("libx264", rate=10)
        video.height, video.width, video.pix_fmt = *SIZE, "yuv420p"
        for _ in range(count):
            pixels = rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
            file.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(video.encode(None))
    return path


def codec_of(path: Path) -> str:
    """The name of the codec of a video."""
    with av.open(str(path)) as file:
        return file.streams.video[0].codec_context.name


def cut(path: Path, share: float = 0.6) -> Path:
    """Cut a file off."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def turned(path: Path, degrees: int) -> Path:
    """Say in an MP4 that it is to be turned clockwise, as a phone does that is held upright."""
    data = path.read_bytes()
    # In a track's header of version 0 the matrix is behind 40 bytes: 16.16 fixed point, the last column 2.30.
    at = data.index(b"tkhd") + 4 + 40
    a, b = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    matrix = struct.pack(">9i", a << 16, b << 16, 0, -b << 16, a << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:at] + matrix + data[at + 36 :])
    return path

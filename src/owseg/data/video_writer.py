"""Writing a video: frames with their times into one H.264 file."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from owseg.data.frames import library
from owseg.errors import OwsegError

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""The containers that are written, by the end of the file's name."""

TICKS = 60_000
"""Ticks a second in which times are stored: a frame's own time, whatever the rate. MPEG-4 takes no more than 65 535."""


def container_for(path: Path) -> str:
    """Return the container for a file of that name; raise ``OwsegError`` for one that is not written."""
    if path.suffix.lower() not in FORMATS:
        raise OwsegError(f"{path} is no name of a video; end it with {', '.join(FORMATS)}.")
    return FORMATS[path.suffix.lower()]


class VideoWriter:
    """A video that is written frame by frame, and is whole once the block ends.

    ``container`` is one of ``FORMATS``, ``rate`` the usual frames a second: times are those of the frames. Raises
    ``OwsegError`` without PyAV, and ``OSError`` where the disk is full.
    """

    def __init__(self, path: Path, container: str, rate: float | None = None):
        self._av = library()
        self._file = self._av.open(str(path), "w", format=container)
        self._rate = Fraction(rate or 30).limit_denominator(1000)
        self._video: object = None
        self._last = -1

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._video is not None and kind is None:
                self._put(None)
        finally:
            self._file.close()

    def write(self, pixels: np.ndarray, time: float) -> None:
        """Add a frame (H, W, 3) uint8 at ``time`` in seconds, later than the one before; all have one size.

        Of an odd side the last row or column is there twice, as H.264 has even ones.
        """
        height, width = pixels.shape[:2]
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._video is None:
            # Some builds of FFmpeg lack x264.
            codec = "libx264" if "libx264" in self._av.codecs_available else "mpeg4"
            options = {"preset": "veryfast", "crf": "23"} if codec == "libx264" else {}
            video = self._file.add_stream(codec, rate=self._rate, options=options)
            video.height, video.width, video.pix_fmt = *pixels.shape[:2], "yuv420p"
            video.codec_context.time_base = Fraction(1, TICKS)
            self._video = video
        frame = self._av.VideoFrame.from_ndarray(pixels, format="rgb24")
        self._last = frame.pts = max(round(time * TICKS), self._last + 1)
        frame.time_base = Fraction(1, TICKS)
        self._put(frame)

    def _put(self, frame: object) -> None:
        self._file.mux(self._video.encode(frame))  # type: ignore[attr-defined]

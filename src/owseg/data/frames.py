"""Frames with their times: of a video file, a camera, a network address, or images in a row."""

from __future__ import annotations

import glob
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from owseg._files import state_of
from owseg.data.images import failure, read_image
from owseg.data.masks import check_size
from owseg.data.search import search_images
from owseg.errors import OwsegError

if TYPE_CHECKING:
    import av.container

T = TypeVar("T")

RATE = 10.0
"""The frames a second that images in a row are taken for, if nobody says otherwise."""

PATIENCE = 10.0
"""Seconds to wait for a network address before it is given up."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Frame:
    """An image (3, H, W) uint8, its ``number`` in the video, from 0, and its ``time`` in seconds since the first."""

    number: int
    time: float
    image: np.ndarray


@dataclass(eq=False)
class Frames:
    """The frames of ``name``, read one after another when they are iterated, once.

    ``count`` is how many there should be and ``rate`` how many a second, None where that is not known; ``live`` says
    that they come whether they are read or not. After the iteration ``trouble`` says in one sentence what could not be
    read, "" if all was.
    """

    name: str
    read: Callable[[Frames], Iterator[Frame]]
    count: int | None = None
    rate: float | None = None
    live: bool = False
    trouble: str = ""

    def __iter__(self) -> Iterator[Frame]:
        return self.read(self)


def open_frames(place: str, rate: float = RATE) -> Frames:
    """Open a video file, a camera (``/dev/video0``), an address (``rtsp://``, ``http://``), a folder, or a pattern.

    A folder and a pattern stand for images, in the order of their names, ``rate`` a second. Raises ``OwsegError`` for
    what cannot be opened, and for what is no video.
    """
    path = Path(place).expanduser()
    if not _ADDRESS.match(place) and (path.is_dir() or (glob.has_magic(place) and not path.exists())):
        return _images(place, rate)
    return _video(place)


def thinned(frames: Iterable[Frame], every: int = 1, max_fps: float | None = None) -> Iterator[Frame]:
    """Yield every ``every``-th of ``frames``, and of these at most ``max_fps`` for each second of the video."""
    due = 0.0
    for i, frame in enumerate(frames):
        if i % every or (max_fps is not None and frame.time < due - 1e-6):
            continue
        if max_fps is not None:
            # From when it was due, not from when it came: else 30 a second would become 15 where 20 were asked for.
            due += 1 / max_fps
            due = due if due > frame.time else frame.time + 1 / max_fps
        yield frame


def newest(items: Iterable[T], time_of: Callable[[T], float] | None = None) -> Iterator[T]:
    """Yield of ``items`` always the last that there is, none twice: those that come while nobody asks are dropped.

    A thread of its own reads them. With ``time_of`` each comes no earlier than its time, in seconds since the first.
    """
    slot: deque[T] = deque(maxlen=1)
    errors: list[BaseException] = []
    changed, ended, closed = threading.Condition(), threading.Event(), threading.Event()

    def read() -> None:
        begun = monotonic()
        try:
            for item in items:
                if time_of is not None:
                    sleep(max(0.0, begun + time_of(item) - monotonic()))
                if closed.is_set():
                    break
                with changed:
                    slot.append(item)
                    changed.notify()
        except BaseException as error:
            errors.append(error)
        with changed:
            ended.set()
            changed.notify()

    reader = threading.Thread(target=read, name="owseg-newest", daemon=True)
    reader.start()
    try:
        while True:
            with changed:
                while not slot and not ended.is_set():
                    changed.wait(0.2)  # for a while only, so that Ctrl-C is noticed
                if not slot:
                    break
                item = slot.popleft()
            yield item
        if errors:
            raise errors[0]
    finally:
        closed.set()
        with suppress(RuntimeError):
            reader.join(1.0)


def library() -> Any:
    """Return PyAV; raise ``OwsegError`` where it is not installed."""
    try:
        import av
        import av.error
    except ImportError:
        raise OwsegError("videos need PyAV; install it with `pip install 'owseg[video]'`.") from None
    return av


def _images(place: str, rate: float) -> Frames:
    paths = search_images([place]).paths

    def read(frames: Frames) -> Iterator[Frame]:
        failed: list[str] = []
        for i, path in enumerate(paths):
            try:
                image = read_image(path)
            except (OwsegError, MemoryError) as error:
                failed.append(failure(path, error))
                frames.trouble = f"{len(failed)} of {len(paths)} images of {place} could not be read: {failed[0]}"
                continue
            yield Frame(i, i / rate, image)

    return Frames(place, read, len(paths), rate)


def _video(place: str) -> Frames:
    av, name = library(), re.sub(r"//[^/@]*@", "//", place)  # no password on the screen, or in a log
    remote = bool(_ADDRESS.match(place))
    device = not remote and Path(place).is_char_device()
    options = {"rtsp_transport": "tcp"} if place.lower().startswith("rtsp") else {}
    how: dict[str, Any] = {"format": "v4l2"} if device else {}
    try:
        container = av.open(place, timeout=PATIENCE if remote else None, options=options, **how)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise _unreadable(place, name, remote or place.startswith("/dev/"), error) from None
    found = container.streams.video
    context = found[0].codec_context if found else None
    if context is None:
        container.close()
        lacks = "holds no video, or is cut off; give another file"
        what = "has a video that nothing here decodes; convert it to H.264" if found else lacks
        raise OwsegError(f"{name} {what}.")
    try:
        check_size(context.height, context.width)
        context.open(strict=False)
    except OwsegError:
        container.close()
        raise
    except (av.error.FFmpegError, ValueError) as error:
        container.close()
        raise OwsegError(f"{name} has a video that cannot be decoded ({_why(error)}); convert it to H.264.") from None
    rate = float(found[0].average_rate) if found[0].average_rate else None
    seconds = _seconds(found[0])
    count = found[0].frames or (round(seconds * rate) if seconds and rate else None)
    live = device or (remote and container.duration is None)
    return Frames(name, lambda frames: _decoded(av, container, frames, seconds), count, rate, live)


def _seconds(video: Any) -> float | None:
    """Return how long the video is by what its file says, None if it does not."""
    if video.duration is not None and video.time_base:
        return float(video.duration * video.time_base)
    parts = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", video.metadata.get("DURATION", ""))  # Matroska's
    return None if parts is None else int(parts[1]) * 3600 + int(parts[2]) * 60 + float(parts[3])


def _decoded(av: Any, container: av.container.InputContainer, frames: Frames, seconds: float | None) -> Iterator[Frame]:
    """Yield what can be decoded; ``seconds`` is how long the video should be."""
    number, first, last, damaged, why = 0, None, -1.0, 0, ""
    exact = container.streams.video[0].frames or None  # in an index, which Matroska lacks
    packets = container.demux(container.streams.video[0])
    with container:
        while True:
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, OSError) as error:
                why = _why(error)
                break
            if packet is None:
                break
            try:
                decoded = packet.decode()
            except (av.error.FFmpegError, ValueError):
                damaged += 1
                continue
            for frame in decoded:
                time = number / (frames.rate or RATE) if frame.time is None else float(frame.time)
                first = time if first is None else first
                last = max(time - first, last + 1e-3)  # times that stand still, or go back, cannot be written
                yield Frame(number, last, _upright(frame))
                number += 1
    # The last frame is shown for a while, too.
    missing = 0.0 if exact or seconds is None else seconds - last - max(0.5, 3 / (frames.rate or RATE))
    if why or damaged or missing > 0 or (exact is not None and number < exact):
        of = f" of {exact}" if exact else ""
        what = f" ({why})" if why else ""
        broken = "ended" if frames.live else "is cut off or damaged"
        frames.trouble = f"{frames.name} {broken}{what}: {number}{of} frames could be read."


def _upright(frame: Any) -> np.ndarray:
    """Return a frame (3, H, W) uint8, turned as the file says that it is shown."""
    pixels = np.rot90(frame.to_ndarray(format="rgb24"), round((frame.rotation or 0) / 90) % 4)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _unreadable(place: str, name: str, elsewhere: bool, error: Exception) -> OwsegError:
    why = _why(error)
    if elsewhere:
        return OwsegError(f"{name} cannot be opened ({why}); is the camera or the network there?")
    path = Path(place).expanduser()
    if not path.is_file():
        return OwsegError(f"{name} {state_of(path)}; give a video, a camera, an address, or a folder of images.")
    return OwsegError(f"{name} cannot be read as a video ({why}); it may be cut off, or of another format.")


def _why(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0].removesuffix(".").lower()

"""The rows of test_wiring.py for ``owseg video``."""

from owseg.inference.tracks import TrackOptions
from owseg.inference.video import VideoOptions

LABEL_VIDEO = "inference.video:label_video"

VIDEO = [
    ("video K a.avi -o O.mp4", "data.frames:open_frames", {"place": "a.avi", "rate": 10.0}),
    ("video K photos -o O.mp4 --rate 2.5", "data.frames:open_frames", {"place": "photos", "rate": 2.5}),
    ("video K a.avi --out O.mp4", LABEL_VIDEO,
     {"model": "K", "frames": "frames of a.avi", "out": "O.mp4", "regions": "O.regions.jsonl",
      "options": VideoOptions(), "forward": {"size": None}}),
    ("video K a -o O.mp4 --regions R --size 256 --every 3 --max-fps 5 --adapt --lasts 4 --overlap 0.4 --smoothing 0.7",
     LABEL_VIDEO, {"regions": "R", "forward": {"size": 256}, "options": VideoOptions(TrackOptions(
         overlap=0.4, smoothing=0.7, lasts=4), every=3, max_fps=5.0, adapt=True)}),
    *((f"video K a -o O.mp4 {option}", LABEL_VIDEO, {"options": VideoOptions(live=live)})
      for option, live in (("--live", True), ("--no-live", False))),
    ("video K a -o O.mp4 --task obstacles", LABEL_VIDEO, {"model": "K for obstacles"}),
]  # fmt: skip

"""A video from end to end: what is written of it, in which order, and what is left where something goes wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest

from owseg.data.frames import open_frames
from owseg.data.masks import Rle
from owseg.data.render import bright_color
from owseg.errors import OwsegError
from owseg.inference import video
from owseg.inference.tracks import TrackOptions, Tracks, detection_of
from owseg.inference.video import VideoOptions, drawn, label_video, labelled_frames, line_of, open_set_of, tracked
from owseg.knowledge.adaptation import moved, quantiles_of
from owseg.labels import UNKNOWN
from tests.support import videos

LASTING = VideoOptions(TrackOptions(lasts=2))


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def places(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "a.mp4", tmp_path / "out" / "a.regions.jsonl"


def test_a_video_becomes_a_video_and_a_line_for_each_frame(unsure_kb, tmp_path, places):
    times = [0.0, 0.1, 0.35, 0.4, 1.0]
    source = open_frames(str(videos.write(tmp_path / "in.mp4", times=times)))
    result = label_video(unsure_kb, source, *places, LASTING)
    written, found = list(open_frames(str(places[0]))), lines(places[1])
    assert (result.frames, result.trouble) == (5, "") and result.alarms >= 1 and result.seconds > 0
    np.testing.assert_allclose([f.time for f in written], times, atol=1e-3)
    assert [line["frame"] for line in found] == [0, 1, 2, 3, 4] and files(places[0].parent) == [p.name for p in places]
    np.testing.assert_allclose([line["time"] for line in found], times, atol=1e-3)
    assert written[0].image.shape[1] > 96 and written[0].image.shape[2] == 128  # the legend is below
    assert not any(t["alarm"] for t in found[0]["tracks"]) and any(t["alarm"] for t in found[1]["tracks"])
    assert len({t["track"] for line in found for t in line["tracks"] if t["alarm"]}) == result.alarms
    for line in found:
        assert line["size"] == [96, 128] and line["threshold"] == unsure_kb.threshold.value
        for track in line["tracks"]:
            mask = Rle.from_json(track["mask"], (96, 128))
            assert list(mask.box) == track["box"] and mask.area > 0 and track["score"] >= 0


def test_the_regions_are_those_of_the_images_in_order(unsure_kb):
    """Several threads, the same as one image after another; what is weak is left out where nothing weak counts."""
    options = VideoOptions(TrackOptions(weak=1.0))
    found = list(labelled_frames(unsure_kb, videos.frames(7), options, unsure_kb.engine(workers=3)))
    assert [one.frame.number for one in found] == list(range(7))
    for one, image in zip(found, videos.images(7), strict=True):
        prediction = unsure_kb.predict(image)
        np.testing.assert_array_equal(one.labels, prediction.labels)
        expected = [detection_of(region, unsure_kb.threshold) for region in prediction.regions]
        assert [(r.box, r.mask) for r in one.regions] == [(r.box, r.mask) for r in expected]
        np.testing.assert_allclose([r.score for r in one.regions], [r.score for r in expected], rtol=1e-4)
        assert one.scores is None and one.threshold is unsure_kb.threshold


def test_weak_regions_are_found_too(unsure_kb):
    limit = max(r.score for r in next(labelled_frames(unsure_kb, videos.frames(1))).regions)
    regions = replace(unsure_kb.threshold.regions, value=unsure_kb.threshold.regions.value * limit * 1.5)
    strict = replace(unsure_kb, threshold=replace(unsure_kb.threshold, regions=regions))
    counts = [len(next(labelled_frames(strict, videos.frames(1), VideoOptions(TrackOptions(weak=w)))).regions)
              for w in (0.0, 1.0)]  # fmt: skip
    assert counts[0] > counts[1]


def test_the_threshold_moves_with_the_frames_before(unsure_kb):
    """That of a frame is moved by all that were done when its turn came, however many threads there are."""
    for workers, ahead in ((1, 1), (2, 4)):
        engine = unsure_kb.engine(workers=workers)
        found = list(labelled_frames(unsure_kb, videos.frames(8), VideoOptions(adapt=True), engine))
        scores = [quantiles_of(image, unsure_kb.predict(image).score) for image in videos.images(8)]
        for i, one in enumerate(found):
            known = scores[: max(0, i - ahead + 1)] if workers > 1 else scores[:i]
            expected = moved(unsure_kb.threshold, known).value if known else unsure_kb.threshold.value
            assert one.threshold.value == pytest.approx(expected, rel=1e-5), (workers, i)
        assert found[-1].threshold.estimated and not found[0].threshold.estimated


def test_only_the_last_frames_move_it(unsure_kb, monkeypatch):
    monkeypatch.setattr(video, "WINDOW", 2)
    found = list(labelled_frames(unsure_kb, videos.frames(6), VideoOptions(adapt=True), unsure_kb.engine(workers=1)))
    expected = moved(unsure_kb.threshold, [found[3].scores, found[4].scores]).value
    assert found[5].threshold.value == pytest.approx(expected)


@pytest.mark.parametrize("options, numbers", [({"every": 3}, [0, 3, 6]), ({"max_fps": 5.0}, [0, 2, 4, 6])])
def test_frames_that_are_left_out_are_not_labelled(kb, options, numbers):
    found = labelled_frames(kb, videos.frames(8), VideoOptions(**options))
    assert [one.frame.number for one in found] == numbers


def test_live_frames_are_dropped_and_not_queued(kb):
    """Ten thousand frames come at once; of those between the first and the last few are labelled."""
    endless = videos.frames(1)
    image = videos.images(1)[0]
    endless.read = lambda frames: (video.Frame(i, i / 1000, image) for i in range(10_000))
    found = [one.frame.number for one in labelled_frames(kb, replace_live(endless), VideoOptions())]
    assert found[-1] == 9_999 and len(found) < 1000 and found == sorted(set(found))


def replace_live(frames):
    frames.live = True
    return frames


def test_a_file_is_live_only_if_that_is_asked_for(kb, monkeypatch):
    paced = []
    monkeypatch.setattr(video, "newest", lambda items, time_of=None: paced.append(time_of) or items)
    for live, source in ((None, False), (False, True), (None, True), (True, False)):
        list(labelled_frames(kb, videos.frames(1, live=source), VideoOptions(live=live)))
    assert len(paced) == 2 and paced[0] is None  # a camera has a speed of its own
    assert paced[1](videos.Frame(3, 0.7, None)) == 0.7


def test_the_decision_for_a_frame_is_that_of_its_alarms(unsure_kb):
    labelled, tracks = list(tracked(labelled_frames(unsure_kb, videos.frames(3)), TrackOptions(lasts=2)))[-1]
    open_set = open_set_of(labelled.labels, tracks)
    alarms = np.any([t.mask().mask() for t in tracks.alarms], 0)
    assert alarms.any() and ((open_set == UNKNOWN) == alarms).all()
    assert (open_set[~alarms] == labelled.labels[~alarms]).all()
    none = replace(tracks, alive=())
    assert (open_set_of(labelled.labels, none) == labelled.labels).all() and line_of(labelled, none)["tracks"] == []


def test_a_track_has_one_colour_and_an_alarm_a_thicker_outline(unsure_kb):
    labelled, tracks = list(tracked(labelled_frames(unsure_kb, videos.frames(3)), TrackOptions(lasts=2)))[-1]
    alarm = replace(tracks, alive=tracks.alarms[:1])
    candidate = replace(tracks, alive=(replace(tracks.alarms[0], alarm=False),))
    lost = replace(tracks, alive=(replace(tracks.alarms[0], alarm=False, missed=1),))
    color = bright_color(tracks.alarms[0].id)
    counts = [(drawn(labelled, one, unsure_kb.labels) == color).all(2).sum() for one in (alarm, candidate, lost)]
    assert counts[0] > counts[1] > counts[2] == 0


def test_ctrl_c_leaves_a_video_that_plays(unsure_kb, places, monkeypatch):
    def some(*args):
        for i, one in enumerate(labelled_frames(*args)):
            if i == 3:
                raise KeyboardInterrupt
            yield one

    monkeypatch.setattr(video, "labelled_frames", some)
    with pytest.raises(KeyboardInterrupt):
        label_video(unsure_kb, videos.frames(9), *places, LASTING)
    assert len(list(open_frames(str(places[0])))) == len(lines(places[1])) == 3
    assert files(places[0].parent) == [p.name for p in places]


@pytest.mark.parametrize("error", [OwsegError("it is gone."), RuntimeError("out of memory"), KeyboardInterrupt()])
def test_where_no_frame_is_done_nothing_is_written(unsure_kb, places, monkeypatch, error):
    places[0].write_text("before")

    def fails(*args):
        raise error
        yield

    monkeypatch.setattr(video, "labelled_frames", fails)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else OwsegError):
        label_video(unsure_kb, videos.frames(3), *places)
    assert files(places[0].parent) == ["a.mp4"] and places[0].read_text() == "before"


def test_a_frame_that_fails_ends_it_and_what_is_done_is_kept(unsure_kb, places, monkeypatch):
    def some(*args):
        for i, one in enumerate(labelled_frames(*args)):
            if i == 2:
                raise OwsegError("the score is not finite.")
            yield one

    monkeypatch.setattr(video, "labelled_frames", some)
    result = label_video(unsure_kb, videos.frames(5), *places)
    assert (result.frames, result.trouble) == (2, "after frame 1: the score is not finite.")
    assert len(list(open_frames(str(places[0])))) == len(lines(places[1])) == 2


def test_what_could_not_be_read_is_in_the_result(unsure_kb, tmp_path, places):
    path = videos.cut(videos.write_noise(tmp_path / "in.mp4", 8))
    result = label_video(unsure_kb, open_frames(str(path)), *places)
    assert 0 < result.frames < 8 and "is cut off or damaged" in result.trouble


def test_a_video_without_a_frame(unsure_kb, places):
    with pytest.raises(OwsegError, match="a video has no frame that can be read"):
        label_video(unsure_kb, videos.frames(0), *places)
    assert files(places[0].parent) == []


def test_a_frame_of_another_size_ends_it(unsure_kb, places):
    mixed = videos.frames(0)
    mixed.read = lambda frames: (video.Frame(i, i / 10, image) for i, image in enumerate(
        [*videos.images(2), *videos.images(2, (48, 64))]))  # fmt: skip
    result = label_video(unsure_kb, mixed, *places)
    assert result.frames == 2 and "64x48" in result.trouble and "128x96" in result.trouble


def test_without_a_threshold_nothing_is_read(places):
    from tests.support import tiny

    with pytest.raises(OwsegError, match="no threshold yet"):
        label_video(tiny.knowledge_base(), videos.frames(1), *places)


@pytest.mark.parametrize("given, options, expected", [
    ({}, {}, 20), ({}, {"every": 3}, 7), ({}, {"max_fps": 5.0}, 11), ({"live": True}, {}, None),
    ({}, {"live": True}, None), ({"total": None}, {}, None),
])  # fmt: skip
def test_how_many_frames_the_bar_expects(unsure_kb, places, monkeypatch, given, options, expected):
    totals = []
    real = video.progress
    monkeypatch.setattr(video, "progress", lambda title, total: totals.append(total) or real(title, total))
    source = videos.frames(2, **{"total": 20, **given})
    label_video(unsure_kb, source, *places, VideoOptions(**options))
    assert totals == [expected]


def test_tracks_begin_with_none():
    assert Tracks().alive == () and Tracks().alarms == ()

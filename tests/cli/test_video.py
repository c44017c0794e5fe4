"""``owseg video``: what it prints, its exit codes, and what it refuses before any work."""

import json
import os
import signal

import pytest

from owseg.data.frames import open_frames
from tests.support import videos


@pytest.fixture
def clip(tmp_path):
    return videos.write(tmp_path / "clip.mp4", 3)


def test_a_video_is_labelled(run_cli, stored_kb, clip, tmp_path):
    out = tmp_path / "new" / "a.mp4"
    code, printed, err = run_cli("video", stored_kb, clip, "-o", out, "--quiet")
    assert (code, err) == (0, "") and "3 frames labelled, " in printed and f"{out}" in printed
    assert len(list(open_frames(str(out)))) == 3
    assert len((tmp_path / "new" / "a.regions.jsonl").read_text().splitlines()) == 3


def test_json_says_what_was_written(run_cli, stored_kb, photos, tmp_path):
    line = ("video", stored_kb, photos, "-o", tmp_path / "a.mkv", "--regions", tmp_path / "r.jsonl", "--json")
    code, out, _ = run_cli(*line, "--every", 2)
    said = json.loads(out)
    assert code == 0 and said["frames"] == 2 and said["trouble"] is None and said["in"] == str(photos)
    assert [said[name] for name in ("out", "regions")] == [str(tmp_path / "a.mkv"), str(tmp_path / "r.jsonl")]
    assert (tmp_path / "a.mkv").exists() and (tmp_path / "r.jsonl").exists()


def test_of_a_file_that_is_cut_off_what_is_there_is_labelled(run_cli, stored_kb, tmp_path):
    path = videos.cut(videos.write_noise(tmp_path / "cut.mp4", 6))
    code, out, err = run_cli("video", stored_kb, path, "-o", tmp_path / "a.mp4", "--quiet")
    assert code == 3 and "frames labelled" in out and (tmp_path / "a.mp4").exists()
    assert err.startswith(f"{path} is cut off or damaged: ") and err.count("\n") == 1


@pytest.mark.parametrize("place, out, why", [
    ("none.mp4", "a.mp4", "does not exist"),
    ("/dev/video77", "a.mp4", "is the camera or the network there?"),
    ("notes.txt", "a.mp4", "cannot be read as a video"),
    ("clip.mp4", "a.avi", "is no name of a video"),
    ("clip.mp4", "clip.mp4", "clip.mp4 is the video that is read; give another name"),
    ("clip.mp4", "notes.txt/a.mp4", "cannot be written"),
])  # fmt: skip
def test_mistakes_end_in_one_sentence_and_nothing_is_written(
    fails, stored_kb, clip, tmp_path, monkeypatch, place, out, why
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert why in fails("video", stored_kb, place, "-o", out)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_regions_take_no_other_file_s_place(fails, stored_kb, clip, tmp_path):
    assert "is the video that is read" in fails("video", stored_kb, clip, "-o", tmp_path / "a.mp4", "--regions", clip)
    out = tmp_path / "a.mp4"
    assert "is the video; give another name for the regions" in fails(
        "video", stored_kb, clip, "-o", out, "--regions", out
    )


@pytest.mark.parametrize("options", [("--overlap", 2), ("--smoothing", 0)])
def test_options_out_of_range(fails, stored_kb, clip, tmp_path, options):
    assert "between 0 and 1" in fails("video", stored_kb, clip, "-o", tmp_path / "a.mp4", *options).replace(
        "above 0 and at most 1", "between 0 and 1"
    )


@pytest.fixture
def heeded():
    """Ctrl-C is heeded: it is ignored where the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_closes_the_video(run_cli, monkeypatch, stored_kb, tmp_path, heeded):
    """The signal comes with the fourth frame of a camera that never ends."""
    from owseg.inference import video

    real, done = video.drawn, []

    def drawn(*args):
        done.append(args)
        if len(done) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*args)

    monkeypatch.setattr(video, "drawn", drawn)
    path = videos.write(tmp_path / "long.mp4", 40)
    code, _, err = run_cli("video", stored_kb, path, "-o", tmp_path / "a.mp4")
    assert code == 130 and err.startswith("stopped after 3 of 40 steps of video; ") and "plays" in err
    assert len(list(open_frames(str(tmp_path / "a.mp4")))) == 3
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("count", "said"), [(0, "0 alarms."), (1, "1 alarm."), (2, "2 alarms.")])
def test_one_alarm_is_one(capsys, tmp_path, count, said):
    from owseg.cli.video import _print
    from owseg.inference.video import VideoResult

    _print(VideoResult(frames=3, alarms=count, seconds=1.5), tmp_path / "a.mp4", tmp_path / "a.jsonl")
    assert f"3 frames labelled, 2.0 a second; {said}" in capsys.readouterr().out

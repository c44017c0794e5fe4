"""What an earlier run left: an image is predicted once, however often the run is stopped."""

import json
import os
import random
import shutil
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from owseg import _files
from owseg._files import ERRORS, write_errors
from owseg.errors import OwsegError
from owseg.inference.done import RESULTS, Done
from owseg.inference.predict import predict_files
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.made_by import made_by
from owseg.knowledge.prediction import MAPS
from tests.support import tiny
from tests.support.folders import contents


@pytest.fixture
def paths(tmp_path):
    folder = tiny.write_photos(tmp_path / "photos", 4)
    return sorted(folder.iterdir())


@pytest.fixture
def predicted(monkeypatch):
    """The names of the images that are predicted, not left as they are."""
    names, decide = [], KnowledgeBase.decide
    monkeypatch.setattr(KnowledgeBase, "decide", lambda kb, *of: names.append(of[0].id) or decide(kb, *of))
    return names


def test_what_is_there_is_left_as_it_is(kb, paths, tmp_path, predicted):
    out = tmp_path / "out"
    first = predict_files(kb, paths[:2], out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("p*")}
    second = predict_files(kb, paths, out)
    assert sorted(predicted) == ["p0.png", "p1.png", "p2.png", "p3.png"]
    assert [r.kept for r in second] == [True, True, False, False] and not any(r.kept for r in first)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for old, new in zip(first, second, strict=False):
        assert old.to_json() == new.to_json() and old == replace(new, kept=False)
        assert np.array_equal(old.scores, new.scores)
    assert [json.loads(line)["name"] for line in (out / RESULTS).read_text().splitlines()] == ["p0", "p1", "p2", "p3"]
    predict_files(kb, paths, out, overwrite=True)
    assert len(predicted) == 8


def test_an_image_that_changed_or_lost_a_file_is_predicted_again(kb, paths, tmp_path, predicted):
    out = tmp_path / "out"
    predict_files(kb, paths, out)
    predicted.clear()
    (out / "p0.score.png").unlink()
    paths[1].write_bytes(paths[2].read_bytes())
    os.utime(paths[3], ns=(1, 1))
    predict_files(kb, paths, out)
    assert sorted(predicted) == ["p0.png", "p1.png", "p3.png"]


@pytest.mark.parametrize("change", ["threshold", "weights", "view", "npy", "precision", "write"])
def test_another_way_to_predict_begins_anew(kb, paths, tmp_path, predicted, change):
    out, npy, how = tmp_path / "out", change == "npy", {}
    predict_files(kb, paths, out)
    other = kb
    if change == "threshold":
        other = replace(kb, threshold=replace(kb.threshold, value=kb.threshold.value + 0.5))
    elif change == "weights":
        other = kb.to("cpu")
        network = tiny.network(classes=3)
        with torch.no_grad():
            next(network.parameters()).mul_(1.5)
        other = replace(kb, network=network)
    elif change in ("view", "precision"):
        how = {"full_resolution": True} if change == "view" else {"precision": "bf16"}
    write = ("labels",) if change == "write" else MAPS
    predict_files(other, paths, out, npy, other.engine(**how), write=write)
    assert len(predicted) == 8
    if change == "write":
        return
    assert (
        made_by(other, other.engine(**how), npy) != made_by(kb, None, False) == made_by(kb, kb.engine(batch=3), False)
    )


def test_of_a_function_nobody_knows_what_it_does(kb, paths, tmp_path, predicted):
    for _ in range(2):
        predict_files(kb, paths[:1], tmp_path / "out", forward=lambda image: kb.forward(image))
    assert len(predicted) == 2 and made_by(kb, lambda image: image, False) is None


def test_a_line_that_is_cut_or_foreign_is_left_out(kb, paths, tmp_path, predicted):
    out = tmp_path / "out"
    predict_files(kb, paths, out)
    predicted.clear()
    lines = (out / RESULTS).read_bytes().splitlines(keepends=True)
    foreign = [b"[1]\n", b"{}\n", b"\xff\n", b"[" * 5000 + b"\n", b'{"name": "p9", "made_by": 3}\n', b"x" * (3 << 20)]
    (out / RESULTS).write_bytes(b"".join([*lines[:2], *foreign, b"\n", lines[2], lines[3][:-9]]))
    predict_files(kb, paths, out)
    assert predicted == ["p3.png"] and (out / RESULTS).read_bytes() == b"".join(lines)


@pytest.mark.parametrize("value", [{"files": None}, {"files": [3]}, {"file": None}, {"files": ["/x"]}])
def test_a_line_of_another_form_is_no_result(kb, paths, tmp_path, value):
    out = tmp_path / "out"
    predict_files(kb, paths[:1], out)
    line = {**json.loads((out / RESULTS).read_text()), **value}
    (out / RESULTS).write_text(json.dumps(line) + "\n")
    assert Done.begin(out, made_by(kb, None, False, sorted(MAPS))).of("p0", paths[0]) is None


def test_errors_are_listed_and_the_list_goes_with_them(kb, paths, tmp_path):
    out, bad = tmp_path / "out", paths[1].with_name("=bad.png")
    bad.write_bytes(b"no image")
    predict_files(kb, [*paths, bad], out)
    rows = (out / ERRORS).read_text().splitlines()
    assert rows[0] == "path,error" and len(rows) == 2 and rows[1].startswith(str(bad))
    tiny.write_photos(tmp_path / "more", 1)
    bad.write_bytes((tmp_path / "more" / "p0.png").read_bytes())
    assert [r.kept for r in predict_files(kb, [*paths, bad], out)] == [True] * 4 + [False]
    assert not (out / ERRORS).exists()
    write_errors(out, [(tmp_path / "a", "=HYPERLINK(1)")])
    assert (out / ERRORS).read_text().endswith(",'=HYPERLINK(1)\n")


def test_a_full_disk_ends_in_one_sentence_and_the_same_command_goes_on(kb, paths, tmp_path, monkeypatch, predicted):
    out = tmp_path / "out"
    add, calls = Done.add, []

    def full(self, *args):
        calls.append(args)
        if len(calls) == 2:
            raise OwsegError("results.jsonl cannot be written (no space left on device); make room.")
        add(self, *args)

    monkeypatch.setattr(Done, "add", full)
    with pytest.raises(OwsegError, match=r"make room; 1 of 4 images are done\.$"):
        predict_files(kb, paths, out)
    results = predict_files(kb, paths, out)
    assert [r.kept for r in results] == [True, False, False, False]


def test_killed_fifty_times_it_leaves_the_files_of_a_run_that_never_was(kb, tmp_path):
    """Killed at random moments, again and again until all is done, and begun anew then."""
    paths = sorted(tiny.write_photos(tmp_path / "photos", 6).iterdir())
    whole, out, rng = tmp_path / "whole", tmp_path / "out", random.Random(0)
    engine = kb.engine(workers=1)
    began = time.monotonic()
    predict_files(kb, paths, whole, forward=engine)
    span = at_first = time.monotonic() - began
    finished = 0
    for _ in range(50):
        _files._remove_leftovers.cache_clear()  # a process looks once, and this one is many
        child = os.fork()
        if not child:
            try:
                predict_files(kb, paths, out, forward=engine)
            finally:
                os._exit(0)
        time.sleep(rng.uniform(0, span))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        span *= 1.1  # on a busy machine a run takes longer than the first did
        if out.is_dir() and contents(out).keys() == contents(whole).keys():
            finished, span = finished + 1, at_first
            _files._remove_leftovers.cache_clear()
            predict_files(kb, paths, out, forward=engine)
            assert contents(out) == contents(whole)
            shutil.rmtree(out)
    _files._remove_leftovers.cache_clear()
    predict_files(kb, paths, out, forward=engine)
    assert contents(out) == contents(whole) and finished > 1


@pytest.mark.parametrize("write", [(), ("labels",), ("score", "regions"), ("overlay",)])
def test_what_is_written_is_what_was_asked_for(kb, paths, tmp_path, predicted, write):
    out, names = tmp_path / "out", {"labels": "labels.png", "score": "score.png", "overlay": "open.jpg"}
    whole = predict_files(kb, paths[:1], tmp_path / "whole")[0]
    for kept in (False, True):
        (result,) = predict_files(kb, paths[:1], out, write=write)
        assert result.kept is kept and result.unknown == whole.unknown
        assert [f.name for f in result.files] == [
            f"p0.{names.get(name, f'{name}.json')}" for name in MAPS if name in write
        ]
        assert all(f.read_bytes() == (tmp_path / "whole" / f.name).read_bytes() for f in result.files)
        assert ("regions" in result.summary) == bool({"overlay", "regions"} & {*write})
    assert len(predicted) == 2

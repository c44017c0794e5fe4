import numpy as np
import pytest

from owseg.data.dataset import DataSet
from owseg.data.shots import sample_shots
from owseg.evaluation.sequence import evaluate_sequence
from owseg.labels import LabelSpace
from owseg.learners.learn import learn
from owseg.report.sequence import embedding_map, strips, write_sequence_report
from tests.support import tiny


@pytest.fixture(scope="module")
def frames():
    return tiny.dataset(6, 4)


@pytest.fixture(scope="module")
def stages(kb, frames):
    known = DataSet(frames.source, LabelSpace.of(("road", "sky", "tree")))
    return [kb, learn(kb, "rock", sample_shots(frames, "rock", 3), known)]


@pytest.fixture(scope="module")
def evaluation(stages, frames):
    return evaluate_sequence(stages, frames)


@pytest.mark.usefixtures("quick_tsne")
def test_the_page_shows_every_stage(stages, frames, evaluation, tmp_path):
    path = write_sequence_report(stages, frames, evaluation, tmp_path / "new" / "page.html")
    assert path == tmp_path / "new" / "page.html"
    page = path.read_text()
    for words in ("Learning rock", "IoU as classes are learned", "Embedding of the classes", "ground truth", "+ rock"):
        assert words in page, words
    assert page.count("data:image/") == 4 * 4  # four images: itself, two stages, the ground truth
    assert f"{evaluation.iou()['rock'][1]:.2f}" in page
    assert "learned rock from 3 shots" in page


def test_a_strip_is_an_image_its_open_set_map_at_every_stage_and_the_ground_truth(stages, frames, evaluation):
    found = strips(stages, frames, evaluation)
    palette = stages[-1].labels.palette()
    numbers = [frames.source.ids.index(strip.title) for strip in found]
    assert numbers == sorted(numbers) and len(found) == 4
    parts = np.array_split(range(6), 4)
    shows = [(frames.source.read(i)[1] == 3).mean() for i in range(6)]
    assert numbers == [max(part, key=lambda i: shows[i]) for part in parts]
    for strip, i in zip(found, numbers, strict=True):
        image, raw = frames.source.read(i)
        assert [caption for caption, _ in strip.images] == ["input", "before", "+ rock", "ground truth"]
        maps = [pixels for _, pixels in strip.images]
        assert np.array_equal(maps[0], image.transpose(1, 2, 0)) and np.array_equal(maps[3], palette[raw])
        for kb, pixels in zip(stages, maps[1:3], strict=True):
            assert np.array_equal(pixels, palette[kb.predict(image).open_set])


@pytest.mark.usefixtures("quick_tsne")
def test_the_embedding_is_sampled_class_by_class_and_learned_ones_are_ringed(stages, frames):
    found = embedding_map(stages[-1], frames, ("rock",))
    assert set(found.names) <= {"road", "sky", "tree", "rock"} and found.ringed == ("rock",)
    assert found.points.shape == (len(found.names), 2) and np.isfinite(found.points).all()
    assert np.array_equal(found.points, embedding_map(stages[-1], frames, ("rock",)).points)
    assert not np.array_equal(found.points, embedding_map(stages[-1], frames, ("rock",), seed=1).points)
    bare = DataSet(frames.source, LabelSpace.of(["nothing"])).pick([])
    assert embedding_map(stages[-1], bare, ()) is None

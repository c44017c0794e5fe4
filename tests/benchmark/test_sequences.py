"""Classes learned one after another: what a recipe says of them, how they are measured, and the tables."""

import csv
import io
import shutil
from dataclasses import replace

import numpy as np
import pytest

from owseg.benchmark import run as benchmark
from owseg.benchmark import sequences as module
from owseg.benchmark.class_sequence import ClassSequence
from owseg.benchmark.recipe import Data, Recipe, read_recipe
from owseg.benchmark.run import run
from owseg.benchmark.tables import DASH, spread
from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.evaluation.evaluate import evaluate
from owseg.evaluation.sequence import evaluate_sequence, evaluate_sequences
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.learners.finetune import FineTune
from owseg.learners.npm import NPM
from owseg.learners.sequence import learn_sequence, sample_classes
from owseg.metrics.binned import Binned
from owseg.metrics.iou import harmonic
from tests.support import tiny

HEAD = '[data.d]\nspec = "synthetic"\n'
SEQUENCE = (
    HEAD + '[sequences.s]\nkb = "synthetic"\norder = ["animal", "boulder"]\nshots_data = "synthetic"\ndata = "d"\n'
)
BAD = {
    HEAD + '[sequences.s]\nkb = "synthetic"\n': "sequences.s.order is missing",
    HEAD + "[sequences]\ns = 3\n": "sequences.s is a table of kb, order,",
    SEQUENCE.replace('data = "d"', 'data = "x"'): "sequences.s.data names 'x', which is none of the data: d",
    SEQUENCE + "kbs = 3\n": "no key sequences.s.kbs",
    SEQUENCE.replace('["animal", "boulder"]', "[]"): "sequences.s.order is a list of different names",
    SEQUENCE.replace('kb = "synthetic"', "kb = []"): "sequences.s.kb is a list of different names",
    SEQUENCE + "shots = [5, 5]\n": "sequences.s.shots is a list of different whole numbers",
    SEQUENCE + "shots = [0]\n": "1 or more, not .0.",
    SEQUENCE + "shots = [true]\n": "sequences.s.shots is a list",
    SEQUENCE + "draws = 0\n": "sequences.s.draws is 1 or more, not 0",
    SEQUENCE + "learners.x = {}\n": "sequences.s.learners.x.method is .*probe.*, not 'x'",
    SEQUENCE + "learners.x = 3\n": "sequences.s.learners.x is a table of the method and its options",
    SEQUENCE + 'learners.x = { method = "npm", radios = 3 }\n': "sequences.s.learners.x has no option 'radios'",
    SEQUENCE + 'learners.npm.radius = "wide"\n': "sequences.s.learners.npm: radius is",
    SEQUENCE + 'joint.3 = "synthetic"\n': "sequences.s.joint.3 is of a number of classes learned, 1 to 2",
    SEQUENCE + 'joint.one = "synthetic"\n': "sequences.s.joint.one is of a number",
    SEQUENCE + 'joint.1 = ["a", "b"]\n': "names 2 knowledge bases; give one for each of kb, 1",
    SEQUENCE + "joint.1 = 3\n": "sequences.s.joint.1 is a list of different names",
    SEQUENCE + 'joint.1 = "$NOT_SET_HERE"\n': r"sequences.s: the variable|sequences.s.*\$NOT_SET_HERE is not set",
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_wrong_is_named_by_its_key(text, tmp_path):
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(OwsegError, match=BAD[text]):
        read_recipe(tmp_path / "recipe.toml")


def test_a_sequence_is_read_with_its_methods_and_places(tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", "/somewhere")
    (tmp_path / "recipe.toml").write_text(
        SEQUENCE.replace('kb = "synthetic"', 'kb = ["$PLACE/a", "$PLACE/b"]').replace(
            'shots_data = "synthetic"', 'shots_data = "folder:$PLACE/own"'
        )
        + 'shots = [3]\ndraws = 2\njoint.2 = ["$PLACE/c", "$PLACE/d"]\n'
        'learners.far = { method = "npm", radius = 9 }\nlearners.finetune.steps = 3\n'
        '[sequences.absent]\nkb = "$NOT_SET_HERE"\norder = ["x"]\n'
        'shots_data = "synthetic"\ndata = "d"\noptional = true\n'
    )
    recipe = read_recipe(tmp_path / "recipe.toml")
    (sequence,) = recipe.sequences
    assert sequence.kb == ("/somewhere/a", "/somewhere/b") and sequence.joint == {2: ("/somewhere/c", "/somewhere/d")}
    assert (sequence.shots_data, sequence.shots, sequence.draws) == ("folder:/somewhere/own", (3,), 2)
    assert sequence.learners == {"far": NPM(radius=9), "finetune": FineTune(steps=3)}
    assert recipe.models == () and len(recipe.left_out) == 1 and "sequences.absent" in recipe.left_out[0]


@pytest.fixture(scope="module")
def learned(place, tmp_path_factory):
    """A sequence of one class, from two draws of one and two shots, by two methods, and a network that knew it."""
    names = tiny.dataset(1).labels.names
    know_all = tmp_path_factory.mktemp("joint")
    replace(tiny.knowledge_base(names), threshold=load(place / "kb").threshold, scorer="msp").save(know_all)
    own = f"folder:{place / 'own'}"
    learners = {"npm": NPM(radius=20.0), "narrow": NPM(radius=0.1)}
    sequence = ClassSequence(
        "s", (str(place / "kb"),), ("tree",), own, "own", (2, 1), 2, "train", learners, {1: (str(know_all),)}
    )
    recipe, out = Recipe((), (Data("own", own, most=3),), sequences=(sequence,)), tmp_path_factory.mktemp("out")
    return recipe, run(recipe, out), out


def test_each_run_is_what_learning_and_evaluating_give(learned, place):
    recipe, results, _ = learned
    (sequence,), (found,) = recipe.sequences, results.sequences
    kb = load(sequence.kb[0])
    frames = DataSet(benchmark._source(sequence.shots_data, "train", {}), kb.labels)
    data = benchmark._opened(recipe.data[0], kb, {}, {})
    assert [(r["learner"], r["shots"], r["draw"]) for r in found.runs] == [
        (title, shots, draw) for draw in range(2) for shots in (2, 1) for title in sequence.learners
    ]
    bound = evaluate(load(sequence.joint[1][0]), DataSet(data.source, load(sequence.joint[1][0]).labels)).iou
    together = harmonic(bound.mean([n for n in bound.names if n != "tree"]), bound.per_class()["tree"])
    for r in found.runs:
        classes = sample_classes(frames, ["tree"], r["shots"], r["draw"])
        stages = learn_sequence(kb, classes, method=sequence.learners[r["learner"]])
        expected = evaluate_sequence([kb, *stages], data)
        before, last, (after,) = expected.stages[0], expected.stages[1], r["steps"]
        assert after["iou"] == last.iou.per_class()
        assert (after["old"], after["novel"]) == (last.summary()["miou_old"], last.summary()["miou_novel"])
        assert after["harmonic"] == last.summary()["miou_harmonic"] and after["known_fpr"] == last.known_fpr
        assert after["of_joint"] == pytest.approx(after["harmonic"] / together)
        assert after["forgotten"] == pytest.approx(before.iou.mean() - last.iou.mean(before.iou.names))
        assert after["new_unknown"] == pytest.approx(expected.open_set()[0]["new_class_unknown"])
    wide, narrow = (
        np.mean([r["steps"][0]["iou"]["tree"] for r in found.runs if r["learner"] == n]) for n in sequence.learners
    )
    assert wide != narrow  # each method has its own options


def test_what_is_kept_is_not_measured_again_unless_something_changed(learned, monkeypatch, tmp_path):
    recipe, results, made = learned
    out = shutil.copytree(made, tmp_path / "out")
    calls = []

    def count(*args, **options):
        calls.append(1)
        return learn_sequence(*args, **options)

    monkeypatch.setattr(module, "learn_sequence", count)
    again = run(recipe, out)
    assert not calls and again.sequences[0].to_json() == results.sequences[0].to_json()
    drawn = []
    monkeypatch.setattr(module, "sample_classes", lambda *how: drawn.append(how[2:]) or sample_classes(*how))
    changed = replace(recipe.sequences[0], learners={"npm": NPM(radius=5.0)})
    run(replace(recipe, sequences=(changed,)), out)
    assert len(calls) == 4 and drawn == [(2, 0), (1, 0), (2, 1), (1, 1)]  # number of shots, seed


def test_a_class_that_is_known_is_refused_before_anything_is_learned(learned, tmp_path):
    recipe, _, _ = learned
    wrong = replace(recipe.sequences[0], order=("road",))
    with pytest.raises(OwsegError, match=r"sequences.s.order: 'road' is known to .* already"):
        run(replace(recipe, sequences=(wrong,)), tmp_path)
    nowhere = replace(recipe.sequences[0], order=("unicorn",), joint={})
    with pytest.raises(OwsegError, match=r"sequences\.s: .*unicorn"):
        run(replace(recipe, sequences=(nowhere,)), tmp_path)
    assert not list(tmp_path.glob("sequences/*/*.json"))


def test_the_tables_have_mean_and_deviation_and_the_files_all_digits(learned):
    _, results, out = learned
    (found,) = results.sequences
    ((title, header, rows),) = found.tables()
    assert title == "s: 2 + 1, tree" and header[:4] == ("method", "shots", "old mIoU", "tree")
    assert [row[:2] for row in rows] == [("joint", DASH), ("npm", "2"), ("npm", "1"), ("narrow", "2"), ("narrow", "1")]
    old = [r["steps"][0]["old"] for r in found.runs if (r["learner"], r["shots"]) == ("npm", 2)]
    assert rows[1][2] == f"{np.mean(old):.3f} ± {np.std(old):.3f}"
    assert "## Learning" in (page := (out / "results.md").read_text()) and f"| npm | 2 | {rows[1][2]} |" in page
    assert r"\begin{tabular}{lrr" in (out / "results.tex").read_text() and r"$\pm$" in (out / "results.tex").read_text()
    lines = list(csv.DictReader(io.StringIO((out / "sequences.csv").read_text())))
    assert len(lines) == 8 and float(lines[0]["old"]) == found.runs[0]["steps"][0]["old"]
    assert lines[0]["class"] == "tree" and lines[0]["seconds"]
    assert [t[0] for t in results.tables()] == [title] and len(results.tables()[0][1]) == 7


def test_each_network_is_compared_with_its_own_bound(learned, tmp_path, monkeypatch):
    recipe, _, _ = learned
    sequence = replace(recipe.sequences[0], kb=("a", "b"), joint={1: ("c", "d")}, draws=1, shots=(1,))
    monkeypatch.setattr(
        module, "_draw", lambda path, *_: [{"learner": "npm", "shots": 1, "steps": [{"harmonic": 0.3}]}]
    )
    monkeypatch.setattr(
        module, "_bound", lambda path, *_: {"harmonic": {"joint-1-0.json": 0.6, "joint-1-1.json": 0.5}[path.name]}
    )
    kb, data = load(recipe.sequences[0].kb[0]), tiny.dataset(1)
    found = module.measure_sequence(sequence, [kb, kb], {1: [kb, kb]}, data, data, tmp_path)
    assert [(r["network"], r["steps"][0]["of_joint"]) for r in found.runs] == [(0, 0.5), (1, 0.6)]


def test_spread():
    assert spread([0.5]) == "0.500" and spread([]) == DASH == spread([np.nan])
    assert spread([1.0, 3.0, np.nan], 1) == "2.0 ± 1.0"


def test_sequences_of_one_network_are_measured_in_one_pass(learned, monkeypatch):
    """A stage that several share is measured once, and so is the score, which learning does not change."""
    recipe, _, _ = learned
    kb = load(recipe.sequences[0].kb[0])
    data = benchmark._opened(recipe.data[0], kb, {}, {})
    frames = DataSet(benchmark._source(recipe.sequences[0].shots_data, "train", {}), kb.labels)
    sequences = [
        [kb, *learn_sequence(kb, sample_classes(frames, ["tree"], 1, seed), method=NPM(radius=20.0))] for seed in (0, 1)
    ]
    alone = [evaluate_sequence(stages, data) for stages in sequences]
    scored, score = [], KnowledgeBase._score
    monkeypatch.setattr(KnowledgeBase, "_score", lambda *args: scored.append(1) or score(*args))
    both = evaluate_sequences(sequences, data)
    assert [one.to_json() for one in both] == [one.to_json() for one in alone]
    assert len(scored) == len(data) and both[0].stages[0] is both[1].stages[0]
    other = [[sequences[0][0], replace(sequences[0][1], fitted=dict(kb.fitted))]]  # it may be another score
    scored.clear()
    assert evaluate_sequences(other, data)[0].to_json() == alone[0].to_json() and len(scored) == 2 * len(data)
    binned = evaluate_sequences(sequences, data, Binned)
    assert "from histograms" in binned[0].stages[0].protocol
    with pytest.raises(OwsegError, match="has not learned a class yet"):
        evaluate_sequences([sequences[0], [kb]], data)

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import owseg
from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import calibrate, find_threshold, fit_scorers
from owseg.knowledge.commit import commit_version, rollback_version
from owseg.knowledge.load import load, load_stages
from owseg.knowledge.versions import read_version
from owseg.labels import UNKNOWN, LabelSpace
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from owseg.models.ops import resize
from owseg.openset import Threshold
from owseg.training.build import round_to_half
from owseg.types import Shot
from tests.reference import scorers as oracle
from tests.support import tiny


@pytest.fixture(scope="module")
def kb():
    """A calibrated knowledge base of three classes with the fitted scorer."""
    data = tiny.dataset()
    return calibrate(fit_scorers(tiny.knowledge_base(), data), data, scorer="joint")


def a_shot(seed=5):
    mask = np.zeros((48, 64), bool)
    mask[:20, :30] = True
    return Shot(tiny.image(seed), mask, "shot")


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


def test_the_mixture_of_a_knowledge_base_reads_its_own_scale(tmp_path):
    KnowledgeBase(tiny.network(scale=1.5), tiny.knowledge_base().labels).save(tmp_path / "kb")
    kb = load(tmp_path / "kb")
    output = kb.forward(tiny.image(0))
    expected = oracle.mixture(output.embedding[0].double().numpy(), "absolute", 20, 0.8, scale=1.5)
    assert np.allclose(kb.scorers("mixture")["mixture"](output)[0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("half", [False, True])
def test_what_is_saved_predicts_the_same_to_the_bit(kb, tmp_path, half):
    if half:
        network = tiny.network()
        round_to_half(network)
        kb = calibrate(replace(kb, network=network), tiny.dataset(), scorer="energy")
    kb = learn(kb, "rock", [a_shot()], method=NPM(1.0))
    assert kb.save(tmp_path / "kb") == 1
    loaded = load(tmp_path / "kb")
    for seed in range(3):
        assert same(kb.predict(tiny.image(seed)), loaded.predict(tiny.image(seed)))
    assert loaded.labels == kb.labels
    assert loaded.increments == kb.increments
    assert loaded.threshold == kb.threshold
    assert loaded.history == kb.history


def test_what_16_bits_hold_is_stored_in_16_bits(tmp_path):
    whole, half = tiny.knowledge_base(), tiny.knowledge_base()
    round_to_half(half.network)
    whole.save(tmp_path / "whole")
    half.save(tmp_path / "half")
    size = [next((tmp_path / n).rglob("network.safetensors")).stat().st_size for n in ("whole", "half")]
    assert size[1] < 0.7 * size[0]


def test_learning_then_rolling_back_is_as_if_nothing_was(kb, tmp_path):
    kb.save(tmp_path / "kb")
    before = kb.predict(tiny.image())
    learn(kb, "rock", [a_shot()], method=NPM(1e6)).save(tmp_path / "kb")
    assert not same(before, load(tmp_path / "kb").predict(tiny.image()))
    rollback_version(tmp_path / "kb")
    assert same(before, load(tmp_path / "kb").predict(tiny.image()))
    assert load(tmp_path / "kb", 2).labels.names[-1] == "rock"


def test_stages_are_those_of_one_network_and_one_line(kb, tmp_path):
    place, names = tmp_path / "kb", lambda: [k.labels.names for k in load_stages(place)]
    three = kb.labels.names
    one = learn(kb, "rock", [a_shot()], method=NPM(1.0))
    two = learn(one, "cow", [a_shot(6)], method=NPM(1.0))
    for stage in (kb, one, two):
        stage.save(place)
    assert names() == [three, (*three, "rock"), (*three, "rock", "cow")]
    learn(kb, "dog", [a_shot()], method=NPM(1.0)).save(place)  # made from the first, stored after the third
    assert names() == [(*three, "dog")]
    other = tiny.network(3, scale=2.0)
    with torch.no_grad():
        other.decoder.head.bias += 1
    learn(replace(kb, network=other), "dog", [a_shot()], method=NPM(1.0)).save(place)
    assert names() == [(*three, "dog")]
    kb.save(tmp_path / "other")
    learn(replace(kb, network=other), "dog", [a_shot()], method=NPM(1.0)).save(tmp_path / "other")
    stages = load_stages(tmp_path / "other")  # another network: what lies before is not its past
    assert [k.labels.names for k in stages] == [(*three, "dog")]


def test_the_readable_file_tells_everything(kb, tmp_path):
    learn(kb, "rock", [a_shot()], method=NPM(1.0)).save(tmp_path / "kb")
    value = json.loads(next((tmp_path / "kb").rglob("knowledge.json")).read_text())
    assert [c["name"] for c in value["classes"]] == ["road", "sky", "tree", "rock"]
    assert np.array_equal(value["prototypes"], 3 * np.eye(3))
    assert value["increments"][0]["name"] == "rock"
    assert value["threshold"]["target_fpr"] == 0.05
    assert [e["action"] for e in value["history"]] == ["train", "fit", "calibrate", "learn"]
    assert value["history"][2]["details"]["fingerprint"] == tiny.dataset().fingerprint()


def test_the_open_set_map_is_the_closed_map_with_unknown_above_the_threshold(kb):
    prediction = kb.predict(tiny.image())
    above = prediction.score > kb.threshold.value
    assert above.any() and not above.all()
    assert (prediction.open_set[above] == UNKNOWN).all()
    assert np.array_equal(prediction.open_set[~above], prediction.labels[~above])
    assert prediction.labels.max() < 3
    assert {a.shape for a in vars(prediction).values()} == {(48, 64)}


def test_the_score_is_one_channel_interpolated(kb):
    output = kb.forward(tiny.image())
    for name, scorer in kb.scorers.items():
        expected = resize(scorer(output)[:, None], (48, 64))[0, 0].numpy()
        assert np.array_equal(kb.score(output, (48, 64), name), expected), name


def test_calibration_keeps_its_promise_on_its_own_data(kb):
    data = tiny.dataset()
    for fpr in (0.05, 0.3):
        new = calibrate(kb, data, fpr, scorer="energy")
        lost = [(new.predict(s.image).open_set == UNKNOWN)[s.target < UNKNOWN] for s in data]
        rate = np.concatenate(lost).mean()
        assert rate <= fpr
        assert rate == pytest.approx(new.threshold.achieved_fpr)
        assert rate > fpr - 0.02


def test_recalibration_counts_claimed_pixels_as_known(kb):
    updated = learn(kb, "rock", [a_shot()], method=NPM(1e9))
    learned = np.mean([updated.assess(updated.forward(s.image), (48, 64)).learned.mean() for s in tiny.dataset()])
    assert learned > 0.05
    without = find_threshold(kb, tiny.dataset())
    assert find_threshold(updated, DataSet(tiny.dataset().source, updated.labels)).value < without.value
    again = learn(kb, "rock", [a_shot()], tiny.dataset(), method=NPM(1e9))
    assert again.threshold.value < kb.threshold.value
    assert again.history[-1].details["recalibrated"]["value"] == again.threshold.value


def test_a_linear_network_has_no_metric_scores():
    kb = tiny.knowledge_base(classifier="linear")
    assert "eds" not in kb.scorers and "msp" in kb.scorers
    with pytest.raises(OwsegError, match="has no scorer 'eds'"):
        calibrate(kb, tiny.dataset(), scorer="eds")


def test_nothing_is_predicted_without_a_threshold():
    with pytest.raises(OwsegError, match="owseg calibrate"):
        tiny.knowledge_base().predict(tiny.image())


def test_names_must_fit_the_network():
    with pytest.raises(OwsegError, match="do not fit"):
        replace(tiny.knowledge_base(), labels=LabelSpace.of(["a", "b"]))


def test_nan_weights_are_neither_stored_nor_loaded(kb, tmp_path):
    bad = tiny.knowledge_base()
    next(bad.network.decoder.parameters()).data.fill_(float("nan"))
    with pytest.raises(OwsegError, match="NaN"):
        bad.save(tmp_path / "kb")
    statistics = tiny.knowledge_base()
    next(b for n, b in statistics.network.named_buffers() if n.endswith("running_var")).fill_(float("inf"))
    with pytest.raises(OwsegError, match="running_var"):
        statistics.save(tmp_path / "kb")
    assert not (tmp_path / "kb").exists()
    from safetensors.torch import save

    kb.save(tmp_path / "good")
    folder = read_version(tmp_path / "good")[1]
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix in (".json", ".safetensors")}
    files = {n: files[n] for n in ("knowledge.json", "network.safetensors", "scorer.safetensors")}
    commit_version(
        tmp_path / "nan",
        {
            **files,
            "network.safetensors": save({k: v.contiguous() for k, v in bad.network.state_dict().items()}),
        },
    )
    with pytest.raises(OwsegError, match="NaN"):
        load(tmp_path / "nan")
    commit_version(tmp_path / "cut", {**files, "network.safetensors": files["network.safetensors"][:5000]})
    with pytest.raises(OwsegError, match="does not hold"):
        load(tmp_path / "cut")
    commit_version(tmp_path / "old", {**files, "knowledge.json": b'{"format": 99}'})
    with pytest.raises(OwsegError, match="format 99"):
        load(tmp_path / "old")
    commit_version(tmp_path / "odd", {**files, "knowledge.json": b"[]"})
    with pytest.raises(OwsegError, match="does not describe"):
        load(tmp_path / "odd")


def test_further_scorers_are_stored_beside_the_fitted_ones(kb, tmp_path):
    updated = fit_scorers(kb, tiny.dataset())
    assert set(updated.scorers) - set(kb.scorers) == {"knn", "sml"} and updated.threshold == kb.threshold
    updated = calibrate(updated, tiny.dataset(), scorer="knn")
    assert updated.save(tmp_path / "kb") == 1
    files = {p.name for p in read_version(tmp_path / "kb")[1].iterdir()}
    assert {"scorer.safetensors", "scorer-knn.safetensors", "scorer-sml.safetensors"} <= files
    loaded = load(tmp_path / "kb")
    assert same(updated.predict(tiny.image()), loaded.predict(tiny.image()))
    output = loaded.forward(tiny.image())
    for name in updated.scorers:
        assert np.array_equal(updated.score(output, (48, 64), name), loaded.score(output, (48, 64), name)), name
    assert fit_scorers(updated, tiny.dataset(), ["sml"]).threshold == updated.threshold
    assert fit_scorers(updated, tiny.dataset(), ["knn"]).threshold is None
    with pytest.raises(OwsegError, match="no fitted scorer 'svm'; it is one of knn, sml"):
        fit_scorers(kb, tiny.dataset(), ["svm"])


def test_a_knowledge_base_stored_before_there_were_further_scorers_loads(kb, tmp_path):
    kb.save(tmp_path / "kb")
    folder = read_version(tmp_path / "kb")[1]
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix in (".json", ".safetensors")}
    value = json.loads(files["knowledge.json"])
    assert value.pop("extra") == {}
    old = {"network.safetensors", "scorer.safetensors"}
    commit_version(tmp_path / "old", {**{n: files[n] for n in old}, "knowledge.json": json.dumps(value).encode()})
    assert same(load(tmp_path / "old").predict(tiny.image()), kb.predict(tiny.image()))
    assert load(tmp_path / "old").extra == {}
    odd = {**value, "extra": {"svm": {}}}
    commit_version(tmp_path / "odd", {**{n: files[n] for n in old}, "knowledge.json": json.dumps(odd).encode()})
    with pytest.raises(OwsegError, match="does not describe a knowledge base"):
        load(tmp_path / "odd")


def test_a_damaged_file_is_noticed(kb, tmp_path):
    kb.save(tmp_path / "kb")
    path = read_version(tmp_path / "kb")[1] / "network.safetensors"
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)
    with pytest.raises(OwsegError, match=r"network\.safetensors"):
        load(tmp_path / "kb")


def test_the_public_surface():
    for name in owseg.__all__:
        assert getattr(owseg, name) is not None
    assert torch.is_tensor(torch.zeros(1))


def test_the_fingerprint_is_of_what_decides_labels_and_scores(tmp_path):
    kb = tiny.knowledge_base()
    kb.save(tmp_path / "kb")
    mark = kb.fingerprint()
    assert load(tmp_path / "kb").fingerprint() == mark
    threshold = Threshold(1.0, "quantile", 0.1, 0.1, 1.0, 1, 1)
    assert replace(kb, threshold=threshold, scorer="msp", history=()).fingerprint() == mark
    other = tiny.knowledge_base()
    with torch.no_grad():
        next(other.network.parameters()).mul_(1.001)
    assert other.fingerprint() != mark
    assert tiny.knowledge_base(("road", "sky", "bush")).fingerprint() != mark

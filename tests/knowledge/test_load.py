"""What is stored loads as it was, and what is damaged or of another format ends in one sentence."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save

from owseg.errors import OwsegError
from owseg.knowledge import load as module
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import calibrate, fit_scorers
from owseg.knowledge.commit import commit_version, rollback_version
from owseg.knowledge.load import load, load_stages
from owseg.knowledge.versions import read_version
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from owseg.models import engine
from owseg.models.residual_pattern import residual_of
from owseg.training.build import round_to_half
from tests.support import tiny
from tests.support.shots import corner_shot

SIZE = (48, 64)


def same(a, b):
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ("labels", "score", "open_set"))


def files_of(place):
    """The files that were given to the current version, by name."""
    folder = read_version(place)[1]
    return {
        p.name: p.read_bytes() for p in folder.iterdir() if p.suffix == ".safetensors" or p.name == "knowledge.json"
    }


@pytest.mark.parametrize("half", [False, True])
def test_what_is_saved_predicts_the_same_to_the_bit(kb, tmp_path, half):
    if half:
        network = tiny.network()
        round_to_half(network)
        kb = calibrate(replace(kb, network=network), tiny.dataset(), scorer="energy")
    kb = learn(kb, "rock", [corner_shot()], method=NPM(1.0))
    assert kb.save(tmp_path / "kb") == 1
    loaded = load(tmp_path / "kb")
    for seed in range(3):
        assert same(kb.predict(tiny.image(seed)), loaded.predict(tiny.image(seed)))
    assert loaded.labels == kb.labels
    assert loaded.increments == kb.increments
    assert loaded.threshold == kb.threshold
    assert loaded.history == kb.history
    assert loaded.fingerprint(decides=True) == kb.fingerprint(decides=True)


def test_the_scale_of_the_prototypes_is_stored(tmp_path):
    kb = KnowledgeBase(tiny.network(scale=1.5), tiny.knowledge_base().labels)
    kb.save(tmp_path / "kb")
    output, again = kb.forward(tiny.image()), load(tmp_path / "kb").forward(tiny.image())
    assert torch.equal(output.logits, again.logits)


def test_what_16_bits_hold_is_stored_in_16_bits(tmp_path):
    whole, half = tiny.knowledge_base(), tiny.knowledge_base()
    round_to_half(half.network)
    whole.save(tmp_path / "whole")
    half.save(tmp_path / "half")
    size = [next((tmp_path / n).rglob("network.safetensors")).stat().st_size for n in ("whole", "half")]
    assert size[1] < 0.7 * size[0]


def test_learning_then_rolling_back_is_as_if_nothing_was(kb, stored_kb):
    before = kb.predict(tiny.image())
    assert learn(kb, "rock", [corner_shot()], method=NPM(1e6)).save(stored_kb) == 2
    assert not same(before, load(stored_kb).predict(tiny.image()))
    rollback_version(stored_kb)
    assert same(before, load(stored_kb).predict(tiny.image()))
    assert load(stored_kb, 2).labels.names[-1] == "rock" and load(stored_kb, version=1).labels == kb.labels


def test_stages_are_those_of_one_network_and_one_line(kb, tmp_path):
    place = tmp_path / "kb"

    def names():
        return [k.labels.names for k in load_stages(place)]

    three = kb.labels.names
    one = learn(kb, "rock", [corner_shot()], method=NPM(1.0))
    two = learn(one, "cow", [corner_shot(6)], method=NPM(1.0))
    for stage in (kb, one, two):
        stage.save(place)
    assert names() == [three, (*three, "rock"), (*three, "rock", "cow")]
    rollback_version(place, 1)
    learn(kb, "dog", [corner_shot()], method=NPM(1.0)).save(place)  # a branch from the first
    assert names() == [three, (*three, "dog")]
    other = tiny.network(3, scale=2.0)
    with torch.no_grad():
        other.decoder.head.bias += 1
    rollback_version(place, 1)
    # Of another radius, as two events that say the same in the same second are one.
    learn(replace(kb, network=other), "dog", [corner_shot()], method=NPM(2.0)).save(place)
    assert names() == [(*three, "dog")]
    kb.save(tmp_path / "other")
    learn(replace(kb, network=other), "dog", [corner_shot()], method=NPM(1.0)).save(tmp_path / "other")
    stages = load_stages(tmp_path / "other")  # another network: what was stored before is not its past
    assert [k.labels.names for k in stages] == [(*three, "dog")]


def test_the_readable_file_holds_all_but_the_weights(kb, tmp_path):
    learn(kb, "rock", [corner_shot()], method=NPM(1.0)).save(tmp_path / "kb")
    value = json.loads(files_of(tmp_path / "kb")["knowledge.json"])
    assert value["format"] == 2
    assert [c["name"] for c in value["classes"]] == ["road", "sky", "tree", "rock"]
    assert np.array_equal(value["prototypes"], 3 * np.eye(3))
    assert value["increments"][0]["name"] == "rock"
    assert value["threshold"]["target_fpr"] == 0.05 and value["scorer"] == "joint"
    assert [e["action"] for e in value["history"]] == ["train", "fit", "calibrate", "learn"]
    assert value["history"][2]["details"]["fingerprint"] == tiny.varied().fingerprint()


def test_further_scorers_are_stored_beside_the_fitted_ones(kb, tmp_path):
    updated = fit_scorers(kb, tiny.dataset(), ("knn", "sml"))
    assert set(updated.scorers) - set(kb.scorers) == {"knn", "sml"} and updated.threshold == kb.threshold
    updated = calibrate(updated, tiny.dataset(), scorer="knn")
    assert updated.save(tmp_path / "kb") == 1
    assert {"scorer.safetensors", "scorer-knn.safetensors", "scorer-sml.safetensors"} <= set(files_of(tmp_path / "kb"))
    loaded = load(tmp_path / "kb")
    assert same(updated.predict(tiny.image()), loaded.predict(tiny.image()))
    output, names = loaded.forward(tiny.image()), tuple(updated.scorers)
    one, two = (k.assess(output, SIZE, names).scores for k in (updated, loaded))
    for name in names:
        assert np.array_equal(one[name], two[name]), name


def test_a_residual_is_stored(kb, tmp_path):
    residual = residual_of(kb.network)
    with torch.no_grad():
        residual.final.weight.normal_()
    with_residual = calibrate(replace(kb, residual=residual), tiny.dataset(), scorer="rpl")
    with_residual.save(tmp_path / "kb")
    loaded = load(tmp_path / "kb")
    assert loaded.scorer == "rpl" and same(with_residual.predict(tiny.image()), loaded.predict(tiny.image()))


def test_a_knowledge_base_stored_before_there_were_further_scorers_loads(kb, stored_kb, tmp_path):
    files = files_of(stored_kb)
    value = json.loads(files["knowledge.json"])
    assert value.pop("extra") == {}  # it had no such key
    old = {n: files[n] for n in ("network.safetensors", "scorer.safetensors")}
    commit_version(tmp_path / "old", {**old, "knowledge.json": json.dumps(value).encode()})
    loaded = load(tmp_path / "old")
    assert same(loaded.predict(tiny.image()), kb.predict(tiny.image())) and set(loaded.fitted) == {"joint"}


def test_a_joint_score_of_the_first_release_adds_the_difference_as_it_is(kb, stored_kb, tmp_path):
    files = files_of(stored_kb)
    value = json.loads(files["knowledge.json"])
    assert all(value["fitted"].pop(key) for key in ("compress", "rectify", "weights"))  # it had no such keys
    commit_version(tmp_path / "old", {**files, "knowledge.json": json.dumps(value).encode()})
    loaded, output = load(tmp_path / "old"), kb.forward(tiny.image())
    z = kb.fitted["joint"].standard(output)
    torch.testing.assert_close(loaded.fitted["joint"](output), z[:, 0] + z[:, 1] + z[:, 2] / 2)
    assert loaded.fitted["joint"].config == value["fitted"]


def test_a_joint_score_that_was_stored_before_it_was_rectified_is_not(kb, stored_kb, tmp_path):
    files = files_of(stored_kb)
    value = json.loads(files["knowledge.json"])
    assert value["fitted"].pop("rectify") is True  # it had no such key
    commit_version(tmp_path / "old", {**files, "knowledge.json": json.dumps(value).encode()})
    loaded, output = load(tmp_path / "old"), kb.forward(tiny.image())
    z = kb.fitted["joint"].standard(output)
    torch.testing.assert_close(loaded.fitted["joint"](output), z[:, 0] + 0.75 * z[:, 1] + z[:, 2].asinh() / 2)
    assert loaded.fitted["joint"].config == value["fitted"]


@pytest.mark.parametrize("name", ["svm", "msp"])
def test_a_fit_of_what_is_not_fitted_is_refused(stored_kb, tmp_path, name):
    files = files_of(stored_kb)
    value = {**json.loads(files["knowledge.json"]), "extra": {name: {}}}
    commit_version(tmp_path / "odd", {**files, "knowledge.json": json.dumps(value).encode()})
    with pytest.raises(OwsegError, match=f"'{name}'"):
        load(tmp_path / "odd")


def test_nan_weights_are_neither_stored_nor_loaded(stored_kb, tmp_path):
    bad = tiny.knowledge_base()
    next(bad.network.decoder.parameters()).data.fill_(float("nan"))
    with pytest.raises(OwsegError, match="NaN"):
        bad.save(tmp_path / "bad")
    statistics = tiny.knowledge_base()
    next(b for n, b in statistics.network.named_buffers() if n.endswith("running_var")).fill_(float("inf"))
    with pytest.raises(OwsegError, match="running_var"):
        statistics.save(tmp_path / "bad")
    assert not (tmp_path / "bad").exists()
    weights = save({k: v.contiguous() for k, v in bad.network.state_dict().items()})
    commit_version(tmp_path / "nan", {**files_of(stored_kb), "network.safetensors": weights})
    with pytest.raises(OwsegError, match="holds NaN or infinite values in decoder"):
        load(tmp_path / "nan")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("network.safetensors", lambda data: data[:5000], r"network\.safetensors does not hold"),
        ("scorer.safetensors", lambda data: b"", r"scorer\.safetensors does not hold"),
        ("network.safetensors", lambda data: save({"x": torch.zeros(1)}), r"network\.safetensors does not hold"),
        ("knowledge.json", lambda data: b'{"format": 99}', "is of format 99; this owseg reads format 2"),
        ("knowledge.json", lambda data: b"[]", "does not describe a knowledge base"),
        ("knowledge.json", lambda data: b"{", r"knowledge\.json is not JSON"),
        ("knowledge.json", lambda data: b"\xff", r"knowledge\.json is not JSON"),
        ("knowledge.json", lambda data: b"[" * 100_000, r"knowledge\.json is not JSON"),
        ("knowledge.json", lambda data: data.replace(b'"format": 2', b'"format": ' + b"9" * 5000), "is not JSON"),
        ("knowledge.json", lambda data: data.replace(b'"joint"', b'"vapour"', 1), "has no scorer 'vapour'"),
        ("knowledge.json", lambda data: data.replace(b'"kind": "aspp"', b'"kind": "mist"'), "no decoder 'mist'"),
    ],
)  # fmt: skip
def test_a_version_that_does_not_fit_ends_in_one_sentence(stored_kb, tmp_path, name, change, message):
    files = files_of(stored_kb)
    files[name] = change(files[name])
    commit_version(tmp_path / "odd", files)
    with pytest.raises(OwsegError, match=message) as caught:
        load(tmp_path / "odd")
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_noticed(stored_kb):
    path = read_version(stored_kb)[1] / "network.safetensors"
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)
    with pytest.raises(OwsegError, match=r"network\.safetensors"):
        load(stored_kb)


def test_a_published_network_is_loaded_by_its_name(monkeypatch):
    network, labels = tiny.network(), tiny.knowledge_base().labels
    calls = []
    monkeypatch.setattr(module, "published", lambda *given: calls.append(given) or (network, labels))
    kb = load("net:FILE", weights="w.safetensors")
    assert calls == [("net:FILE", "w.safetensors")]
    assert kb.labels == labels and kb.threshold is None and kb.history[0].message == "loaded net:FILE"


def test_loading_does_not_copy_the_network(stored_kb, monkeypatch):
    copied = []
    monkeypatch.setattr(engine.copy, "deepcopy", lambda value: copied.append(type(value)) or value)
    assert engine.prepared(load(stored_kb).network) and not any(issubclass(kind, torch.nn.Module) for kind in copied)

"""knowledge.json is data: what somebody wrote into it makes no other network, and takes no more memory than a file."""

import copy
import json
import tracemalloc

import pytest
import torch
from safetensors.torch import load_file, save

from owseg.errors import OwsegError
from owseg.knowledge import load as module
from owseg.knowledge.commit import commit_version
from owseg.knowledge.load import load
from owseg.knowledge.schema import check_knowledge
from owseg.knowledge.versions import read_version
from owseg.models.engine import prepare
from owseg.models.ops import filled
from tests.support import tiny

NAN = float("nan")


@pytest.fixture
def stored(stored_kb):
    """The files of the stored knowledge base, and its description."""
    folder = read_version(stored_kb)[1]
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix == ".safetensors"}
    return files, json.loads((folder / "knowledge.json").read_text())


def changed(value, path, new):
    value = copy.deepcopy(value)
    *holders, last = path.split(".")
    place = value
    for key in holders:
        place = place[int(key) if isinstance(place, list) else key]
    place[last] = new
    return value


@pytest.mark.parametrize(("path", "new", "named"), [
    ("network.size", "big", "network.size"), ("network.size", 10**6, "network.size"), ("network.size", True, "size"),
    ("network.scales", [-1], "network.scales.0"), ("network.scales", [], "network.scales"),
    ("network.classes", 0, "network.classes"), ("network.classes", "3", "network.classes"),
    ("network.backbone.mean", ["a", 0, 0], "network.backbone.mean"), ("network.backbone.std", [0, 1, 1], "std.0"),
    ("network.backbone.mean", [0.5], "network.backbone.mean"), ("network.backbone.std", [NAN, 1, 1], "std.0"),
    ("network.vapour", 1, "network.vapour"), ("vapour", 1, "vapour"), ("network.decoder.kind", 3, "decoder.kind"),
    ("network.decoder.width", -3, "RuntimeError"), ("network.decoder.width", 10**6, "network.decoder.width"),
    ("network.decoder", {"kind": "mean", "of": {"kind": "psp"}, "count": 10**5}, "network.decoder.count"),
    ("network.backbone.config.dtype", "os.system", "dtype"),
    ("network.backbone.config.model_type", "../../x", "model_type"),
    ("network.backbone.config.attn_implementation", "evil/kernel", "attn_implementation"),
    ("fitted.level", 99, "level"), ("fitted.level", "x", "fitted.level"), ("fitted.weights", [1.0], "fitted.weights"),
    ("fitted.channels", 10**9, "weights"), ("scorer", ["joint"], "scorer"), ("increments", [{"name": "x"}], "kind"),
    ("extra", {"knn": {"size": {"x": 1}}}, "extra.knn.size"), ("history", [{"action": "x"}], "history.0.message"),
    ("residual", {"skip": 1, "width": 8, "rates": [0], "contrast": 4}, "residual.rates.0"),
    ("backbone", {"name": 3, "sha256": "x"}, "backbone.name"), ("threshold", [], "threshold"),
])  # fmt: skip
def test_a_wrong_value_ends_in_a_sentence_that_names_it(stored, tmp_path, path, new, named):
    files, value = stored
    described = json.dumps(changed(value, path, new)).encode()
    commit_version(tmp_path / "odd", {**files, "knowledge.json": described})
    with pytest.raises(OwsegError) as caught:
        load(tmp_path / "odd")
    text = str(caught.value)
    assert named in text and "\n" not in text and len(text) < 500


@pytest.mark.parametrize("key", ["format", "classes", "increments", "scorer", "network", "history", "threshold"])
def test_a_key_that_is_missing_is_named(stored, key):
    value = {k: v for k, v in stored[1].items() if k != key}
    with pytest.raises(OwsegError, match=rf"^kb\.json does not describe a knowledge base \({key}: field required\)\.$"):
        check_knowledge(value, "kb.json")


def test_sizes_are_compared_before_memory_is_taken(stored, tmp_path, monkeypatch):
    files, value = stored
    build, planned = module.build_network, []

    def built(config):
        network = build(config)
        planned.append(all(p.is_meta for p in network.parameters()))
        return network

    monkeypatch.setattr(module, "build_network", built)
    described = changed(value, "network.decoder.width", 60_000)
    commit_version(tmp_path / "odd", {**files, "knowledge.json": json.dumps(described).encode()})
    with pytest.raises(OwsegError, match="does not hold this network's weights"):
        load(tmp_path / "odd")
    assert planned == [True]
    load_of = {**files, "knowledge.json": json.dumps(value).encode()}
    commit_version(tmp_path / "sound", load_of)
    load(tmp_path / "sound")
    assert planned == [True, True]  # what fits is filled as it is: no weights are drawn at random


def test_weights_that_do_not_fit_are_never_allocated():
    def make():
        return torch.nn.Linear(100_000, 100_000)

    tracemalloc.start()
    with pytest.raises(OwsegError, match=r"^it does not fit \("):
        filled(make, lambda: {"weight": torch.zeros(2, 2), "bias": torch.zeros(2)}, "it does not fit")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    one = filled(lambda: torch.nn.Linear(2, 1), lambda: {"weight": torch.ones(1, 2), "bias": torch.ones(1)}, "x")
    assert one(torch.ones(2)).item() == 3 and not one.weight.is_meta


@pytest.mark.parametrize("kind", tiny.CONFIGS)
def test_a_filled_network_is_that_which_was_made_and_then_given_its_weights(kind):
    """To the bit, its memory format and its buffers, also where some of these are in no state, as those of Swin."""
    config = tiny.network(3, kind).config
    made = prepare(module.build_network(config))
    stored = {n: v.half() if v.is_floating_point() else v for n, v in made.state_dict().items()}
    made.load_state_dict(stored)
    found = filled(lambda: prepare(module.build_network(config)), lambda: stored, "it does not fit")
    assert not any(part.training for part in found.modules())
    pairs = zip(_tensors(found), _tensors(made), strict=True)
    for (name, value), (expected_name, expected) in pairs:
        assert name == expected_name and torch.equal(value, expected) and value.dtype == expected.dtype
        assert value.stride() == expected.stride() and value.requires_grad == expected.requires_grad


def _tensors(network):
    return [*network.named_parameters(), *network.named_buffers()]


def test_a_whole_network_of_another_width_with_its_own_weights_loads(tmp_path):
    kb = tiny.knowledge_base()
    kb.save(tmp_path / "kb")
    path = read_version(tmp_path / "kb")[1] / "network.safetensors"
    state = load_file(path)
    loaded = load(tmp_path / "kb").network.state_dict()
    assert state.keys() == loaded.keys() and not any(value.is_meta for value in loaded.values())
    assert save(state)

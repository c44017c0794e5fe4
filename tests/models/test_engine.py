"""From images to outputs: one pass, and a network that is ready for it."""

import copy
from dataclasses import replace

import pytest
import torch

from owseg.errors import OwsegError
from owseg.models.engine import Engine, prepared
from owseg.models.network import Network, to_tensor
from tests.support import tiny
from tests.support.passes import learned_residual, same


def batch(image):
    """An image as a batch in the memory format of an engine, on which the last bits depend."""
    return to_tensor(image).to(memory_format=torch.channels_last)


# --- Engine ---


def test_an_image_that_is_too_small_for_a_network_ends_in_a_sentence(monkeypatch):
    network = tiny.network(kind="segformer")
    for height, width in ((1, 1), (1, 64)):
        with pytest.raises(OwsegError, match=f"^an image of {width}x{height} is too small for this network; leave it"):
            Engine(network)(tiny.image()[:, :height, :width])
    Engine(network)(tiny.image(0, (32, 32)))
    network.size = 32
    Engine(network)(tiny.image()[:, :1, :1])
    network.size = None

    def fail(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Engine, "traceable", fail)
    with pytest.raises(RuntimeError, match="out of memory"):  # of a large image it is another reason
        Engine(network)(tiny.image(0, (48, 64)))


def test_the_output_has_the_image_as_it_was_given():
    for image in (tiny.image(), tiny.image()[:, ::-1, ::-1]):
        output = Engine(tiny.network(), size=96)(image)
        assert torch.equal(output.image, torch.from_numpy(image.copy())[None]) and output.image.dtype == torch.uint8


@pytest.mark.parametrize("classifier", ["prototype", "linear"])
def test_an_engine_runs_its_network_once_without_gradients(classifier):
    network = tiny.network(classifier=classifier)
    output = Engine(network)(tiny.image())
    with torch.no_grad():
        expected = network(batch(tiny.image()))
    assert same(output, expected) and output.residual is None
    assert not output.logits.requires_grad
    assert output.logits.shape[:2] == (1, 3)


@pytest.mark.parametrize("classifier", ["prototype", "linear"])
def test_the_evidence_has_the_softmax_of_the_logits(classifier):
    output = Engine(tiny.network(classifier=classifier))(tiny.image())
    torch.testing.assert_close(output.evidence.softmax(1), output.logits.softmax(1), rtol=1e-3, atol=1e-5)
    assert torch.equal(output.softmax_logits, output.evidence)
    assert (output.evidence is output.logits) == (classifier == "linear")
    without = replace(output, evidence=None)
    assert torch.equal(without.softmax_logits, output.logits)
    assert replace(output, evidence=output.evidence.bfloat16()).softmax_logits.dtype == torch.float32


def test_a_residual_pattern_adds_to_what_the_last_block_reads_and_changes_nothing_else():
    network = tiny.network()
    pattern = learned_residual(network)
    plain, output = Engine(network)(tiny.image()), Engine(network, pattern)(tiny.image())
    assert same(replace(output, residual=None), plain)
    with torch.no_grad():
        penultimate = network.decoder.penultimate(output.features)
        size = penultimate.shape[-2:]
        residual = torch.nn.functional.interpolate(pattern(output.features), size=size, mode="bilinear")
        embedding = network.decoder.embed(penultimate + residual)
    torch.testing.assert_close(output.residual, network.classifier.evidence(embedding))
    assert not torch.allclose(output.residual, output.evidence, atol=1e-2)


def test_full_resolution_and_multi_scale_reach_the_network():
    network, image = tiny.network(), tiny.image()
    pattern = learned_residual(network)
    plain, full = (Engine(network, pattern, full_resolution=f)(image) for f in (False, True))
    assert full.logits.shape[-2:] == full.residual.shape[-2:] == full.evidence.shape[-2:] == (48, 64)
    assert plain.logits.shape[-2:] == plain.residual.shape[-2:] == (12, 16)
    assert same(full, network.full_resolution(plain, (48, 64)))
    several = Engine(network, multi_scale=True)(image)
    with torch.no_grad():
        assert same(several, network.multi_scale(batch(image)))
    assert not torch.equal(several.embedding, plain.embedding)
    both = Engine(network, multi_scale=True, full_resolution=True)(image)
    assert same(both, network.full_resolution(several, (48, 64)))


@pytest.mark.parametrize(("working", "size", "scale", "expected"), [
    (None, None, 1.0, (48, 64)), (96, None, 1.0, (96, 128)), (96, 32, 1.0, (32, 32)), (None, 33, 1.0, (33, 44)),
    (96, None, 0.5, (64, 64)), (None, None, 1.5, (72, 96)), (96, 32, 2.0, (64, 96)), (90, None, 1.0, (96, 128)),
])  # fmt: skip
def test_the_network_sees_an_image_at_its_working_size(working, size, scale, expected):
    """Each side a multiple of 32, in a network that has a working size."""
    network = tiny.network(size=working)
    output = Engine(network, size=size)(tiny.image(), scale)
    resized = torch.nn.functional.interpolate(
        batch(tiny.image()), size=expected, mode="bilinear", antialias=min(expected) < 48
    )
    with torch.no_grad():
        assert same(output, network(resized.contiguous(memory_format=torch.channels_last)))
    full = Engine(network, size=size, full_resolution=True)(tiny.image(), scale)
    assert full.logits.shape[-2:] == (48, 64)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"full_resolution": True},
        {"multi_scale": True},
        {"sides": (64, 96)},
        {"tile": True},
        {"window": 64},
        {"size": 128},
    ],
    ids=lambda how: next(iter(how), "plain"),
)
def test_an_engine_of_the_pyramid_has_the_same_and_runs_no_decoder(how, monkeypatch):
    network, image = tiny.network(size=64), tiny.image(0, (96, 128))
    network.scales = (1.0, 0.5)
    engine = Engine(prepared(network), **how)
    expected, passes = engine(image, 1.5).features, []
    alone, encode = engine.of_pyramid(), Network.encode
    monkeypatch.setattr(Network, "encode", lambda self, x: passes.append(x) or encode(self, x))
    monkeypatch.setattr(engine.network, "decoder", None)
    found = alone(image, 1.5).features
    assert len(found) == len(expected) and all(map(torch.equal, found, expected))
    if "tile" not in how and "window" not in how:
        assert len(passes) == 2  # one for each scale


def test_an_engine_takes_images_only():
    with pytest.raises(OwsegError, match=r"an array \(3, H, W\) of uint8, RGB, not \(3, 48, 64\) float64"):
        Engine(tiny.network())(tiny.image().astype(float))


def test_outputs_and_engines_can_be_compared_and_hashed():
    output, engine = Engine(tiny.network())(tiny.image()), Engine(tiny.network())
    for value in (output, engine):
        assert value == value and (value == copy.copy(value)) is False
        assert len({value, copy.copy(value)}) == 2
    assert len(repr(engine)) < 100


# --- prepared ---


def state(module):
    """All that ``prepared`` might change: modes, formats, gradients and values."""
    return (
        [m.training for m in module.modules()],
        {n: (v.clone(), v.stride()) for n, v in module.state_dict().items()},
        [p.requires_grad for p in module.parameters()],
    )


def unchanged(before, after):
    same_values = all(torch.equal(v, after[1][n][0]) and s == after[1][n][1] for n, (v, s) in before[1].items())
    return before[0] == after[0] and before[2] == after[2] and same_values


@pytest.mark.parametrize("training", [True, False])
def test_the_caller_s_network_stays_as_it_is(training):
    network = tiny.network().train(training)
    network.backbone.requires_grad_(False)
    before = state(network)
    ready = prepared(network)
    assert ready is not network and unchanged(before, state(network))
    assert not any(m.training for m in ready.modules())
    weights = [p for p in ready.parameters() if p.ndim == 4]
    assert weights and all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    assert all(torch.equal(a, b) for a, b in zip(ready.parameters(), network.parameters(), strict=True))
    assert not {p.data_ptr() for p in ready.parameters()} & {p.data_ptr() for p in network.parameters()}
    assert [p.requires_grad for p in ready.parameters()] == [p.requires_grad for p in network.parameters()]


def test_what_is_ready_is_not_copied():
    ready = prepared(tiny.network())
    assert prepared(ready) is ready
    ready.decoder.train()  # one part in training is enough
    again = prepared(ready)
    assert again is not ready and ready.decoder.training and not again.decoder.training


def test_one_part_in_another_memory_format_is_enough_for_a_copy():
    ready = prepared(tiny.network(kind="mobilenet_v2"))
    ready.backbone.model.conv_stem.to(memory_format=torch.contiguous_format)
    before = state(ready)
    assert prepared(ready) is not ready and unchanged(before, state(ready))


def test_kernels_that_count_as_contiguous_in_either_format_are_laid_out_too():
    """A residual pattern has nothing but 1x1 and depth-wise kernels; learned and loaded it gives the same bits."""
    network = prepared(tiny.network(kind="mobilenet_v2"))
    learned = learned_residual(network)
    one, two = prepared(learned.eval()), prepared(copy.deepcopy(learned).train())
    assert [p.stride() for p in one.parameters()] == [p.stride() for p in two.parameters()]
    assert torch.equal(Engine(network, one)(tiny.image()).residual, Engine(network, two)(tiny.image()).residual)


def test_outputs_are_bit_equal_whatever_format_the_weights_came_in():
    network = tiny.network(kind="mobilenet_v2")
    other = copy.deepcopy(network).to(memory_format=torch.channels_last).train()
    assert same(Engine(prepared(network))(tiny.image()), Engine(prepared(other))(tiny.image()))
    ready = prepared(network)
    assert same(Engine(ready)(tiny.image()), Engine(prepared(copy.deepcopy(ready).train()))(tiny.image()))


def test_a_knowledge_base_leaves_network_and_residual_as_they_were():
    from owseg.knowledge.base import KnowledgeBase
    from owseg.labels import LabelSpace

    network = tiny.network()
    pattern = learned_residual(network).train()
    network.train()
    before = state(network), state(pattern)
    kb = KnowledgeBase(network, LabelSpace.of(("road", "sky", "tree")), residual=pattern)
    kb.forward(tiny.image())
    assert unchanged(before[0], state(network)) and unchanged(before[1], state(pattern))
    assert not any(m.training for part in (kb.network, kb.residual) for m in part.modules())

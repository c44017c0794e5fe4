from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from owseg.data.dataset import DataSet, Source
from owseg.errors import OwsegError
from owseg.image_scorers.duir import duir, load
from owseg.labels import IGNORE, LabelSpace
from owseg.models.generator import Generator
from owseg.training import BASELINES
from owseg.training.config import DiscrepancyConfig
from owseg.training.duir import (
    AlteredViews,
    DiscrepancyObjective,
    loss_weights,
    things_of,
    train_duir,
    validation_likelihood,
)
from tests.reference import resynthesis as oracle
from tests.support import tiny
from tests.support.drawn import GENERATOR, duir_of

QUICK = DiscrepancyConfig(
    epochs=6, batch=4, crop=(48, 64), scale=(1.0, 1.0), widths=(8, 8), label_widths=(8, 8), lr=5e-3
)

WEIGHTS = torch.tensor([1.457, 19.186])


def views(**options):
    return AlteredViews(tiny.dataset(), replace(QUICK, **options), (0, 1, 2), 48)


def batch(count=2):
    made = [views()(0, i, np.random.default_rng(i)) for i in range(count)]
    return [torch.stack(part) for part in zip(*made, strict=True)]


def void():
    source = tiny.dataset().source
    blank = np.full((48, 64), IGNORE, np.uint8)
    return DataSet(Source("void", source.classes, ("f",), lambda i: (source.read(i)[0], blank)), source.classes)


@pytest.mark.parametrize("drawn", [True, False])
def test_the_loss_is_the_weighted_cross_entropy_at_the_size_of_the_image(drawn):
    kb = tiny.knowledge_base()
    model = duir_of(kb, drawn)
    images, altered, changed = batch()
    changed[0, :5] = 255
    found = DiscrepancyObjective(model, kb.network.backbone, WEIGHTS)(images, altered, changed).item()
    drawing = None
    if drawn:
        # A view of 48x64 of images whose shorter side is 48 is drawn at a third: 16x21, to multiples of 4.
        small = F.interpolate(altered[:, None].float(), size=(16, 20), mode="nearest-exact")[:, 0].long()
        drawing = model.generator.draw(small, (48, 64))
    logits = model.discrepancy(kb.network.backbone, images, drawing, altered)
    full = F.interpolate(logits, size=(48, 64), mode="bilinear").detach().numpy()
    expected = oracle.weighted_cross_entropy(full, changed.numpy(), (1.457, 19.186))
    assert found == pytest.approx(expected, rel=1e-4) and 0 < (changed == 1).float().mean() < 1


def test_a_batch_without_known_pixels_has_no_loss():
    kb = tiny.knowledge_base()
    images, altered, changed = batch()
    assert (
        DiscrepancyObjective(duir_of(kb), kb.network.backbone, WEIGHTS)(images, altered, changed * 0 + 255).item() == 0
    )


def test_the_weights_are_those_of_their_shares():
    """1 / log(1.02 + p): on Cityscapes, with 3.35 % of "discrepancy", the published ones."""
    assert [1 / np.log(1.02 + p) for p in (0.9665, 0.0335)] == pytest.approx([1.457, 19.186], rel=2e-3)
    on = views()
    changed = np.concatenate([on(0, i, np.random.default_rng([7, i]))[2].numpy().ravel() for i in range(8)])
    expected = [1 / np.log(1.02 + (changed == label).mean()) for label in (0, 1)]
    assert loss_weights(on).tolist() == pytest.approx(expected, rel=1e-5) and expected[0] != expected[1]
    few = np.concatenate([on(0, i, np.random.default_rng([7, i]))[2].numpy().ravel() for i in range(2)])
    assert loss_weights(on, 2).tolist() == pytest.approx(
        [1 / np.log(1.02 + (few == v).mean()) for v in (0, 1)], rel=1e-5
    )
    assert torch.isfinite(loss_weights(AlteredViews(void(), QUICK, (0, 1, 2), 48))).all()


def test_a_view_has_labels_that_are_wrong_where_the_target_says_so():
    image, altered, changed = views()(0, 0, np.random.default_rng(3))
    assert image.shape == (3, 48, 64) and altered.dtype == changed.dtype == torch.long
    colours = torch.tensor([[220, 30, 30], [30, 220, 30], [30, 30, 220]]) / 255.0
    jittered = (image[None] - colours[:, :, None, None]).abs().sum(1).argmin(0)
    right = (jittered == altered).float()
    assert right[changed == 0].mean() > 0.95 and right[changed == 1].mean() < 0.05 and (changed == 1).any()
    again = views()(5, 0, np.random.default_rng(3))
    assert torch.equal(again[1], altered) and not torch.equal(views()(0, 0, np.random.default_rng(4))[1], altered)


def test_wrong_labels_are_found_after_some_steps(tmp_path):
    kb = tiny.knowledge_base()
    config = replace(QUICK, epochs=30, lr=2e-2, widths=(16,), label_widths=(16,), jitter=0.0, validate_every=30)
    model = train_duir(kb, tiny.dataset(), tiny.dataset(3), config=config, run=tmp_path)
    assert model.size == 48 and model.generator is None
    image, altered, changed = views()(0, 1, np.random.default_rng(9))
    logits = model.discrepancy(kb.network.backbone, image[None], None, altered[None])
    p = F.interpolate(logits, size=(48, 64), mode="bilinear").softmax(1)[0, 1]
    assert p[changed == 1].mean() > p[changed == 0].mean() + 0.2
    assert not any(p.requires_grad for p in model.parameters())


def test_the_generator_is_read_and_kept_as_it_is(tmp_path):
    kb, generator = tiny.knowledge_base(), Generator(**GENERATOR)
    config = replace(QUICK, epochs=1)
    model = train_duir(kb, tiny.dataset(), tiny.dataset(3), generator, config=config, run=tmp_path)
    assert model.network.config["drawn"] and model.generator.config == GENERATOR
    assert all(torch.equal(v, generator.state_dict()[n]) for n, v in model.generator.state_dict().items())
    assert np.isfinite(duir(kb, model)(tiny.image())).all()


def test_the_backbone_stays_as_it_is_and_the_seed_decides(tmp_path):
    kb = tiny.knowledge_base()
    before, config = kb.fingerprint(), replace(QUICK, epochs=1)
    first, again, other = (
        train_duir(kb, tiny.dataset(), tiny.dataset(3), config=replace(config, seed=seed), run=tmp_path / str(i))
        for i, seed in enumerate((0, 0, 1))
    )
    assert kb.fingerprint() == before
    assert all(torch.equal(v, again.state_dict()[n]) for n, v in first.state_dict().items())
    assert not torch.equal(first.network.classify.weight, other.network.classify.weight)


def test_validation_reads_the_same_views_and_is_higher_for_a_lower_loss():
    kb = tiny.knowledge_base()
    objective, on = DiscrepancyObjective(duir_of(kb, False), kb.network.backbone, WEIGHTS), views()
    losses = [
        objective(*(part[None] for part in on(0, i, np.random.default_rng([7, i])))).item() for i in range(len(on.data))
    ]
    found = validation_likelihood(objective, on)
    assert found == pytest.approx(np.exp(-np.mean(losses))) == validation_likelihood(objective, on)


def test_things_are_found_by_name_in_any_case():
    labels = LabelSpace.of(("road", "Car", "sky", "pedestrian"))
    assert things_of(labels, ("car", " PEDESTRIAN", "cow")) == (1, 3)
    assert things_of(labels, ("cow",)) == (0, 1, 2, 3)


def test_what_cannot_be_trained_is_named(tmp_path):
    kb, plain = tiny.knowledge_base(), tiny.dataset()
    with pytest.raises(OwsegError, match="has 4 stages, which are too few for 5 widths"):
        config = replace(QUICK, widths=(4,) * 5, label_widths=(4,) * 5)
        train_duir(kb, plain, plain, config=config, run=tmp_path)
    bare = DataSet(Source("bare", plain.labels, tuple("fghi"), lambda i: (plain.source.read(i)[0], None)), plain.labels)
    with pytest.raises(OwsegError, match="has no mask"):
        train_duir(kb, bare, plain, config=QUICK, run=tmp_path)
    with pytest.raises(OwsegError, match=r"lies in \(0, 1\], not at 0"):
        replace(QUICK, share=0)
    with pytest.raises(OwsegError, match="of as many stages"):
        replace(QUICK, widths=(4,))


OPTIONS = {
    "generator": "train", "generator_epochs": 1, "generator_batch": 4, "generator_crop": (32, 32),
    "generator_lr": 1e-3, "generator_width": 4, "generator_depth": 1, "generator_blocks": 1, "generator_side": 32,
    "epochs": 1, "batch": 4, "crop": (32, 64), "lr": 1e-3, "share": 0.4, "things": ("sky",), "widths": (4, 4),
    "label_widths": (3, 3), "generator_feature_weight": 0.3, "precision": "bf16-mixed",
}  # fmt: skip


def test_the_card_trains_generator_and_network_and_stores(tmp_path):
    kb, data, out = tiny.knowledge_base(), tiny.dataset(), tmp_path / "duir.safetensors"
    assert set(OPTIONS) == set(BASELINES.entries["duir"].options)
    made = BASELINES.make("duir", kb, data, tiny.dataset(3), out, tmp_path / "run", False, 5, **OPTIONS)
    model = load(made)
    assert made == out and model.generator.config == {"classes": 3, "width": 4, "depth": 1, "blocks": 1, "side": 32}
    assert model.network.config["widths"] == [4, 4] and model.network.config["label_widths"] == [3, 3]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"generator", "discrepancy"}
    assert duir(kb, model)(tiny.image()).shape == (48, 64)


def test_every_option_of_the_card_arrives(tmp_path, monkeypatch):
    noted = {}
    monkeypatch.setattr("owseg.training.duir.generator_from", lambda *given: noted.update(drawer=given) or "G")
    monkeypatch.setattr("owseg.training.duir.train_duir", lambda *given: noted.update(trained=given) or "M")
    monkeypatch.setattr("owseg.training.duir.save", lambda *given: given)
    run = tmp_path / "run"
    assert BASELINES.make("duir", "K", "D", "V", "out", run, True, 5, **OPTIONS) == ("M", "out")
    file, kb, data, val, drawing, place, resume = noted["drawer"]
    assert (file, kb, data, val, place, resume) == ("train", "K", "D", "V", run / "generator", True)
    shape = (drawing.width, drawing.depth, drawing.blocks, drawing.side)
    assert shape == (4, 1, 1, 32) and (drawing.epochs, drawing.batch, drawing.crop, drawing.lr) == (
        1,
        4,
        (32, 32),
        1e-3,
    )
    kb, data, val, generator, things, config, place, resume = noted["trained"]
    assert (kb, data, val, generator, things) == ("K", "D", "V", "G", ("sky",))
    assert (place, resume, drawing.seed, config.seed) == (run / "discrepancy", True, 5, 5)
    assert (drawing.feature_weight, drawing.precision, config.precision) == (0.3, "bf16-mixed", "bf16-mixed")
    expected = {name: OPTIONS[name] for name in ("epochs", "batch", "crop", "lr", "share", "widths", "label_widths")}
    assert {name: getattr(config, name) for name in expected} == expected
    BASELINES.make("duir", "K", "D", "V", "out", run, False, 5, **{**OPTIONS, "generator": "none"})
    assert noted["trained"][3] is None

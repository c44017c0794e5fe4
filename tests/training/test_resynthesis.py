import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from owseg.data.dataset import DataSet, Source
from owseg.errors import OwsegError
from owseg.image_scorers import duir, synthcp
from owseg.labels import IGNORE
from owseg.models.generator import Generator, label_planes
from owseg.models.ops import resize_image, resize_labels
from owseg.training.config import GeneratorConfig
from owseg.training.resynthesis import DrawingObjective, generator_from, train_generator
from tests.reference import resynthesis as oracle
from tests.support import tiny
from tests.support.drawn import duir_of, synthcp_of

QUICK = GeneratorConfig(
    epochs=20, batch=4, crop=(32, 48), width=8, depth=1, blocks=0, side=32, lr=1e-2, validate_every=20
)


def backbone():
    return tiny.network().backbone


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return train_generator(backbone(), tiny.dataset(), tiny.dataset(3), QUICK, tmp_path_factory.mktemp("run"))


def batch():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, (2, 32, 64))
    targets[0, :8], targets[1, :, 9] = 255, 254
    return torch.from_numpy(rng.random((2, 3, 32, 64), np.float32)), torch.from_numpy(targets)


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_the_loss_is_its_equation_over_pixels_of_a_class(weight):
    torch.manual_seed(0)
    made, backbone = Generator(3, 4, 1, 1, 16), tiny.network().backbone
    images, targets = batch()
    found = DrawingObjective(made, backbone, weight)(images, targets).item()
    drawing = made(label_planes(targets, 3)).detach().numpy()
    expected, composed = oracle.drawing_loss(drawing, images.numpy(), targets.numpy(), 3)
    if weight:
        with torch.no_grad():
            pairs = [[m.double().numpy() for m in backbone(x)] for x in (images, torch.from_numpy(composed).float())]
        expected += weight * oracle.feature_loss(*pairs)
    assert found == pytest.approx(expected, rel=1e-4)


def test_what_a_pixel_without_a_class_shows_does_not_matter():
    torch.manual_seed(0)
    objective = DrawingObjective(Generator(3, 4, 1, 1, 16), backbone().eval(), 0.0)
    images, targets = batch()
    other = torch.where((targets < 3)[:, None], images, 1 - images)
    assert objective(images, targets).item() == objective(other, targets).item()
    assert objective(images, torch.full_like(targets, 255)).item() == 0


def test_a_class_is_drawn_in_its_colours(generator):
    """The images have one colour for each class, red, green and blue."""
    labels = resize_labels(torch.from_numpy(tiny.dataset()[5].target)[None], (32, 48))
    drawn = generator.draw(labels, (32, 48))[0]
    for label in range(3):
        assert drawn[:, labels[0] == label].mean(1).argmax().item() == label
    assert generator.config["side"] == 32 and not any(p.requires_grad for p in generator.parameters())


def test_the_same_seed_gives_the_same_weights_and_a_run_is_resumed(tmp_path):
    quick, frozen = replace(QUICK, epochs=2, validate_every=1), backbone()
    before = {name: v.clone() for name, v in frozen.state_dict().items()}
    first, again, other = (
        train_generator(frozen, tiny.dataset(), tiny.dataset(3), replace(quick, seed=seed), tmp_path / str(i))
        for i, seed in enumerate((0, 0, 1))
    )
    assert all(torch.equal(v, before[name]) for name, v in frozen.state_dict().items())
    assert all(torch.equal(v, again.state_dict()[name]) for name, v in first.state_dict().items())
    assert not torch.equal(first.layers[0].weight, other.layers[0].weight)
    resumed = train_generator(frozen, tiny.dataset(), tiny.dataset(3), quick, tmp_path / "0", resume=True)
    assert all(torch.equal(v, resumed.state_dict()[name]) for name, v in first.state_dict().items())
    with pytest.raises(OwsegError, match="made with other settings or data"):
        train_generator(frozen, tiny.dataset(4), tiny.dataset(3), quick, tmp_path / "0", resume=True)


def test_the_weights_kept_are_those_of_the_least_l1_on_known_pixels(tmp_path):
    """As the log says it, and by hand on the last weights, which are the best where only they are validated."""
    source = tiny.dataset(3).source

    def read(i):
        image, ids = (part.copy() for part in source.read(i))
        image[:, :, 32:], ids[:, 32:] = 128, IGNORE
        return image, ids

    val = DataSet(Source("half", source.classes, source.ids, read), source.classes)
    made = train_generator(backbone(), tiny.dataset(), val, replace(QUICK, epochs=1, validate_every=1), tmp_path)
    off = []
    for sample in val:
        labels = resize_labels(torch.from_numpy(sample.target)[None], made.grid((48, 64)))
        image = resize_image(torch.from_numpy(sample.image)[None].float() / 255, made.grid((48, 64)))
        off.append((made.draw(labels, made.grid((48, 64))) - image).abs().mean(1)[labels < 3])
    (row,) = csv.DictReader((tmp_path / "metrics.csv").open())
    assert float(row["val_negative_l1"]) == pytest.approx(-torch.cat(off).mean().item(), rel=1e-4)


def test_a_generator_is_trained_or_comes_from_a_file(tmp_path, monkeypatch):
    kb, asked = tiny.knowledge_base(), []
    monkeypatch.setattr("owseg.training.resynthesis.train_generator", lambda *given: asked.append(given))
    generator_from("train", kb, "data", "val", QUICK, tmp_path / "run", True)
    assert asked == [(kb.network.backbone, "data", "val", QUICK, tmp_path / "run", True)]
    model, other = duir_of(kb), synthcp_of(kb)
    duir.save(model, tmp_path / "d"), synthcp.save(other, tmp_path / "s"), duir.save(duir_of(kb, False), tmp_path / "l")
    for name, expected in (("d", model), ("s", other)):
        found = generator_from(str(tmp_path / name), kb, None, None, QUICK, tmp_path, False)
        assert all(torch.equal(v, expected.generator.state_dict()[n]) for n, v in found.state_dict().items())
    with pytest.raises(OwsegError, match="l has no generator of the classes road, sky, tree"):
        generator_from(str(tmp_path / "l"), kb, None, None, QUICK, tmp_path, False)
    with pytest.raises(OwsegError, match="has no generator of the classes tree, sky, road"):
        generator_from(str(tmp_path / "d"), tiny.knowledge_base(("tree", "sky", "road")), None, None, QUICK, tmp_path,
                       False)  # fmt: skip
    with pytest.raises(OwsegError, match="does not hold a generator"):
        generator_from(str(tmp_path / "x"), kb, None, None, QUICK, tmp_path, False)


def test_data_without_masks_and_settings_that_do_not_fit_are_named(tmp_path):
    plain = tiny.dataset()
    bare = DataSet(Source("bare", plain.labels, tuple("fghi"), lambda i: (plain.source.read(i)[0], None)), plain.labels)
    with pytest.raises(OwsegError, match="has no mask; a generator needs one for every image"):
        train_generator(backbone(), bare, plain, QUICK, tmp_path)
    with pytest.raises(OwsegError, match="crops of multiples of 16 pixels, not 40x48"):
        GeneratorConfig(crop=(40, 48), depth=4)

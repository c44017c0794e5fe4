from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from owseg.errors import OwsegError
from owseg.image_scorers.synthcp import load, save, synthcp
from owseg.labels import LabelSpace
from owseg.models.generator import label_planes
from owseg.scorers.msp import msp
from tests.reference import resynthesis as oracle
from tests.support import tiny
from tests.support.drawn import synthcp_of


def drawing_of(kb, model, image):
    logits = kb.forward(image).logits
    small = F.interpolate(logits, size=model.generator.grid(image.shape[1:]), mode="bilinear").argmax(1)
    drawing = F.interpolate(model.generator(label_planes(small, 3)), size=image.shape[1:], mode="bilinear")
    return (drawing[0] * 255).round().to(torch.uint8).numpy()


@pytest.mark.parametrize("threshold", [0.0, 0.2, 2.0])
@pytest.mark.parametrize("classifier", ["prototype", "linear"])
def test_the_score_is_its_equation(classifier, threshold):
    """On the network's own grid, with an image as large as that, nothing is interpolated between."""
    kb, image = tiny.knowledge_base(classifier=classifier), tiny.image(2)
    model = synthcp_of(kb, threshold)
    first, second = kb.forward(image), kb.forward(drawing_of(kb, model, image))
    maps = [oracle.synthcp(*v, t) for t in (0.0, 3.0) for v in [(msp(first)[0].numpy(), first.embedding[0].numpy(),
                                                                second.embedding[0].numpy())]]  # fmt: skip
    apart, unsure = (F.interpolate(torch.from_numpy(m)[None, None], size=(48, 64), mode="bilinear")[0, 0].numpy()
                     for m in maps)  # fmt: skip
    expected = np.where(unsure < threshold, unsure, apart)
    found = synthcp(kb, model)(image)
    assert found.shape == (48, 64) and found.dtype == np.float32
    off = np.abs(unsure - threshold) < 1e-5  # a pixel at the switch may fall on either side
    np.testing.assert_allclose(found[~off], expected[~off], atol=1e-4)
    sure = (unsure < threshold).mean()
    assert sure == {0.0: 0, 2.0: 1}.get(threshold, sure) and (threshold != 0.2 or 0 < sure < 1)


def test_what_the_network_redraws_as_it_was_has_no_distance():
    """Where the drawing has the image's embedding, the cosine is 1."""
    kb, image = tiny.knowledge_base(), tiny.image()
    model = synthcp_of(kb, 0.0)
    model.generator.redraw = lambda logits, size: torch.from_numpy(image)[None].float() / 255
    assert np.abs(synthcp(kb, model)(image)).max() < 1e-5


def test_a_file_holds_it_whole(tmp_path):
    kb = tiny.knowledge_base()
    model = synthcp_of(kb, 0.3)
    again = load(save(model, tmp_path / "synthcp.safetensors"))
    assert again.config == model.config and not again.training and again.threshold.item() == pytest.approx(0.3)
    assert np.array_equal(synthcp(kb, again)(tiny.image()), synthcp(kb, model)(tiny.image()))


def test_a_model_of_another_network_and_bad_files_are_refused(tmp_path):
    kb = tiny.knowledge_base()
    model = synthcp_of(kb)
    with pytest.raises(OwsegError, match="for the classes road, sky, tree, and the network has sky, road, tree"):
        synthcp(replace(kb, labels=LabelSpace.of(("sky", "road", "tree"))), model)
    with torch.no_grad():
        kb.network.decoder.head.bias.add_(1)  # the threshold is that of this decoder's softmax
    with pytest.raises(OwsegError, match="this synthcp was trained for a network of other weights"):
        synthcp(kb, model)
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    for name in ("x.safetensors", "z.safetensors"):
        with pytest.raises(OwsegError, match=rf"{name} does not hold a generator and a threshold"):
            load(tmp_path / name)

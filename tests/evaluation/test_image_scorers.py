import numpy as np
import pytest

from owseg.data.dataset import DataSet, Source
from owseg.errors import OwsegError
from owseg.evaluation.evaluate import evaluate, evaluate_image_scorers
from owseg.metrics.pixel import PerImage
from tests.support import tiny


@pytest.mark.parametrize("metric", [None, PerImage])
def test_image_scores_are_measured_like_any_other(metric):
    kb, data = tiny.knowledge_base(), tiny.dataset(4, 4, unknown=True)
    options = {} if metric is None else {"metric": metric}
    expected = evaluate(kb, data, ["msp"], **options).scores["msp"]

    def score(image):
        return kb.assess(kb.forward(image), (48, 64), ("msp",)).scores["msp"]

    mine = evaluate_image_scorers({"mine": score}, data, **options)
    assert mine == {"mine": expected} and 0 < expected.ap < 1


def test_a_perfect_score_and_its_opposite():
    data = tiny.dataset(3, 4, unknown=True)
    truth = {sample.image.tobytes(): (sample.target == 254).astype(np.float32) for sample in data}
    scorers = {"right": lambda image: truth[image.tobytes()], "wrong": lambda image: -truth[image.tobytes()]}
    found = evaluate_image_scorers(scorers, data)
    assert (found["right"].ap, found["right"].auroc, found["wrong"].auroc) == (1, 1, 0)


def test_images_without_a_mask_are_refused():
    plain = tiny.dataset().source
    bare = Source("bare", plain.classes, plain.ids, lambda i: (plain.read(i)[0], None))
    with pytest.raises(OwsegError, match="f0 has no mask"):
        evaluate_image_scorers({}, DataSet(bare, bare.classes))

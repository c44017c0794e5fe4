import pytest

from owseg.knowledge.load import load
from owseg.knowledge.pretrained import SHIPPED
from tests.support import tiny


@pytest.mark.parametrize("name", ["synthetic", "street8", "street"])
def test_what_ships_loads_and_predicts(name):
    kb = load(name)
    prediction = kb.predict(tiny.image(size=(96, 128)))
    assert prediction.labels.max() < len(kb.labels)
    assert kb.scorer == "joint" and kb.threshold.target_fpr == 0.05
    assert sum(f.stat().st_size for f in (SHIPPED / name).rglob("*") if f.is_file()) < 10e6

"""What a knowledge base takes from data: a threshold belongs to the score it was found for."""

import pytest

from owseg.calibration import with_fitted, with_threshold
from tests import tiny


@pytest.mark.parametrize(("scorer", "stays"), [("joint", False), ("mahalanobis", False), ("energy", True)])
def test_fitting_anew_takes_away_the_threshold_of_what_was_fitted(scorer, stays):
    data = tiny.dataset(4)
    kb = with_threshold(with_fitted(tiny.knowledge_base(), data), data, scorer=scorer)
    anew = with_fitted(kb, data.pick([0, 1]))
    assert kb.threshold is not None and anew.threshold == (kb.threshold if stays else None)
    assert anew.scorer == scorer and anew.history[-1].action == "fit"

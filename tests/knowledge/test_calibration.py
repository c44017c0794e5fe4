"""What a knowledge base takes from data: a threshold belongs to the score it was found for."""

import pytest

from owseg.knowledge.calibration import calibrate, fit_scorers
from tests.support import tiny


@pytest.mark.parametrize(("scorer", "stays"), [("joint", False), ("mahalanobis", False), ("energy", True)])
def test_fitting_anew_takes_away_the_threshold_of_what_was_fitted(scorer, stays):
    data = tiny.dataset(4)
    kb = calibrate(fit_scorers(tiny.knowledge_base(), data), data, scorer=scorer)
    anew = fit_scorers(kb, data.pick([0, 1]))
    assert kb.threshold is not None and anew.threshold == (kb.threshold if stays else None)
    assert anew.scorer == scorer and anew.history[-1].action == "fit"

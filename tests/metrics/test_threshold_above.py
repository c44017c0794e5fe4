"""The first threshold of a ROC curve above a recall: by counting, and on scikit-learn's curve."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from owseg.metrics.open_iou import threshold_above
from tests.reference import protocols as reference


@pytest.mark.parametrize("seed", range(30))
def test_it_is_the_first_score_that_more_than_the_recall_reach(seed):
    rng = np.random.default_rng(seed)
    scores = np.round(rng.normal(0, 2, rng.integers(1, 60)), rng.integers(0, 3)).astype(np.float32)
    anomalous = rng.random(len(scores)) < 0.6
    anomalous[0] = True
    for recall in (0.95, 0.5, 0.75):
        found = threshold_above(scores[anomalous], recall)
        assert found == reference.first_above(scores.tolist(), anomalous.tolist(), recall)
        if not anomalous.all():
            _, tpr, thresholds = roc_curve(anomalous, scores, drop_intermediate=False)
            assert found == thresholds[tpr > recall][0]


def test_a_recall_that_is_met_exactly_is_not_above_it():
    scores = np.arange(20, dtype=np.float32)
    assert threshold_above(scores) == 0  # 19 of 20 reach 1, which is .95 and no more
    assert threshold_above(np.arange(21, dtype=np.float32)) == 1  # 20 of 21 are more
    assert threshold_above(np.float32([3])) == 3
    assert threshold_above(np.float32([-np.inf, 1])) == -np.inf

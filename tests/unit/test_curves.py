"""Curves agree with scikit-learn and with the scores of the tables."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from fx_monai.metrics.box_matching import ImageBoxes, match_boxes
from fx_monai.metrics.curves import Curve, froc_curve, precision_recall_curve, reliability_curve, roc_curve
from fx_monai.metrics.froc import RATES, sensitivity_at_rates
from fx_monai.metrics.ranking import rank

CASES = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0.0, 1.0, -1.0, np.nan])), min_size=2, max_size=40).map(
    lambda pairs: tuple(np.array(column, dtype=float) for column in zip(*pairs, strict=True))
)


@given(CASES)
def test_roc_and_precision_recall_are_those_of_scikit_learn(case):
    scores, labels = case
    roc, precision_recall = roc_curve(scores, labels), precision_recall_curve(scores, labels)
    known = (labels == 0) | (labels == 1)
    if len(set(labels[known])) < 2:
        assert roc is None
        assert precision_recall is None
        return
    x, y, _ = reference.roc_curve(labels[known], scores[known], drop_intermediate=False)
    np.testing.assert_allclose([roc.x, roc.y], [x, y])
    precision, recall, _ = reference.precision_recall_curve(labels[known], scores[known])
    # scikit-learn adds the point of no positive answer
    np.testing.assert_allclose([precision_recall.x, precision_recall.y], [recall[-2::-1], precision[-2::-1]])
    auc, ap = rank(scores, labels).auc_and_ap(np.ones((len(scores), 1), np.float32))
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(auc[0])
    assert np.sum(np.diff(precision_recall.x, prepend=0) * precision_recall.y) == pytest.approx(ap[0])


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 1.0])), min_size=1, max_size=60))
def test_reliability_is_that_of_scikit_learn(pairs):
    probs, labels = (np.array(column) for column in zip(*pairs, strict=True))
    # the bins of the two differ at their borders
    probs = np.clip(np.floor(probs * 100) / 100 + 0.003, 0, 1)
    curve = reliability_curve(probs, labels, bins=10)
    frequency, mean = calibration_curve(labels, probs, n_bins=10)
    np.testing.assert_allclose([curve.x, curve.y], [mean, frequency])


def boxes(generator, count):
    corners = generator.integers(0, 30, (count, 2)).astype(float)
    return ImageBoxes(
        np.concatenate([corners, corners + 12], axis=1), np.zeros(count, int), generator.integers(1, 9, count) / 9
    )


@pytest.mark.parametrize("seed", range(5))
def test_froc_passes_through_the_sensitivities_of_the_table(seed):
    generator = np.random.default_rng(seed)
    found = [boxes(generator, 6) for _ in range(8)]
    truth = [boxes(generator, number % 3) for number in range(8)]
    matches = match_boxes(found, truth, class_index=0, thresholds=np.array([0.2]))
    curve = froc_curve(matches)
    reached = [curve.y[curve.x <= rate].max() for rate in RATES]
    np.testing.assert_allclose(reached, sensitivity_at_rates(matches, np.ones((8, 1), np.float32))[:, 0])


def test_no_true_box_no_froc():
    nothing = ImageBoxes(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
    matches = match_boxes([nothing], [nothing], class_index=0, thresholds=np.array([0.2]))
    assert froc_curve(matches) is None


def test_thinning_keeps_the_ends_and_the_shape():
    x = np.linspace(0, 1, 20_001)
    thin = Curve(x, x**2).thinned(100)
    assert len(thin.x) < 250
    assert (thin.x[0], thin.x[-1]) == (0, 1)
    np.testing.assert_allclose(np.interp(x, thin.x, thin.y), x**2, atol=0.01)
    assert len(Curve(x[:0], x[:0]).thinned().x) == 0

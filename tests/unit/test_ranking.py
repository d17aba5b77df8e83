import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from fx_monai.metrics.ranking import auroc_per_class, macro, rank

nan = float("nan")


def test_auc_by_hand():
    scores = np.array([[0.1], [0.4], [0.35], [0.8]])
    assert auroc_per_class(scores, np.array([[0], [0], [1], [1]]))[0] == pytest.approx(0.75)


def test_unknown_and_undefined_are_left_out():
    scores = np.array([[0.1, 0.2], [0.9, 0.3], [0.5, 0.1]])
    labels = np.array([[0, 1], [1, 1], [nan, 1]])
    values = auroc_per_class(scores, labels)
    assert values[0] == 1
    assert np.isnan(values[1])
    assert macro(values) == 1
    assert np.isnan(macro(values[1:]))


def test_a_score_that_is_not_a_number_has_no_rank():
    assert rank(np.array([0.1, nan, 0.3]), np.array([0, 1, 1])) is None


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.integers(1, 40), share=st.floats(0.0, 1.0))
def test_equal_scikit_learn_with_ties_unknown_labels_and_resamples(seed, levels, share):
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, levels, 40) / levels
    labels = np.where(generator.uniform(size=40) < 0.2, nan, generator.uniform(size=40) < share)
    counts = generator.integers(0, 3, (40, 4)).astype(np.float32)
    counts[:, 0] = 1
    ranked = rank(scores, labels)
    known = ~np.isnan(labels)
    if ranked is None:
        assert len(set(labels[known])) < 2
        return
    auc, ap = ranked.auc_and_ap(counts)
    for column in range(4):
        repeated = np.repeat(np.flatnonzero(known), counts[known, column].astype(int))
        truth, own = labels[repeated], scores[repeated]
        if len(set(truth)) < 2:
            assert np.isnan(auc[column])
            assert np.isnan(ap[column])
        else:
            assert auc[column] == pytest.approx(roc_auc_score(truth, own))
            assert ap[column] == pytest.approx(average_precision_score(truth, own))

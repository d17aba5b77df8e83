import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import calibration_binning
from scipy.special import expit
from sklearn.metrics import brier_score_loss, roc_curve

from fx_monai.metrics.calibration import (
    brier_score,
    calibration_error,
    fit_temperature,
    fit_threshold,
    probabilities,
    share_above,
)

nan = float("nan")


def once(count):
    return np.ones((count, 1), dtype=np.float32)


def test_error_by_hand():
    probs, labels = np.array([0.1, 0.1, 0.9, 0.9, 0.5]), np.array([0, 1, 1, 1, nan])
    # two bins of two images: |0.1 - 0.5| and |0.9 - 1|
    assert calibration_error(probs, labels, once(5))[0] == pytest.approx((0.4 + 0.1) / 2)
    assert brier_score(probs, labels, once(5))[0] == pytest.approx((0.01 + 0.81 + 0.01 + 0.01) / 4)
    assert np.isnan(calibration_error(probs, labels * nan, once(5))[0])
    assert np.isnan(brier_score(probs, labels * nan, once(5))[0])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_equal_monai_and_scikit_learn_on_resamples(seed):
    generator = np.random.default_rng(seed)
    probs, labels = generator.uniform(size=50), generator.integers(0, 2, 50).astype(float)
    labels[generator.uniform(size=50) < 0.2] = nan
    counts = generator.integers(0, 3, (50, 1)).astype(np.float32)
    known = np.flatnonzero(~np.isnan(labels))
    repeated = np.repeat(known, counts[known, 0].astype(int))
    tensors = (torch.tensor(values[repeated])[None, None] for values in (probs, labels))
    mean, frequency, number = (part[0, 0] for part in calibration_binning(*tensors, num_bins=15))
    theirs = float(((mean - frequency).abs() * number).nansum() / number.sum())
    assert calibration_error(probs, labels, counts)[0] == pytest.approx(theirs, abs=1e-5)
    assert brier_score(probs, labels, counts)[0] == pytest.approx(
        brier_score_loss(labels[repeated], probs[repeated], pos_label=1)
    )


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_temperature_is_found_again(temperature):
    generator = np.random.default_rng(0)
    honest = generator.normal(0, 2, (20_000, 1))
    labels = (generator.uniform(size=honest.shape) < expit(honest)).astype(float)
    labels[::7] = nan
    assert fit_temperature(honest * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_one_temperature_for_exclusive_classes():
    generator = np.random.default_rng(0)
    honest = generator.normal(0, 1.5, (5000, 3))
    drawn = (honest + generator.gumbel(size=honest.shape)).argmax(axis=1)
    found = fit_temperature(honest * 2, np.eye(3)[drawn], exclusive=True)
    assert found == pytest.approx(2, rel=0.06)
    assert probabilities(honest, exclusive=True, temperatures=2.0).sum(axis=1) == pytest.approx(1)


def test_too_few_images_fit_nothing():
    labels = np.array([[1.0]] * 4 + [[0.0]] * 20)
    assert fit_temperature(np.zeros((24, 1)), labels) is None
    assert fit_threshold(np.zeros(24), labels[:, 0]) is None


def test_perfectly_separated_images_stay_within_bounds():
    labels = np.array([[1.0]] * 9 + [[0.0]] * 9)
    assert 0.05 <= fit_temperature(labels * 8 - 4, labels) < 0.06


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.integers(1, 30))
def test_threshold_reaches_the_highest_youden_index(seed, levels):
    generator = np.random.default_rng(seed)
    probs, labels = generator.integers(0, levels, 40) / levels, np.repeat([0.0, 1.0, nan], [15, 15, 10])
    threshold = fit_threshold(probs, labels)
    sensitivity = share_above(probs, labels == 1, threshold, once(40))[0]
    specificity = 1 - share_above(probs, labels == 0, threshold, once(40))[0]
    false_rate, true_rate, _ = roc_curve(labels[:30], probs[:30], drop_intermediate=False)
    assert sensitivity + specificity - 1 == pytest.approx((true_rate - false_rate).max())

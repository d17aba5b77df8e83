import numpy as np
import pytest

from fx_monai.metrics.resampling import bootstrap, interval, patient_counts


def test_a_patient_brings_all_images_and_as_many_patients_are_drawn_as_there_are():
    patients = ["a", "b", "a", "c"]
    counts = np.concatenate(list(patient_counts(patients, resamples=200, seed=0)), axis=1)
    assert counts.shape == (4, 200)
    assert (counts[0] == counts[2]).all()
    assert (counts[[0, 1, 3]].sum(axis=0) == 3).all()
    # each of three patients is missing with probability (2/3) ** 3
    assert (counts[1] == 0).mean() == pytest.approx(8 / 27, abs=0.12)


def test_same_seed_same_resamples_whatever_the_block(monkeypatch):
    patients = np.arange(30)
    whole = next(patient_counts(patients, resamples=10, seed=3))
    monkeypatch.setattr("fx_monai.metrics.resampling._BLOCK", 90)
    parts = list(patient_counts(patients, resamples=10, seed=3))
    assert len(parts) == 4
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_interval_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(0).normal(size=400)
    drawn = bootstrap(lambda counts: {"mean": values @ counts / 400}, np.arange(400), resamples=2000)
    low, high = interval(drawn["mean"])
    error = values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.15 * error)


def test_images_of_one_patient_widen_the_interval():
    per_patient = np.random.default_rng(1).normal(size=50)
    values = np.repeat(per_patient, 8)

    def width(patients):
        drawn = bootstrap(lambda c: {"mean": values @ c / c.sum(axis=0)}, patients, resamples=500)["mean"]
        low, high = interval(drawn)
        return high - low

    assert width(np.repeat(np.arange(50), 8)) > 2 * width(np.arange(400))


def test_mostly_undefined_has_no_interval():
    assert np.isnan(interval(np.array([np.nan, np.nan, np.nan, 0.5]))).all()
    assert interval(np.array([np.nan, 0.5, 0.5, 0.5])) == (0.5, 0.5)
    assert np.isnan(interval(np.zeros(0))).all()

"""Bootstrap of a large test split: 25,000 images x 14 labels, 1,000 resamples, by patient.

    python tests/benchmarks/bootstrap.py [--images 25000] [--labels 14] [--resamples 1000]

Compares, per resample, the AUC by one product with the counts against scikit-learn on the repeated images, and prints
how long the whole bootstrap (AUC, AP, Brier and ECE of every label) takes.
"""

import argparse
import time

import numpy as np
from sklearn.metrics import roc_auc_score

from fx_monai.metrics.classification import ClassificationScores
from fx_monai.metrics.resampling import bootstrap, interval, patient_counts
from fx_monai.types import Kind, Task, TaskSpec


def make_scores(images, labels, generator):
    prevalence = np.geomspace(0.002, 0.4, labels)
    truth = (generator.uniform(size=(images, labels)) < prevalence).astype(float)
    logits = (generator.normal(size=truth.shape) + truth).astype(np.float32)
    truth[generator.uniform(size=truth.shape) < 0.1] = np.nan
    classes = tuple(f"label {k}" for k in range(labels))
    return ClassificationScores(TaskSpec(Task("made", Kind.CLASSIFICATION), classes), np.arange(images), logits, truth)


def seconds_of_scikit_learn(scores, counts):
    """Return the seconds of one resample and check that the AUCs are the same."""
    ours = scores.measure(counts)
    started = time.perf_counter()
    repeated = np.repeat(np.arange(scores.num_images), counts[:, 0].astype(int))
    for k, name in enumerate(scores.spec.classes):
        own = repeated[~np.isnan(scores.labels[repeated, k])]
        theirs = roc_auc_score(scores.labels[own, k], scores.logits[own, k])
        assert abs(theirs - ours[f"auc/{name}"][0]) < 1e-9, name
    return time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("images", 25_000), ("labels", 14), ("resamples", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    scores = make_scores(options.images, options.labels, generator)
    patients = generator.integers(0, options.images // 3, options.images)

    reference = seconds_of_scikit_learn(scores, next(patient_counts(patients, resamples=1, seed=0)))
    started = time.perf_counter()
    drawn = bootstrap(scores.measure, patients, resamples=options.resamples)
    ours = time.perf_counter() - started
    print(f"{options.images} images x {options.labels} labels, {options.resamples} resamples")
    print(f"AUC, AP, Brier and ECE, all resamples: {ours:.1f} s")
    print(f"scikit-learn, AUC only, one resample:  {reference:.3f} s")
    print(f"scikit-learn for all resamples / ours: {reference * options.resamples / ours:.1f}")
    print("AUC macro {:.4f} ({:.4f}-{:.4f})".format(scores.values()["auc_macro"], *interval(drawn["auc_macro"])))


if __name__ == "__main__":
    main()

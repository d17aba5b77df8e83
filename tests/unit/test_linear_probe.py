"""The linear probe is scikit-learn's logistic regression, as a head of the network."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fx_monai.apps.linear_probe import STRENGTHS, choose_head, fit_head, macro_auc
from fx_monai.types import Kind, Task, TaskSpec

TASK = Task("d", Kind.CLASSIFICATION)
SEVERAL = TaskSpec(TASK, ("a", "b"))
EXCLUSIVE = TaskSpec(TASK, ("a", "b", "c"), exclusive=True)


def features(count=60, width=7, seed=0):
    generator = np.random.default_rng(seed)
    return (generator.normal(size=(count, width)) * np.arange(1, width + 1) + 3).astype(np.float32)


def one_hot(classes, width=3):
    return np.eye(width, dtype=np.float32)[classes]


def reference(x, y, strength):
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000)).fit(x, y)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_findings_are_binary_regressions_on_what_is_known(strength):
    x = features()
    labels = (x[:, :2] > 3).astype(np.float32)
    labels[::5, 1] = np.nan
    head = fit_head(x, labels, SEVERAL, strength=strength)
    # standardised on all images, labelled or not
    scaled = StandardScaler().fit_transform(x)
    for k in range(2):
        known = ~np.isnan(labels[:, k])
        expected = LogisticRegression(C=strength, max_iter=1000).fit(scaled[known], labels[known, k])
        np.testing.assert_allclose(head.logits(x)[:, k], expected.decision_function(scaled), rtol=1e-3, atol=1e-3)


def test_exclusive_classes_are_one_multinomial_regression():
    x = features()
    classes = np.digitize(x[:, 0], [2.5, 3.5])
    head = fit_head(x, one_hot(classes), EXCLUSIVE, strength=0.1)
    probabilities = torch.from_numpy(head.logits(x)).softmax(-1).numpy()
    np.testing.assert_allclose(probabilities, reference(x, classes, 0.1).predict_proba(x), rtol=1e-3, atol=1e-4)


def test_exclusive_classes_of_which_one_is_missing():
    x = features()
    classes = np.where(x[:, 0] > 3, 2, 0)
    head = fit_head(x, one_hot(classes), EXCLUSIVE, strength=0.1)
    probabilities = torch.from_numpy(head.logits(x)).softmax(-1).numpy()
    expected = reference(x, classes, 0.1).predict_proba(x)
    assert probabilities[:, 1].max() < probabilities[:, [0, 2]].min(axis=1).max()
    ratio = probabilities[:, 2] / (probabilities[:, 0] + probabilities[:, 2])
    np.testing.assert_allclose(ratio, expected[:, 1], rtol=1e-3, atol=1e-4)


def test_a_finding_with_one_value_is_a_constant():
    x = features(9)
    head = fit_head(x, np.array([[1, 0]] * 9, np.float32), SEVERAL, strength=0.1)
    np.testing.assert_allclose(head.logits(x), [[np.log(9.5 / 0.5), np.log(0.5 / 9.5)]] * 9)


def test_the_head_in_a_layer_gives_the_same_logits():
    x = features()
    head = fit_head(x, (x[:, :2] > 3).astype(np.float32), SEVERAL, strength=1.0)
    layer = torch.nn.Linear(7, 2)
    head.put_into(layer)
    np.testing.assert_allclose(layer(torch.from_numpy(x)).detach().numpy(), head.logits(x), rtol=1e-3, atol=1e-3)


def test_validation_chooses_the_strength_and_nothing_else_does():
    x, other = features(seed=1), features(seed=2)
    labels, theirs = (
        (own[:, :2] + np.random.default_rng(3).normal(0, 2, (60, 2)) > 3).astype(np.float32) for own in (x, other)
    )
    head, score = choose_head((x, labels), (other, theirs), SEVERAL)
    scores = [macro_auc(fit_head(x, labels, SEVERAL, strength=s).logits(other), theirs, SEVERAL) for s in STRENGTHS]
    assert score == max(scores)
    assert head.strength == STRENGTHS[int(np.argmax(scores))]


@pytest.mark.parametrize("count", [0, 5])
def test_without_a_validation_score_the_strength_is_the_usual_one(count):
    x = features()
    nothing = np.full((count, 2), np.nan, np.float32)
    head, score = choose_head((x, (x[:, :2] > 3).astype(np.float32)), (features(count), nothing), SEVERAL)
    assert head.strength == STRENGTHS[1]
    assert np.isnan(score)

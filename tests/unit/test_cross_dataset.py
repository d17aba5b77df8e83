"""One finding over every head that carries it."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from fx_monai.apps.cross_dataset import RANK_MEAN, cross_dataset_rows, cross_dataset_table, heads_of, truth_of
from fx_monai.data.vocabulary import Finding, Label, Relation, Vocabulary
from fx_monai.errors import ConfigError
from fx_monai.metrics.classification import ClassificationScores
from fx_monai.types import Kind, Task, TaskSpec
from tests.builders import tiny_manifest

CLS = (Kind.CLASSIFICATION,)
WORDS = Vocabulary(
    [Finding("opacity", (), "finding"), Finding("edema", ("opacity",), "finding")],
    [
        Label("tiny", "Opacity", CLS, "opacity", Relation.SAME),
        Label("tiny", "Edema", CLS, "edema", Relation.SAME),
        Label("other", "Shadow", CLS, "opacity", Relation.SAME),
        Label("other", "Haze", CLS, "opacity", Relation.CLOSE),
    ],
)
TINY, OTHER = Task("tiny", Kind.CLASSIFICATION), Task("other", Kind.CLASSIFICATION)
SPECS = {TINY: TaskSpec(TINY, ("Opacity", "Edema")), OTHER: TaskSpec(OTHER, ("Haze", "Shadow"))}
NETWORK = SimpleNamespace(specs=SPECS)
nan = float("nan")


def test_heads_that_are_only_close_are_left_out():
    found = [(head.task.dataset, head.label, head.relation.value) for head in heads_of("opacity", NETWORK, WORDS)]
    assert found == [("tiny", "Opacity", "="), ("tiny", "Edema", "<"), ("other", "Shadow", "=")]
    assert [head.label for head in heads_of("edema", NETWORK, WORDS)] == ["Edema"]
    with pytest.raises(ConfigError, match="opacity"):
        heads_of("opacitie", NETWORK, WORDS)


def test_a_positive_child_is_positive_and_a_negative_child_says_nothing():
    labels = np.array([[1, 0], [0, 0], [nan, 1], [nan, 0], [0, 1]])
    scores = ClassificationScores(SPECS[TINY], np.arange(5), labels * 0, labels)
    np.testing.assert_array_equal(truth_of("opacity", scores, WORDS), [1, 0, 1, nan, 1])
    np.testing.assert_array_equal(truth_of("edema", scores, WORDS), [0, 0, 1, 0, 1])
    alone = ClassificationScores(SPECS[OTHER], np.arange(5), labels * 0, labels)
    np.testing.assert_array_equal(truth_of("edema", alone, WORDS), [nan] * 5)
    # Haze is only close to an opacity
    np.testing.assert_array_equal(truth_of("opacity", alone, WORDS), [0, 0, 1, 0, 1])


def test_all_heads_are_listed_with_the_mean_of_their_ranks(tmp_path):
    generator = np.random.default_rng(0)
    labels = np.array([[1.0, nan], [0, nan]] * 6)
    own, foreign = (generator.normal(size=(12, 2)) + labels[:, :1] for _ in range(2))
    scores = ClassificationScores(SPECS[TINY], np.arange(12), own, labels, other_heads={OTHER: foreign})
    rows = cross_dataset_rows(
        {(TINY, "student"): scores},
        {"student": NETWORK},
        {"tiny": tiny_manifest(tmp_path)},
        WORDS,
        resamples=50,
    )
    # nobody else carries edema, which no image has
    assert [row["head"] for row in rows] == ["tiny/Opacity", "tiny/Edema", "other/Shadow", RANK_MEAN]
    columns = [own[:, 0], own[:, 1], foreign[:, 1]]
    columns.append(sum(rankdata(column) for column in columns))
    assert [row["value"] for row in rows] == pytest.approx([roc_auc_score(labels[:, 0], column) for column in columns])
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert (rows[0]["images"], rows[0]["positive"]) == (12, 6)
    assert "other/Shadow" in cross_dataset_table(rows)

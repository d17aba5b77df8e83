"""One finding, every head that carries it: each dataset's images scored with the heads of all datasets.

All heads are listed, and the mean of their ranks; which one is best is for the reader to see, none is picked on the
test split.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from fx_monai.apps.score_rows import patients_of
from fx_monai.apps.tables import markdown, with_interval
from fx_monai.data.manifest import Manifest
from fx_monai.data.vocabulary import Relation, Vocabulary
from fx_monai.metrics.calibration import probabilities
from fx_monai.metrics.classification import ClassificationScores
from fx_monai.metrics.ranking import rank
from fx_monai.metrics.resampling import Counts, Measured, bootstrap, interval
from fx_monai.metrics.task_scores import TaskScores
from fx_monai.models.foundation_x import FoundationX
from fx_monai.types import Task

RANK_MEAN = "mean rank of all heads"

Row = dict[str, Any]


@dataclass(frozen=True)
class Head:
    """One class of a head that carries a finding.

    Args:
        task: of the head.
        label: the dataset's own string.
        relation: SAME, or NARROWER when the label means the finding or one of its children, but not all of it.
        column: index of the class in the head.
    """

    task: Task
    label: str
    relation: Relation
    column: int


def heads_of(finding: str, network: FoundationX, vocabulary: Vocabulary) -> list[Head]:
    """Return every class of every classification head that carries a finding.

    Raises:
        ConfigError: there is no such finding.
    """
    carried = {(item.dataset, item.label): item for item in vocabulary.labels_of(finding)}
    heads = []
    for task, spec in network.specs.items():
        if task.kind != "classification":
            continue
        for column, label in enumerate(spec.classes):
            meaning = vocabulary.meaning(task.dataset, label)
            if meaning is not None and (meaning.dataset, meaning.label) in carried:
                same = meaning.finding == finding and meaning.relation is Relation.SAME
                heads.append(Head(task, label, Relation.SAME if same else Relation.NARROWER, column))
    return heads


def truth_of(finding: str, scores: ClassificationScores, vocabulary: Vocabulary) -> NDArray[np.float64]:
    """Return what a dataset's labels say about a finding, (N,): 1 present, 0 absent, NaN unknown.

    A positive child makes the finding positive; only the finding's own label can make it negative.
    """
    dataset = scores.spec.task.dataset
    meanings = [vocabulary.meaning(dataset, label) for label in scores.spec.classes]
    narrower = vocabulary.descendants(finding)
    truth = np.full(scores.num_images, np.nan)
    for column, meaning in enumerate(meanings):
        if meaning is not None and meaning.finding == finding and meaning.relation is Relation.SAME:
            truth = np.where(np.isnan(truth), scores.labels[:, column], truth)
    for column, meaning in enumerate(meanings):
        child = meaning is not None and (meaning.finding in narrower or meaning.finding == finding)
        if meaning is not None and child and meaning.relation in (Relation.SAME, Relation.NARROWER):
            truth = np.where(scores.labels[:, column] == 1, 1.0, truth)
    return truth


def cross_dataset_rows(
    scores: Mapping[tuple[Task, str], TaskScores],
    networks: Mapping[str, FoundationX],
    manifests: Mapping[str, Manifest],
    vocabulary: Vocabulary,
    *,
    resamples: int,
    finding: str = "",
) -> list[Row]:
    """Return the AUC of every head on every dataset that knows the finding.

    Row: dataset (whose images and labels), finding, head (``dataset/label``), relation, model, images, positive, value
    (AUC), low, high. The last row of a dataset and finding is the mean of the heads' ranks on these images.

    Args:
        scores: of a detailed evaluator.
        networks: by model.
        manifests: by dataset.
        vocabulary: what labels mean.
        resamples: of the bootstrap by patient.
        finding: only this one; "" = every finding that at least two heads carry.
    """
    rows = []
    for (task, model), own in scores.items():
        if not isinstance(own, ClassificationScores):
            continue
        network, logits = networks[model], {task: own.logits, **own.other_heads}
        patients = np.array(patients_of(manifests[task.dataset], own.rows))
        for name in [finding] if finding else vocabulary.findings:
            heads = heads_of(name, network, vocabulary)
            truth = truth_of(name, own, vocabulary)
            known = ~np.isnan(truth)
            if not heads or (len(heads) < 2 and not finding) or not {0.0, 1.0} <= set(truth[known]):
                continue
            columns = [_column(logits[head.task][known], head, network) for head in heads]
            values = _aucs(columns, truth[known], patients[known], resamples)
            common = {"dataset": task.dataset, "finding": name, "model": model, "images": int(known.sum())}
            common["positive"] = int((truth[known] == 1).sum())
            names = [(f"{head.task.dataset}/{head.label}", head.relation.value) for head in heads]
            for (head_name, relation), value in zip([*names, (RANK_MEAN, "")], values, strict=True):
                rows.append({**common, "head": head_name, "relation": relation, **value})
    return rows


def cross_dataset_table(rows: Sequence[Row]) -> str:
    """Return a Markdown table: a line per finding, dataset and head."""
    header = ["finding", "images of", "images", "positive", "head", "relation", "model", "AUC"]
    ordered = sorted(rows, key=lambda row: row["finding"])
    lines = [
        [
            row["finding"],
            row["dataset"],
            str(row["images"]),
            str(row["positive"]),
            row["head"],
            row["relation"],
            row["model"],
            with_interval(row),
        ]
        for row in ordered
    ]
    return markdown(header, lines) if lines else ""


def _column(logits: NDArray[np.floating], head: Head, network: FoundationX) -> NDArray[np.floating]:
    exclusive = network.specs[head.task].exclusive
    return (probabilities(logits, exclusive=True) if exclusive else logits)[:, head.column]


def _aucs(
    columns: Sequence[NDArray[np.floating]], truth: NDArray[np.float64], patients: NDArray[np.str_], resamples: int
) -> list[dict[str, float]]:
    """Return value, low and high of every column and of the mean of their ranks."""
    ranks = np.mean([rankdata(column) for column in columns], axis=0)
    ranked = [rank(column, truth) for column in (*columns, ranks)]

    def measure(counts: Counts) -> Measured:
        nothing = np.full(counts.shape[1], math.nan)
        return {str(i): nothing if own is None else own.auc_and_ap(counts)[0] for i, own in enumerate(ranked)}

    value = measure(np.ones((len(truth), 1), dtype=np.float32))
    drawn = bootstrap(measure, patients, resamples=resamples)
    result = []
    for key, auc in value.items():
        low, high = interval(drawn[key]) if resamples else (math.nan, math.nan)
        result.append({"value": float(auc[0]), "low": low, "high": high})
    return result

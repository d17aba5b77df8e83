"""Linear probe: logistic regression on pooled features that are computed once, as a head of the network."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch.optim.swa_utils import update_bn

from fx_monai.apps.embedding import embed
from fx_monai.data.dataset import TaskDataset, to_device
from fx_monai.data.loader import evaluation_batches
from fx_monai.engine.phase_audit import hash_module
from fx_monai.keys import IMAGE
from fx_monai.metrics.classification import ClassificationScores
from fx_monai.models.foundation_x import FoundationX
from fx_monai.types import TaskSpec

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Inverse regularisation strengths (scikit-learn's C) that validation chooses from."""

Features = NDArray[np.float32]
Labels = NDArray[np.float32]


@dataclass(frozen=True)
class LinearHead:
    """A linear layer on pooled features.

    Args:
        weight: (K, C).
        bias: (K,).
        strength: C that it was fitted with.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    strength: float

    def logits(self, features: Features) -> NDArray[np.float64]:
        """Return (N, K) of features (N, C)."""
        return features @ self.weight.T + self.bias

    def put_into(self, layer: torch.nn.Linear) -> None:
        """Take the place of a layer's parameters."""
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(self.weight))
            layer.bias.copy_(torch.from_numpy(self.bias))


def pooled_features(
    network: FoundationX, dataset: TaskDataset, *, batch_size: int, device: torch.device, folder: Path, data: str
) -> Features:
    """Return the pooled feature of every image of a dataset, (N, C); a second call with the same weights reads a file.

    Args:
        network: on the device, in evaluation mode.
        dataset: un-augmented samples.
        batch_size: images per forward pass.
        device: where the network is.
        folder: of the files.
        data: what tells this data from other data, see :meth:`fx_monai.apps.experiment.Experiment.fingerprint`.
    """
    path = folder / f"{_fingerprint(network, dataset, data)}.npy"
    if path.is_file():
        return np.asarray(np.load(path), dtype=np.float32)
    found = [embed(network, images).cpu().numpy() for images in _images(dataset, batch_size, device)]
    features = np.concatenate([np.zeros((0, network.trunk.width)), *found]).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".part{os.getpid()}")
    with temporary.open("wb") as file:
        np.save(file, features)
    os.replace(temporary, path)
    return features


def collect_statistics(network: FoundationX, dataset: TaskDataset, *, batch_size: int, device: torch.device) -> None:
    """Give a random backbone the BatchNorm statistics of these images; without any it passes on next to nothing."""
    update_bn(_images(dataset, batch_size, device), network.trunk.backbone)
    network.eval()


def fit_head(features: Features, labels: Labels, spec: TaskSpec, *, strength: float) -> LinearHead:
    """Fit logistic regression on standardised features and fold the standardisation into the layer.

    Several findings: one binary regression each, on the images whose label is known. Exclusive classes: one
    multinomial regression. A finding with one value only among the images gets its smoothed log-odds as constant.

    Args:
        features: (N, C).
        labels: (N, K), 1, 0 or NaN; others count as the side of 0.5 they lie on.
        spec: the task.
        strength: scikit-learn's C, inverse of the L2 penalty.
    """
    scaler = StandardScaler().fit(features)
    scaled = scaler.transform(features)
    known = ~np.isnan(labels)
    rounded = np.round(np.nan_to_num(labels)).astype(np.int64)
    if spec.exclusive:
        whole = known.all(axis=1) & (rounded.sum(axis=1) == 1)
        weight, bias = _multinomial(scaled[whole], rounded[whole].argmax(axis=1), len(spec.classes), strength)
    else:
        pairs = [_binary(scaled[known[:, k]], rounded[known[:, k], k], strength) for k in range(len(spec.classes))]
        weight, bias = np.stack([w for w, _ in pairs]), np.array([b for _, b in pairs])
    folded = weight / scaler.scale_
    return LinearHead(folded, bias - folded @ scaler.mean_, strength)


def choose_head(
    train: tuple[Features, Labels], validation: tuple[Features, Labels], spec: TaskSpec
) -> tuple[LinearHead, float]:
    """Return the head whose strength has the best macro AUC on validation, and that AUC.

    Where validation defines no AUC the AUC is NaN and the strength the second smallest; of equals the smallest.
    """
    heads = [fit_head(*train, spec, strength=strength) for strength in STRENGTHS]
    scores = [macro_auc(head.logits(validation[0]), validation[1], spec) for head in heads]
    if not len(validation[0]) or np.isnan(scores).all():
        return heads[1], float("nan")
    best = int(np.nanargmax(scores))
    return heads[best], scores[best]


def macro_auc(logits: NDArray[np.float64], labels: Labels, spec: TaskSpec) -> float:
    """Return the mean AUC over the classes where it is defined, NaN where none is."""
    if not len(logits):
        return float("nan")
    return ClassificationScores(spec, np.arange(len(logits)), logits, labels).values()["auc_macro"]


def _binary(
    scaled: NDArray[np.float64], labels: NDArray[np.int64], strength: float
) -> tuple[NDArray[np.float64], float]:
    if len(set(labels.tolist())) < 2:
        positive = int(labels.sum())
        return np.zeros(scaled.shape[1]), float(np.log((positive + 0.5) / (len(labels) - positive + 0.5)))
    fitted = LogisticRegression(C=strength, max_iter=1000).fit(scaled, labels)
    return fitted.coef_[0], float(fitted.intercept_[0])


def _multinomial(
    scaled: NDArray[np.float64], labels: NDArray[np.int64], classes: int, strength: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    counts = np.bincount(labels, minlength=classes)
    weight = np.zeros((classes, scaled.shape[1]))
    bias = np.log(counts + 0.5)
    present = np.flatnonzero(counts)
    if len(present) > 1:
        fitted = LogisticRegression(C=strength, max_iter=1000).fit(scaled, labels)
        # of two classes scikit-learn gives the log-odds of the second alone
        own = fitted.coef_ if len(present) > 2 else np.vstack([0 * fitted.coef_, fitted.coef_])
        weight[present] = own
        bias[present] = fitted.intercept_ if len(present) > 2 else [0, *fitted.intercept_]
        # a class that no image has stays below all that some have
        bias[counts == 0] = bias[present].min() + np.log(0.5 / counts[present].max())
    return weight, bias


def _images(dataset: TaskDataset, batch_size: int, device: torch.device) -> Iterator[torch.Tensor]:
    for batch in evaluation_batches(dataset, batch_size):
        yield to_device(batch, device)[IMAGE]


def _fingerprint(network: FoundationX, dataset: TaskDataset, data: str) -> str:
    about = f"{data} {dataset.spec.task} {network.config.image_size} {hash_module(network.trunk)}"
    return hashlib.sha256(about.encode() + np.ascontiguousarray(dataset.rows).tobytes()).hexdigest()[:24]

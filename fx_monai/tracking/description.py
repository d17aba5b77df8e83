"""What a run is described by when it begins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fx_monai.types import Task


@dataclass(frozen=True)
class DatasetNote:
    """A dataset as it was trained on.

    Args:
        name: of the dataset in the recipe.
        digest: hash of everything the manifest holds.
        source: public address where it comes from; "" for in-house data.
        profile: plain counts: images, patients, splits.
    """

    name: str
    digest: str
    source: str
    profile: Mapping[str, Any]

    def entity(self) -> Any:
        """Return MLflow's ``DatasetInput``."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = {"url": self.source} if self.source else {"name": self.name}
        entry = Dataset(
            name=self.name,
            digest=self.digest,
            source_type="http" if self.source else "local",
            source=json.dumps(source),
            profile=json.dumps(dict(self.profile)),
        )
        return DatasetInput(entry, [InputTag("mlflow.data.context", "train, val, test")])


@dataclass(frozen=True)
class Description:
    """A training.

    Args:
        parameters: nested values, the resolved recipe.
        tags: plain tags such as the package version.
        tasks: parameters of every task's own run.
        datasets: by name.
        texts: files to keep with the run, by name.
    """

    parameters: Mapping[str, Any]
    tags: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[Task, Mapping[str, Any]] = field(default_factory=dict)
    datasets: Mapping[str, DatasetNote] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)

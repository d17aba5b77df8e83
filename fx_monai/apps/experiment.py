"""A recipe brought together with its data: manifests, splits, image stores, task specifications, loaders."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fx_monai.apps.data_root import no_data_root
from fx_monai.data.annotations import annotated_rows
from fx_monai.data.catalog import find_dataset
from fx_monai.data.columns import hash_table
from fx_monai.data.dataset import TaskDataset
from fx_monai.data.exclusions import excluded_rows, read_exclusions, read_links
from fx_monai.data.index import index_dataset
from fx_monai.data.loader import TaskLoader
from fx_monai.data.manifest import Manifest
from fx_monai.data.policies import Policies, chosen_views
from fx_monai.data.records import SplitRecords, rows_of
from fx_monai.data.splits import Splits, assign_splits
from fx_monai.data.store import ImageStore, cache_folder
from fx_monai.engine.processes import rank, world_size
from fx_monai.errors import ConfigError, DataError, did_you_mean
from fx_monai.recipe import Recipe
from fx_monai.recipe_sections import DatasetSection
from fx_monai.types import Kind, Task, TaskSpec

Report = Callable[[str], None]


@dataclass(frozen=True)
class Experiment:
    """The data side of a run.

    Args:
        recipe: what to train.
        manifests: by dataset name of the recipe.
        stores: decoded images by dataset name.
        splits: train, val or test per row.
        specs: the classes of every task, in the order of the recipe.
        excluded: by dataset name, the rows that the recipe's lists leave out.
    """

    recipe: Recipe
    manifests: Mapping[str, Manifest]
    stores: Mapping[str, ImageStore]
    splits: Splits
    specs: Mapping[Task, TaskSpec]
    excluded: Mapping[str, NDArray[np.bool_]]

    def for_recipe(self, recipe: Recipe) -> Experiment:
        """Return the same data for a recipe that has some of the tasks and differs in nothing that concerns data."""
        return replace(self, recipe=recipe, specs={task: self.specs[task] for task in recipe.tasks})

    def usable(self, dataset: str) -> NDArray[np.bool_]:
        """Return, per manifest row, whether the image can be read and isn't excluded."""
        return self.stores[dataset].valid & ~self.excluded[dataset]

    def policies(self, dataset: str) -> Policies:
        """Return what the recipe makes of a dataset's doubtful annotations."""
        return self.recipe.datasets[dataset].policies or self.recipe.data.policies

    def truth(self, dataset: str) -> Policies:
        """Return the same for scoring: an uncertain label is no truth to be scored against."""
        return replace(self.policies(dataset), uncertain="ignore", unmentioned="ignore")

    def rows(
        self, task: Task, split: str, records: Sequence[Mapping[str, str | int]] | None = None
    ) -> NDArray[np.int64]:
        """Return the manifest rows that are annotated for a task, readable, in a split, and among the records."""
        manifest = self.manifests[task.dataset]
        rows = annotated_rows(manifest, self.specs[task])
        keep = (self.splits.by_dataset[task.dataset][rows] == split) & self.usable(task.dataset)[rows]
        keep &= chosen_views(manifest, self.policies(task.dataset))[rows]
        if records is not None:
            keep &= np.isin(rows, rows_of(records, task.dataset))
        return rows[keep]

    def fingerprint(self) -> str:
        """Return a hash of all images and their division, so that a run isn't resumed on other data."""
        digest = hashlib.sha256()
        for name, manifest in self.manifests.items():
            digest.update(name.encode())
            hash_table(manifest.table.select(["image_id"]), digest)
            digest.update(self.splits.by_dataset[name].tobytes())
            if self.excluded[name].any():
                digest.update(self.excluded[name].tobytes())
        return digest.hexdigest()[:16]

    def records(self, split: str) -> SplitRecords:
        """Return the readable images of a split as dicts with ``dataset``, ``image`` (path), ``image_id``, ``row``."""
        rows = {
            name: np.flatnonzero((self.splits.by_dataset[name] == split) & self.usable(name)) for name in self.manifests
        }
        return SplitRecords(self.manifests, rows)

    def dataset(self, task: Task, split: str, *, augmented: bool, rows: NDArray[np.int64] | None = None) -> TaskDataset:
        """Return the samples of a task in a split (or of chosen rows), for training (augmented) or for evaluation."""
        policies = self.policies(task.dataset) if augmented else self.truth(task.dataset)
        return TaskDataset(
            self.manifests[task.dataset],
            self.stores[task.dataset],
            self.specs[task],
            self.rows(task, split) if rows is None else rows,
            augmentation=self.recipe.augmentation if augmented else None,
            seed=self.recipe.seed,
            policies=policies,
            laterality=find_dataset(self.recipe.datasets[task.dataset].catalogue_name(task.dataset)).laterality,
        )

    def loaders(self, records: Sequence[Mapping[str, str | int]]) -> dict[Task, TaskLoader]:
        """Return one training loader per task over the given records (see :meth:`records`).

        Raises:
            ConfigError: a task has no annotated image among the records.
        """
        loaders = {}
        for task in self.specs:
            rows = self.rows(task, "train", records)
            if not len(rows):
                raise ConfigError(
                    where=f"task {task}",
                    problem="no training image is annotated for it",
                    expected="at least 1",
                    remedy="Remove the task from the recipe, or change data.split",
                )
            loaders[task] = TaskLoader(
                self.dataset(task, "train", augmented=True, rows=rows),
                batch_size=self.recipe.schedule.batch_size,
                seed=self.recipe.seed,
                num_workers=self.recipe.data.num_workers,
                positive_fraction=self.recipe.data.positive_fraction.get(task.kind),
                share=(rank(), world_size()),
            )
        return loaders


def open_experiment(
    recipe: Recipe, *, data_root: Path, cache_dir: Path | None = None, report: Report = print, progress: bool = True
) -> Experiment:
    """Index the datasets, divide the patients, build or open the image stores.

    Args:
        recipe: checked recipe.
        data_root: folder that the recipe's roots are relative to.
        cache_dir: where image stores are kept; default: ``FX_MONAI_CACHE``, else ``~/.cache/fx_monai``.
        report: receives one line per dataset and note.
        progress: whether to draw bars while images are decoded.

    Raises:
        ConfigError: the data root is missing, or a class of the recipe is not in the data.
        DataError: what a reader found wrong, images that can't be read, or a list that can't be read.
    """
    if not data_root.is_dir():
        raise no_data_root(recipe, f"'{data_root}' is not a folder")
    manifests = {name: _manifest(name, section, data_root) for name, section in recipe.datasets.items()}
    division = recipe.data.split
    splits = assign_splits(
        list(manifests.values()),
        seed=division.seed,
        fractions=(division.train, division.val, division.test),
        fold=(division.fold, division.folds) if division.folds else None,
        use_official=division.use_official,
        links=read_links([data_root / name for name in recipe.data.links]) if recipe.data.links else None,
    )
    exclusions = read_exclusions([data_root / name for name in recipe.data.exclude])
    excluded = {name: excluded_rows(manifest, exclusions) for name, manifest in manifests.items()}
    specs = {task: _spec(task, manifests[task.dataset], recipe.datasets[task.dataset]) for task in recipe.tasks}
    stores = {name: _store(manifest, recipe, cache_dir, progress) for name, manifest in manifests.items()}
    experiment = Experiment(recipe, manifests, stores, splits, specs, excluded)
    for note in (*splits.notes, *(note for manifest in manifests.values() for note in manifest.notes)):
        report(f"note: {note}")
    for name, store in stores.items():
        for image_id, reason in store.unreadable:
            report(f"left out: {name}, image {image_id}: {reason}")
    for name, rows in excluded.items():
        if rows.any():
            report(f"excluded: {name}, {int(rows.sum())} of {len(rows)} images, by data.exclude")
    for task in recipe.tasks:
        counts = {split: len(experiment.rows(task, split)) for split in ("train", "val", "test")}
        report(f"{task!s:44s} " + "  ".join(f"{split} {count:5d}" for split, count in counts.items()))
        if not counts["train"]:
            raise ConfigError(
                where=f"task {task}",
                problem="no training image is annotated for it",
                expected="at least 1",
                remedy="Remove the task from the recipe, or change data.split",
            )
        for split in ("val", "test"):
            if not counts[split]:
                report(f"note: {task} has no {split} image and gets no {split} score")
    return experiment


def _manifest(name: str, section: DatasetSection, data_root: Path) -> Manifest:
    if section.manifest is not None:
        manifest = Manifest.read(data_root / section.manifest)
    else:
        manifest = index_dataset(
            name, data_root / section.root, allow_missing_images=section.allow_missing_images, options=section.options
        )
    if manifest.dataset != name:
        raise DataError(
            where=f"recipe, datasets.{name}.manifest",
            problem=f"the manifest is of the dataset '{manifest.dataset}'",
            expected=f"a manifest of {name}",
            remedy="Name the right file",
        )
    return manifest


def _spec(task: Task, manifest: Manifest, section: DatasetSection) -> TaskSpec:
    names = {
        Kind.CLASSIFICATION: manifest.classes.labels,
        Kind.LOCALIZATION: manifest.classes.boxes,
        Kind.SEGMENTATION: manifest.classes.masks,
    }[task.kind]
    chosen = section.classes.get(task.kind, names)
    where = f"recipe, datasets.{task.dataset}.classes.{task.kind.value}"
    for name in chosen:
        if name not in names:
            raise ConfigError(
                where=where,
                problem=f"there is no class '{name}'. {did_you_mean(name, names)}".rstrip(),
                expected=f"some of {', '.join(names)}",
                remedy="Correct the name",
            )
    if not chosen:
        raise ConfigError(
            where=where,
            problem=f"{task.dataset} has no {task.kind.value} annotation",
            expected="an annotated kind",
            remedy="Remove the task from the recipe",
        )
    exclusive = task.kind is Kind.CLASSIFICATION and manifest.classes.exclusive_labels and chosen == names
    return TaskSpec(task, tuple(chosen), exclusive)


def _store(manifest: Manifest, recipe: Recipe, cache_dir: Path | None, progress: bool) -> ImageStore:
    from fx_monai.progress import progress_bar

    return ImageStore.open_or_build(
        manifest,
        size=recipe.model.image_size,
        folder=cache_folder(cache_dir),
        bits=recipe.data.bits,
        skip_unreadable=recipe.data.skip_unreadable,
        progress=progress_bar(f"decoding {manifest.dataset}") if progress else None,
    )

"""Fine-tuning: what the target is, what is trained, and the run itself.

Source: the Lock-Release of Foundation X (WACV 2025) over the whole run instead of in every cycle. That a head settles
before the features move is also the point of linear probing then fine-tuning (Kumar et al., ICLR 2022) and of
MultiTalent's transfer (MICCAI 2023), whose learning rate warms up a second time as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from fx_monai.apps.starting_point import StartingPoint
from fx_monai.data.catalog import CATALOG
from fx_monai.errors import ConfigError, check_choice, did_you_mean
from fx_monai.recipe import RECIPES, load_recipe, recipe_path
from fx_monai.types import Kind

RECIPE = "finetune"


class FineTuning(StrEnum):
    """What is trained."""

    HEAD_FIRST = "head-first"
    """The heads alone for a third of the cycles, then everything."""
    FULL = "full"
    """Everything from the first step on."""
    HEAD = "head"
    """The heads alone."""
    PROBE = "probe"
    """Logistic regression on the pooled features, which are computed once (classification)."""


def fine_tuning(word: str) -> FineTuning:
    """Return the mode by name.

    Raises:
        ConfigError: there is no such mode.
    """
    check_choice(word, [mode.value for mode in FineTuning], where="--mode", remedy="Correct the name")
    return FineTuning(word)


def target_recipe(word: str) -> tuple[str, dict[str, Any]]:
    """Return the recipe of a target and the values of it that the target changes.

    Args:
        word: a shipped recipe or YAML file; or ``DATASET`` or ``DATASET/KIND``, which the recipe ``finetune`` is taken
            for, with the dataset's name as its folder.

    Raises:
        ConfigError: none of these, or a kind that the dataset isn't annotated with.
    """
    dataset, slash, kind = word.partition("/")
    if word not in RECIPES and dataset in CATALOG and not Path(word).is_file():
        kinds = [known.value for known in CATALOG[dataset].kinds]
        if slash and kind not in kinds:
            raise ConfigError(
                where=f"target {word}",
                problem=f"'{kind}' is not annotated in {dataset}. {did_you_mean(kind, kinds)}".rstrip(),
                expected=f"one of {', '.join(kinds)}",
                remedy="Correct the kind",
            )
        section = {"root": dataset, "tasks": [kind] if slash else kinds}
        return RECIPE, {"name": f"{RECIPE}_{word.replace('/', '_')}", "datasets": {dataset: section}}
    try:
        recipe_path(word)
    except ConfigError as error:
        known = [*RECIPES, *CATALOG]
        raise ConfigError(
            where="target",
            problem=f"'{word}' is neither a recipe nor a dataset. {did_you_mean(dataset, known)}".rstrip(),
            expected="a shipped recipe, a YAML file, DATASET, or DATASET/KIND (see `fx-monai datasets`)",
            remedy="Correct the name",
        ) from error
    return word, {}


def recipe_values(recipe: str, mode: FineTuning, start: StartingPoint, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return all values of a recipe that a fine-tuning changes; what the user sets goes before the rest.

    Args:
        recipe: of the target.
        mode: what is trained. A random start has no features to spare the heads' first steps, so ``head-first`` is
            ``full`` for it.
        start: where it begins.
        overrides: what target and user set.

    Raises:
        ConfigError: a recipe that isn't valid, or too short for heads first.
    """
    values = {**start.values, **overrides}
    section = load_recipe(recipe, values).schedule
    cycles, head_cycles = section.cycles, section.head_cycles
    if mode is FineTuning.HEAD_FIRST and start.name != "random":
        if cycles < 2:
            raise ConfigError(
                where="--mode head-first",
                problem=f"the recipe has {cycles} cycle",
                expected="at least 2, one for the heads and one for everything",
                remedy="Set schedule.cycles, or choose another mode",
            )
        first = head_cycles if 0 < head_cycles < cycles else max(1, math.floor(cycles / 3))
        return {**values, "schedule.head_cycles": first}
    if mode in (FineTuning.HEAD, FineTuning.PROBE):
        return {**values, "schedule.head_cycles": cycles}
    return {**values, "schedule.head_cycles": 0, "schedule.lock_fraction": 0, "schedule.lock_classification": False}


def check_probe(recipe: str, values: Mapping[str, Any]) -> None:
    """Refuse tasks that a linear probe can't serve.

    Raises:
        ConfigError: a task that isn't classification.
    """
    wrong = [task for task in load_recipe(recipe, values).tasks if task.kind is not Kind.CLASSIFICATION]
    if wrong:
        raise ConfigError(
            where="--mode probe",
            problem=f"the target has the task {wrong[0]}",
            expected="classification alone: a linear probe reads one feature per image",
            remedy=f"Name {wrong[0].dataset}/classification, or choose the mode head",
        )

"""The recipe: one YAML file that says what to train, checked whole before any work is done.

Numbers of the shipped recipes stand in ``configs/recipes``; :mod:`fx_monai.recipe_sections` and this module say which
keys exist, their defaults and their limits. Every key that names nothing is refused, and all problems of a recipe are
reported together.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from fx_monai.data.transforms import Augmentation
from fx_monai.errors import ConfigError, did_you_mean
from fx_monai.losses.options import LossOptions
from fx_monai.models.config import ModelConfig
from fx_monai.recipe_sections import (
    CheckpointSection,
    ComputeSection,
    DataSection,
    DatasetSection,
    EvaluationSection,
    OptimiserSection,
    ScheduleSection,
    Section,
    TeacherSection,
    TrackingSection,
)
from fx_monai.shipped import shipped_folder
from fx_monai.types import Kind, Task

RECIPES = ("demo", "real_small", "foundation_x", "foundation_x_plus", "ark", "finetune")


class Recipe(Section):
    """A whole recipe.

    Attributes:
        name: name of the run.
        description: one or two sentences.
        seed: of the weights, the order and the augmentation.
        demo_cohort: number of phantoms; the demo cohort is written to the data root when that doesn't exist.
        init_from: weights (``model.pt``) or checkpoint of a run to start from; its tasks keep their heads, new ones get
            fresh heads.
        losses: which losses, where there is a choice between the labels' own and Foundation X's.
        primary: task whose segmentation logits are the network's first output; the first segmentation task when absent.
    """

    name: str
    description: str = ""
    seed: int = Field(default=0, ge=0)
    demo_cohort: int | None = Field(default=None, ge=50)
    datasets: dict[str, DatasetSection] = Field(min_length=1)
    data: DataSection = DataSection()
    augmentation: Augmentation = Augmentation()
    model: ModelConfig = ModelConfig()
    init_from: str | None = None
    primary: str | None = None
    losses: LossOptions = LossOptions()
    schedule: ScheduleSection
    teacher: TeacherSection = TeacherSection()
    optimiser: OptimiserSection = OptimiserSection()
    evaluation: EvaluationSection = EvaluationSection()
    checkpoint: CheckpointSection = CheckpointSection()
    tracking: TrackingSection = TrackingSection()
    compute: ComputeSection = ComputeSection()

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        if not self.tasks:
            raise ValueError("datasets: none of them has a task")
        return self

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks: datasets in the order of the recipe, kinds in the order of :class:`Kind`."""
        return tuple(
            Task(dataset, kind) for dataset, section in self.datasets.items() for kind in Kind if kind in section.tasks
        )

    def values_for_one(self, task: Task) -> dict[str, Any]:
        """Return the values, by dotted key, that leave a single task of the recipe.

        Datasets without a task stay, so that the patients are divided as for all tasks.
        """
        kinds = {name: [task.kind.value] if name == task.dataset else [] for name in self.datasets}
        return {**{f"datasets.{name}.tasks": own for name, own in kinds.items()}, "primary": None}

    def lasting_values(self) -> dict[str, Any]:
        """Return, as plain values, what a training must not change on its way."""
        fleeting = {"description", "evaluation", "checkpoint", "tracking"}
        values: dict[str, Any] = self.model_dump(mode="json", exclude=fleeting)
        return values


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, where YAML would silently take the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"the key '{twice[0]}' stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def recipe_path(name_or_path: str) -> Path:
    """Return the file of a shipped recipe by name, or the given file.

    Raises:
        ConfigError: neither a shipped recipe nor a file.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if path.is_file():
            return path
        problem = f"there is no file '{name_or_path}'"
    else:
        shipped = shipped_folder("configs") / "recipes" / f"{name_or_path}.yaml"
        if shipped.is_file():
            return shipped
        problem = f"no shipped recipe is called '{name_or_path}'. {did_you_mean(name_or_path, RECIPES)}".rstrip()
    raise ConfigError(
        where="recipe",
        problem=problem,
        expected=f"one of {', '.join(RECIPES)}, or the path of a YAML file",
        remedy="Name a recipe that exists",
    )


def load_recipe(name_or_path: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read and check a recipe.

    Args:
        name_or_path: name of a shipped recipe or path of a YAML file.
        overrides: values by dotted key, e.g. ``{"schedule.cycles": 2}``; the keys must exist in the schema.

    Raises:
        ConfigError: lists every unknown key (with the closest known one), missing key and value out of range.
    """
    path = recipe_path(name_or_path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            where=str(path),
            problem=f"not a YAML file ({' '.join(str(error).split())})",
            expected="a YAML mapping",
            remedy="Correct the line that is named",
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(
            where=str(path),
            problem=f"the file holds a {type(content).__name__}",
            expected="a mapping with the keys " + ", ".join(Recipe.model_fields),
            remedy="Start from a shipped recipe in configs/recipes",
        )
    for key, value in (overrides or {}).items():
        _set(content, key, value)
    return parse_recipe(content, where=path.name)


def parse_recipe(content: Mapping[str, Any], *, where: str) -> Recipe:
    """Check a recipe that is already a mapping; ``where`` names its source in messages."""
    from fx_monai.data.catalog import find_dataset

    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(_problem(item, content) for item in error.errors())
        raise ConfigError(
            where=where,
            problem=problems,
            expected="the keys and ranges of the recipe reference (fx_monai/recipe.py, recipe_sections.py)",
            remedy="Correct the recipe or the override",
        ) from None
    for name, section in recipe.datasets.items():
        _check_tasks(name, section, find_dataset(section.catalogue_name(name)).kinds, where)
    if recipe.primary is not None and recipe.primary not in {str(task) for task in recipe.tasks}:
        names = [str(task) for task in recipe.tasks]
        raise ConfigError(
            where=f"{where}, primary",
            problem=f"there is no task '{recipe.primary}'. {did_you_mean(recipe.primary, names)}".rstrip(),
            expected=f"one of {', '.join(names)}",
            remedy="Name a task of the recipe",
        )
    return recipe


def _check_tasks(name: str, section: DatasetSection, kinds: tuple[Kind, ...], where: str) -> None:
    wrong = [kind.value for kind in section.tasks if kind not in kinds]
    if wrong:
        raise ConfigError(
            where=f"{where}, datasets.{name}.tasks",
            problem=f"'{wrong[0]}' is not annotated in {name}",
            expected=f"a list of {', '.join(kind.value for kind in kinds)}",
            remedy="Remove the task",
        )


def _set(content: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    node = content
    for parent in parents:
        child = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(
                where=f"override {dotted}",
                problem=f"'{parent}' holds a single value",
                expected="the dotted path of a value",
                remedy="Correct the key",
            )
        node = child
    node[last] = value


def _problem(item: Any, content: Mapping[str, Any]) -> str:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown key '{path}'. {did_you_mean(str(item['loc'][-1]), _known_keys(item['loc'][:-1]))}".rstrip(" .")
    if item["type"] in ("missing", "missing_argument"):
        return f"the key '{path}' is missing"
    if item["type"] == "enum":
        return f"{path} = {item['input']!r}. {did_you_mean(str(item['input']), list(Kind))} {item['msg']}".rstrip(" .")
    return f"{path} = {item['input']!r}: {item['msg'].replace('a valid tuple', 'a list')}"


def _known_keys(path: tuple[Any, ...]) -> list[str]:
    node: Any = Recipe
    for part in path:
        fields = _fields(node)
        # a key that is no field belongs to a mapping, such as the name of a dataset
        node = fields[part] if part in fields else (get_args(node) or (None, node))[1]
    return list(_fields(node))


def _fields(node: Any) -> dict[str, Any]:
    if isinstance(node, type) and issubclass(node, BaseModel):
        return {name: field.annotation for name, field in node.model_fields.items()}
    if hasattr(node, "__dataclass_fields__"):
        from typing import get_type_hints

        return get_type_hints(node)
    return {}

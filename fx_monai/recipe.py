"""The recipe: one YAML file that says what to train, checked whole before any work is done.

Numbers of the shipped recipes stand in ``configs/recipes``; this module says which keys exist, their defaults and
their limits. Every key that names nothing is refused, and all problems of a recipe are reported together.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from fx_monai.data.policies import Policies
from fx_monai.data.transforms import Augmentation
from fx_monai.errors import ConfigError, did_you_mean
from fx_monai.losses.options import LossOptions
from fx_monai.models.config import ModelConfig
from fx_monai.shipped import shipped_folder
from fx_monai.types import Kind, Order, Task

RECIPES = ("demo", "real_small", "foundation_x", "foundation_x_plus", "ark", "finetune")


class Section(BaseModel):
    """A part of a recipe: immutable, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and bool not in (annotation, *get_args(annotation)):
            raise ValueError("true and false are no value of this key")
        return value


class DatasetSection(Section):
    """Where a dataset lies and what it is used for.

    Attributes:
        root: folder of the native tree, relative to the data root.
        manifest: manifest file relative to the data root, used instead of indexing ``root``.
        tasks: kinds to train; they must be annotated. With ``[]`` it only takes part in the division of patients.
        options: options of the reader (strings), e.g. ``annotations`` of a COCO file.
        classes: per kind, the classes to train in this order; a kind that isn't named has all its classes.
        allow_missing_images: leave out images that are named but not there, instead of refusing.
        policies: for this dataset instead of ``data.policies``.
    """

    root: str = "."
    manifest: str | None = None
    tasks: tuple[Kind, ...]
    options: dict[str, str] = {}
    classes: dict[Kind, tuple[str, ...]] = {}
    allow_missing_images: bool = False
    policies: Policies | None = None

    def catalogue_name(self, name: str) -> str:
        """Return the catalogue's name of a dataset; in-house folders may have a name of their own."""
        return self.options.get("dataset", name)


class SplitSection(Section):
    """How patients are divided.

    Attributes:
        train, val, test: fractions of the patients; they add up to 1.
        seed: of the division; independent of the training seed, so that seeds share their test set.
        use_official: take official splits where they leave every task something to train on.
        folds, fold: with ``folds`` > 0, cross-validation: part ``fold`` of ``folds`` is the test set.
    """

    train: float = Field(default=0.7, gt=0, lt=1)
    val: float = Field(default=0.1, gt=0, lt=1)
    test: float = Field(default=0.2, gt=0, lt=1)
    seed: int = 0
    use_official: bool = True
    folds: int = Field(default=0, ge=0)
    fold: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> SplitSection:
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError(f"train + val + test = {self.train + self.val + self.test:g}; they must add up to 1")
        if self.folds == 1 or (self.folds and self.fold >= self.folds):
            raise ValueError(f"fold {self.fold} of {self.folds}; folds must be 0 or at least 2, fold below folds")
        return self


class DataSection(Section):
    """How images are read and sampled.

    Attributes:
        split: division into train, val and test.
        policies: what becomes of uncertain labels, of readers who disagree, and which views are used.
        positive_fraction: per kind, the share of a pass that is drawn from images with a finding (box, mask); a
            kind that isn't named is drawn as it comes.
        skip_unreadable: leave out images that can't be read, instead of refusing to start.
        exclude: lists of images to leave out (``exclude.csv`` of ``fx-monai audit``), relative to the data root.
        links: lists of images that stay on one side of the split (``links.csv``), relative to the data root.
        bits: grey levels that images are kept with, 8 or 16 bit.
        num_workers: data loader processes.
    """

    split: SplitSection = SplitSection()
    policies: Policies = Policies()
    positive_fraction: dict[Kind, Annotated[float, Field(ge=0, le=1)]] = {}
    skip_unreadable: bool = False
    exclude: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    bits: Literal[8, 16] = 8
    num_workers: int = Field(default=0, ge=0)


class ScheduleSection(Section):
    """The order and the length of the phases.

    Attributes:
        cycles: how often every phase runs.
        batch_size: images per step.
        lock_fraction: length of a LOCK phase as a fraction of the task's RELEASE phase, rounded down.
        lock_classification: classification gets a LOCK phase too (Foundation X+).
        lock_release: off makes the LOCK phases RELEASE phases of the same length.
        min_batches: per kind, lower limit of the length of a RELEASE phase; a small dataset is passed several times.
        max_batches: upper limit of the length of a RELEASE phase; absent = one full pass.
        head_cycles: in the first so many cycles every phase is LOCK: heads first, then everything, as fine-tuning does.
        order: ``dataset`` (dataset by dataset, task by task), ``interleaved`` (a batch of every task in turn) or
            ``sqrt`` (shuffled, shares by the square root of the tasks' lengths).
        accumulate: batches whose gradients one optimiser step sums, in the memory of the largest; ``all`` = as many as
            there are tasks, so that an interleaved step sees every task once.
        unit_losses: divide each task's loss by what an untrained network has, so that all begin at about 1.
        audit: prove after every phase, by hashes, that exactly its parameters have moved.
    """

    cycles: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    lock_fraction: float = Field(default=0.5, ge=0, le=1)
    lock_classification: bool = False
    lock_release: bool = True
    min_batches: dict[Kind, int] = {}
    max_batches: int | None = Field(default=None, ge=1)
    head_cycles: int = Field(default=0, ge=0)
    order: Order = Order.DATASET
    accumulate: Annotated[int, Field(ge=1)] | Literal["all"] = 1
    unit_losses: bool = False
    audit: bool = False


class TeacherSection(Section):
    """The EMA teacher.

    Attributes:
        enabled: off trains and evaluates the student alone.
        parts: shared parts that the teacher covers, ``backbone`` among them.
        ema_momentum: m in ``teacher = m teacher + (1 - m) student``, at the start of the run.
        ema_momentum_end: m at the end, reached by a cosine; absent = constant.
        update: the event after which the teacher is updated.
        consistency: weight c in ``(1 - c) task loss + c consistency loss``, at the start; 0 = no consistency loss.
        consistency_end: c at the end, reached by a cosine; absent = constant.
    """

    enabled: bool = True
    parts: tuple[Literal["backbone", "loc_encoder", "seg_decoder"], ...] = ("backbone", "loc_encoder", "seg_decoder")
    ema_momentum: float = Field(default=0.8, ge=0, le=1)
    ema_momentum_end: float | None = Field(default=None, ge=0, le=1)
    update: Literal["iteration", "phase", "task", "cycle"] = "phase"
    consistency: float = Field(default=0.5, ge=0, lt=1)
    consistency_end: float | None = Field(default=None, ge=0, lt=1)

    @model_validator(mode="after")
    def _check(self) -> TeacherSection:
        if "backbone" not in self.parts:
            raise ValueError(f"parts = {list(self.parts)}; the others need the backbone")
        return self


class OptimiserSection(Section):
    """AdamW with one learning rate per kind of parameter group, linear warm-up, then cosine decay.

    Attributes:
        backbone: learning rate of the backbone.
        trunk: learning rate of the other shared parts: projector, localization encoder, segmentation decoder.
        heads: learning rate of everything that belongs to one task alone.
        weight_decay: decoupled weight decay.
        rate_schedule: ``steps`` (warm-up over ``warmup_steps``) or ``cycles`` (Foundation X: constant inside a cycle,
            the first cycle warms up).
        warmup_steps: steps of the linear warm-up.
        final_fraction: learning rate at the end as a fraction of the base.
        clip_norm: gradient norm limit over the parameters that are active in the phase.
    """

    backbone: float = Field(default=2e-4, ge=0)
    trunk: float = Field(default=5e-4, ge=0)
    heads: float = Field(default=1e-3, ge=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    rate_schedule: Literal["steps", "cycles"] = "steps"
    warmup_steps: int = Field(default=50, ge=0)
    final_fraction: float = Field(default=0.01, ge=0, le=1)
    clip_norm: float = Field(default=1.0, gt=0)


class EvaluationSection(Section):
    """When the validation split is evaluated, and how the test split is.

    Attributes:
        every_cycles: validation after every so many cycles, and always after the last one.
        after_task: in these cycles also right after a task was trained: of that task (``own``, as dear as the
            evaluation at the end of the cycle) or of all tasks (``all``, as often as there are tasks); for the
            report's focused and unfocused curves, not for the selection of weights.
        batch_size: images per forward pass.
        patience: stop after so many evaluations in a row without a better mean; absent = never.
        resamples: bootstrap resamples of the intervals in the test table; 0 = no intervals.
    """

    every_cycles: int = Field(default=1, ge=1)
    after_task: Literal["none", "own", "all"] = "none"
    batch_size: int = Field(default=32, ge=1)
    patience: int | None = Field(default=None, ge=1)
    resamples: int = Field(default=1000, ge=0)


class CheckpointSection(Section):
    """What is saved and when; always after a cycle and when the run is asked to stop.

    Attributes:
        every_seconds: time between two saves inside a cycle.
        keep_last: checkpoints that are kept: the newest and those before it.
        best_per_task: also keep, in the folder ``best``, the weights that were best on validation for each task.
    """

    every_seconds: float = Field(default=60.0, ge=0)
    keep_last: int = Field(default=2, ge=1)
    best_per_task: bool = False


class TrackingSection(Section):
    """What MLflow is told; may differ when a run is resumed.

    Attributes:
        enabled: False = no MLflow.
        register_model: put the selected weights into the model registry.
        pictures: also store overlays of test images, which show patients; those of phantoms are stored in any case.
    """

    enabled: bool = True
    register_model: bool = True
    pictures: bool = False


class ComputeSection(Section):
    """How the arithmetic is done.

    Attributes:
        precision: of the forward pass; ``float32`` is taken where the device has no 16-bit arithmetic of its own.
        compile: let ``torch.compile`` translate the trunk; pays on GPUs in long runs.
    """

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    compile: bool = False


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
            expected="the keys and ranges of the recipe reference (fx_monai/recipe.py)",
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

"""The sections of a recipe: which keys exist, their defaults and their limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from fx_monai.data.policies import Policies
from fx_monai.types import Kind, Order


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

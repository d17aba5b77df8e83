"""Training: a recipe, its data and the engine brought together; used by the command line and by the bundle."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from fx_monai.apps.data_root import prepare_data_root
from fx_monai.apps.devices import choose_device, seed_everything
from fx_monai.apps.experiment import Experiment, open_experiment
from fx_monai.apps.from_recipe import (
    make_class_weights,
    make_learning_rate,
    make_network,
    make_optimiser,
    make_precision,
    make_ramp,
    make_schedule,
    make_teacher,
    note_slow_teacher,
)
from fx_monai.apps.output_folder import check_output
from fx_monai.apps.results import write_results
from fx_monai.apps.tracking import make_tracker
from fx_monai.apps.weight_keeper import WeightKeeper
from fx_monai.engine.after_task import AfterTask
from fx_monai.engine.checkpoint import RunState
from fx_monai.engine.ema_teacher import count_updates
from fx_monai.engine.evaluator import MatrixEvaluator
from fx_monai.engine.history import History, Row
from fx_monai.engine.phase_audit import PhaseAudit
from fx_monai.engine.processes import is_writer, join, rank, wait_for_all
from fx_monai.engine.progress import Progress
from fx_monai.engine.run_lock import RunLock
from fx_monai.engine.saving import Checkpoints
from fx_monai.engine.schedule import Schedule
from fx_monai.engine.trainer import CyclicTrainer
from fx_monai.engine.validation import Scores, Validation
from fx_monai.models.continual import start_from
from fx_monai.models.foundation_x import FoundationX, check_image_size
from fx_monai.recipe import Recipe, load_recipe
from fx_monai.signals import terminate_as_interrupt
from fx_monai.tracking.tracker import MLflowTracker
from fx_monai.types import Task

MAY_CHANGE = ("recipe.data.num_workers", "recipe.compute.compile", "recipe.schedule.audit")
"""What may differ between a run and its resumption: it has no part in what is learnt."""


def say(text: str) -> None:
    """Print a line for the user at once; of several processes, the first speaks."""
    if not is_writer():
        return
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class TrainingSession:
    """Everything one training needs, built from a recipe.

    Args:
        recipe: name of a shipped recipe or path of a YAML file.
        data_root: folder that the recipe's roots are relative to; "" is refused.
        output_dir: folder for checkpoint, tables and figures.
        weights_path: where the selected weights go; default: ``model.pt`` in the output folder.
        device: where to train; "" = first GPU, else CPU.
        overrides: values of the recipe by dotted key.
        resume: go on with the run in the output folder.
        tracking_database: MLflow's SQLite file; default: ``mlruns.db`` beside the output folder.
        read_only: nothing will be trained, so the output folder may hold a run.
        experiment: the data, opened before by a recipe with the same data and image size, for many short trainings.

    Raises:
        ConfigError: recipe, paths or the combination are not valid.
        DataError: the data is not what the readers expect.
        CheckpointError: ``resume`` without a checkpoint, or the folder holds a run and ``resume`` isn't set.
    """

    def __init__(
        self,
        recipe: str,
        *,
        data_root: str | Path,
        output_dir: str | Path,
        weights_path: str | Path | None = None,
        device: str | torch.device = "",
        overrides: Mapping[str, Any] | None = None,
        resume: bool = False,
        tracking_database: str | Path | None = None,
        read_only: bool = False,
        experiment: Experiment | None = None,
    ) -> None:
        join()
        self.recipe: Recipe = load_recipe(recipe, overrides)
        self.device = choose_device(device)
        self.output_dir = Path(output_dir)
        self.checkpoint_path = self.output_dir / "checkpoint.pt"
        self.weights_path = Path(weights_path) if weights_path else self.output_dir / "model.pt"
        self.tracking_database = Path(tracking_database or self.output_dir.parent / "mlruns.db")
        self.lock = RunLock(self.output_dir)
        self.resume = resume
        check_image_size(self.recipe.model, self.recipe.tasks)
        if not read_only:
            check_output(self.checkpoint_path, resume)
        root = prepare_data_root(self.recipe, data_root)
        seed_everything(self.recipe.seed)
        self.experiment: Experiment = (
            experiment.for_recipe(self.recipe)
            if experiment is not None
            else open_experiment(self.recipe, data_root=root, report=say)
        )
        self.network = make_network(self.recipe, list(self.experiment.specs.values())).to(self.device)
        if self.recipe.init_from and not resume:
            for note in start_from(self.network, Path(self.recipe.init_from)):
                say(f"note: {note}")
        if not is_writer():
            # the same weights everywhere, but random layers of their own
            torch.manual_seed(self.recipe.seed + rank())
        self.optimiser = make_optimiser(self.recipe, self.network)
        self.teacher = make_teacher(self.recipe, self.network)
        if self.recipe.compute.compile:
            # in place, so that names in the weights stay what they are
            for network in self.networks().values():
                network.trunk.compile()
        self.keeper = WeightKeeper(self.recipe, self.networks, self.weights_path, self.output_dir, report=say)
        self.history = History(self.teacher)
        self.tracker: MLflowTracker | None = None

    def networks(self) -> dict[str, FoundationX]:
        """Return what is evaluated: the student, and (if there is one) the teacher's trunk with the student's heads."""
        if self.teacher is None:
            return {"student": self.network}
        return {"student": self.network, "teacher": self.network.with_trunk(self.teacher.trunk)}

    def evaluator(
        self,
        split: str,
        *,
        records: Sequence[Mapping[str, Any]] | None = None,
        val_handlers: Sequence[Any] | None = None,
        tasks: Sequence[Task] | None = None,
    ) -> MatrixEvaluator:
        """Return the evaluator of all tasks (or some) on a split, or on some of its records."""
        experiment = self.experiment
        rows = {task: experiment.rows(task, split, records) for task in tasks or experiment.specs}
        return MatrixEvaluator(
            device=self.device,
            datasets={task: experiment.dataset(task, split, augmented=False, rows=own) for task, own in rows.items()},
            networks=self.networks(),
            split=split,
            batch_size=self.recipe.evaluation.batch_size,
            val_handlers=val_handlers,
        )

    def schedule(self, records: Sequence[Mapping[str, Any]] | None = None, cycles: int | None = None) -> Schedule:
        """Return the schedule over the given training records (default: all)."""
        loaders = self.experiment.loaders(records if records is not None else self.experiment.records("train"))
        return make_schedule(self.recipe, loaders, cycles)

    def trainer(
        self,
        *,
        max_epochs: int | None = None,
        records: Sequence[Mapping[str, Any]] | None = None,
        validator: MatrixEvaluator | None = None,
        train_handlers: Sequence[Any] | None = None,
    ) -> CyclicTrainer:
        """Return the trainer with all its handlers, at the step where a resumed run stopped.

        Args:
            max_epochs: number of cycles instead of the recipe's.
            records: training images instead of all (see :meth:`Experiment.records`).
            validator: evaluator of the validation split instead of the standard one.
            train_handlers: further handlers. A MONAI ``MLFlowHandler`` among them replaces the own tracking.
        """
        recipe = self.recipe
        loaders = self.experiment.loaders(records if records is not None else self.experiment.records("train"))
        schedule = make_schedule(recipe, loaders, max_epochs)
        extra = list(train_handlers or ())
        validator = validator or self.evaluator("val")
        validation = Validation(
            lambda cycle: self._evaluate(validator, cycle),
            self.keeper.keep,
            every_cycles=recipe.evaluation.every_cycles,
            history=self.history,
            keep_task=self.keeper.keep_task if recipe.checkpoint.best_per_task else None,
            patience=recipe.evaluation.patience,
        )
        handlers: list[Any] = [
            self.lock,
            make_learning_rate(recipe, self.optimiser, schedule),
            self.history,
            validation,
        ]
        if recipe.evaluation.after_task != "none":
            handlers.append(self._after_task())
        if recipe.schedule.audit:
            handlers.insert(0, PhaseAudit(self.network.module_groups()))
        if recipe.tracking.enabled and is_writer() and not any(type(h).__name__ == "MLFlowHandler" for h in extra):
            self.tracker = make_tracker(self)
            handlers.append(self.tracker)
        if is_writer():
            extra.append(Progress(total_steps=schedule.total_steps, cycles=schedule.cycles))
        if self.teacher is not None:
            self.teacher.total_updates = count_updates(schedule, recipe.teacher.update)
            note_slow_teacher(self.teacher, say)
        trainer = CyclicTrainer(
            device=self.device,
            max_epochs=schedule.cycles,
            network=self.network,
            optimiser=self.optimiser,
            schedule=schedule,
            loaders=loaders,
            teacher=self.teacher,
            consistency=make_ramp(recipe.teacher.consistency, recipe.teacher.consistency_end),
            clip_norm=recipe.optimiser.clip_norm,
            losses=recipe.losses,
            class_weights=make_class_weights(recipe, loaders),
            unit_losses=recipe.schedule.unit_losses,
            precision=make_precision(recipe, self.device, say),
            train_handlers=[*handlers, *extra],
        )
        state = self._run_state(trainer, validation)
        self.checkpoints = Checkpoints(state, self.checkpoint_path, every_seconds=recipe.checkpoint.every_seconds)
        self.checkpoints.attach(trainer)
        if self.resume:
            trainer.start_at(state.restore(self.checkpoint_path))
            say(f"resumed at step {trainer.state.iteration} of {schedule.total_steps}")
            validation.catch_up(trainer)
        return trainer

    def _run_state(self, trainer: CyclicTrainer, validation: Validation) -> RunState:
        modules = {
            "student": self.network,
            "teacher": self.teacher,
            "optimiser": self.optimiser,
            "scaler": trainer.precision.scaler,
            "history": self.history,
            "validation": validation,
            "tracker": self.tracker,
        }
        return RunState(
            {name: module for name, module in modules.items() if module is not None},
            identity=self._identity(trainer.schedule),
            may_change=MAY_CHANGE,
            keep_last=self.recipe.checkpoint.keep_last,
        )

    def _after_task(self) -> AfterTask:
        evaluators: dict[tuple[Task, ...], MatrixEvaluator] = {}

        def evaluate(tasks: Sequence[Task], cycle: int) -> Sequence[Row] | None:
            key = tuple(tasks)
            if key not in evaluators:
                evaluators[key] = self.evaluator("val", tasks=key)
            scores = self._evaluate(evaluators[key], cycle)
            return scores and scores[0]

        own = self.recipe.evaluation
        everything = list(self.experiment.specs) if own.after_task == "all" else None
        return AfterTask(evaluate, every_cycles=own.every_cycles, history=self.history, tasks=everything)

    def _evaluate(self, validator: MatrixEvaluator, cycle: int) -> Scores | None:
        validator.interrupted = self.checkpoints.stop_requested
        validator.run(cycle)
        return None if self.checkpoints.stopped else (validator.rows, validator.means)

    def _identity(self, schedule: Schedule) -> dict[str, Any]:
        """Return what must not change between a run and its resumption."""
        return {
            "recipe": self.recipe.lasting_values(),
            "classes": {str(task): list(spec.classes) for task, spec in self.experiment.specs.items()},
            "data": self.experiment.fingerprint(),
            "steps per cycle": schedule.steps_per_cycle,
            "number of cycles": schedule.cycles,
        }

    def finish(self) -> Path:
        """Evaluate the selected weights on the test split, write tables and overlays, close the MLflow run.

        A signal that comes now loses this evaluation and nothing else, so it ends the run as cleanly as one before.
        """
        if not self.checkpoints.stopped:
            try:
                with terminate_as_interrupt(), self.lock:
                    self._write_results()
            except KeyboardInterrupt:
                self.checkpoints.stopped = True
        if self.checkpoints.stopped:
            say(f"stopped; go on with --resume (checkpoint: {self.checkpoint_path})")
        return self.output_dir

    def _write_results(self) -> None:
        wait_for_all()
        with nullcontext() if self.tracker is None else self.tracker.closing():
            write_results(self)

"""The verb ``fx-monai finetune``: one fine-tuning, or a few-shot study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fx_monai import __version__
from fx_monai.apps.data_root import prepare_data_root
from fx_monai.apps.devices import choose_device
from fx_monai.apps.evaluation import calibrate, print_scores
from fx_monai.apps.experiment import open_experiment
from fx_monai.apps.few_shot import Study
from fx_monai.apps.few_shot_tables import few_shot_page, write_few_shot
from fx_monai.apps.few_shot_training import ProbeData, starting_network
from fx_monai.apps.fine_tuning import FineTuning, check_probe, fine_tuning, recipe_values, target_recipe
from fx_monai.apps.output_folder import check_output
from fx_monai.apps.starting_point import StartingPoint, starting_point
from fx_monai.apps.train import run_training
from fx_monai.apps.training import say
from fx_monai.apps.weight_keeper import PHANTOM_NOTE
from fx_monai.data.subsets import Subset
from fx_monai.engine.processes import is_writer
from fx_monai.errors import ConfigError
from fx_monai.models.card import ModelCard, inherited_note
from fx_monai.models.weights import write_weights
from fx_monai.recipe import load_recipe


@dataclass(frozen=True)
class Request:
    """What the user asks for.

    Args:
        weights: see :func:`fx_monai.apps.starting_point.starting_point`.
        target: see :func:`fx_monai.apps.fine_tuning.target_recipe`.
        data_root: folder that the recipe's roots are relative to.
        folder: of the results.
        modes: names of modes; a single fine-tuning has one.
        device: "" = first GPU, else CPU.
        overrides: values of the recipe by dotted key.
        resume: go on with the run in the folder (a study always does).
    """

    weights: str
    target: str
    data_root: str
    folder: Path
    modes: Sequence[str] = (FineTuning.HEAD_FIRST,)
    device: str = ""
    overrides: Mapping[str, Any] | None = None
    resume: bool = False

    def resolved(self) -> tuple[str, dict[str, Any], StartingPoint, list[FineTuning]]:
        """Return recipe, values of target and user, start and modes."""
        recipe, values = target_recipe(self.target)
        return (
            recipe,
            {**values, **(self.overrides or {})},
            starting_point(self.weights),
            list(map(fine_tuning, self.modes)),
        )


def run_finetune(request: Request) -> None:
    """Fine-tune on the whole training split, evaluate on test.

    Raises:
        ConfigError, DataError, CheckpointError: what the user has to mend.
    """
    recipe, overrides, start, modes = request.resolved()
    if len(modes) != 1:
        raise ConfigError(
            where="--mode",
            problem=f"{len(modes)} modes",
            expected="one, or --shots or --fractions for a study of several",
            remedy="Name one mode",
        )
    values = recipe_values(recipe, modes[0], start, overrides)
    _say_what_is_known(recipe, values, start)
    if modes[0] is FineTuning.PROBE:
        check_probe(recipe, values)
        _run_probe(recipe, values, start, request)
        return
    run_training(
        recipe,
        data_root=request.data_root,
        output_dir=str(request.folder),
        device=request.device,
        overrides=values,
        resume=request.resume,
    )


def fine_tuned_recipe(weights: str, target: str, mode: str, overrides: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return recipe and values of a fine-tuning that trains, for the bundle; arguments as in :class:`Request`.

    Raises:
        ConfigError: a mode that doesn't train, or what :func:`run_finetune` refuses.
    """
    chosen = fine_tuning(mode)
    if chosen is FineTuning.PROBE:
        raise ConfigError(
            where="mode",
            problem="a linear probe has no trainer",
            expected="head-first, full or head",
            remedy="Use `fx-monai finetune WEIGHTS TARGET --mode probe`",
        )
    recipe, of_target = target_recipe(target)
    start = starting_point(weights)
    values = recipe_values(recipe, chosen, start, {**of_target, **overrides})
    _say_what_is_known(recipe, values, start)
    return recipe, values


def run_study(
    request: Request, *, beside: Sequence[str], shots: Sequence[int], fractions: Sequence[float], draws: int
) -> int:
    """Run a few-shot study, print and write its table and curve; return 1 when a stop signal came, else 0.

    Args:
        request: what is fine-tuned; the folder also gets the cells.
        beside: further starts, with the architecture of the first.
        shots: n per class.
        fractions: percent of the patients.
        draws: subsets and trainings per point.
    """
    recipe, overrides, start, modes = request.resolved()
    starts = [start, *(starting_point(word, like=start) for word in beside)]
    study = Study(
        recipe,
        overrides,
        starts,
        modes,
        [*(Subset(shots=n) for n in shots), *(Subset(percent=p) for p in fractions)],
        draws,
        request.data_root,
        request.folder,
        request.device,
    )
    study.check()
    for own in starts:
        _say_what_is_known(recipe, {**own.values, **overrides}, own)
    rows = study.run()
    if rows is None:
        return 1
    if is_writer():
        about = {"recipe": recipe, "fx_monai": __version__, "draws": draws}
        written = write_few_shot(rows, request.folder, about=about)
        say(f"\n{few_shot_page(rows)}")
        for path in written:
            say(f"written: {path}")
    return 0


def _run_probe(recipe_name: str, values: Mapping[str, Any], start: StartingPoint, request: Request) -> None:
    recipe = load_recipe(recipe_name, values)
    weights = request.folder / "model.pt"
    check_output(weights, resume=False)
    experiment = open_experiment(recipe, data_root=prepare_data_root(recipe, request.data_root), report=say)
    device = choose_device(request.device)
    network = starting_network(experiment, device)
    for task in experiment.specs:
        data = ProbeData.of(network, experiment, task, folder=request.folder / "features", device=device)
        head = data.fit(data.rows["train"])
        head.put_into(network.get_submodule(f"heads.cls_head.{task.dataset}"))  # type: ignore[arg-type]
        say(f"{task}: linear probe on {network.trunk.width} features, C = {head.strength:g} chosen on validation")
    phantoms = PHANTOM_NOTE if recipe.demo_cohort else ""
    note = inherited_note(network.card.note, phantoms, f"linear probe on {start.name}")
    network.card = ModelCard(
        fx_monai_version=__version__, recipe=recipe.name, seed=recipe.seed, model="student", note=note
    )
    network.card = replace(network.card, calibration=calibrate(network, experiment, device=device))
    if is_writer():
        write_weights(network, network.card, weights)
    print_scores(network, experiment, "test", device=device, output_dir=str(request.folder))
    say(f"weights     {weights}")


def _say_what_is_known(recipe: str, values: Mapping[str, Any], start: StartingPoint) -> None:
    for task in load_recipe(recipe, values).tasks:
        if str(task) in start.trained_on:
            say(f"note: {start.name} was trained on {task}; its head is kept, and scores are not of unseen data")

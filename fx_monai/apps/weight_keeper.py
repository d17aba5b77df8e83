"""The weights that are best on validation, as files with a model card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from fx_monai import __version__
from fx_monai.engine.processes import is_writer
from fx_monai.models.card import ModelCard, chosen_for, inherited_note
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.weights import write_weights
from fx_monai.recipe import Recipe

PHANTOM_NOTE = "trained on phantoms"


class WeightKeeper:
    """Writes weights when validation finds them the best so far; of several processes, the first writes.

    Args:
        recipe: of the training.
        networks: returns student and teacher by name.
        path: where the weights go that are best over all tasks; those of single tasks go to the folder ``best`` of
            the run.
        folder: of the run.
        report: receives notes for the user.
    """

    def __init__(
        self,
        recipe: Recipe,
        networks: Callable[[], Mapping[str, FoundationX]],
        path: Path,
        folder: Path,
        report: Callable[[str], None],
    ) -> None:
        self.recipe = recipe
        self.networks = networks
        self.path = path
        self.folder = folder
        self.report = report

    def keep(self, model: str, cycle: int, mean: float | None) -> None:
        """Write the weights of a model after a cycle; ``mean`` of the validation scores, None when none is defined."""
        if mean is None:
            self.report("note: no validation score is defined; model.pt holds the final student, not a selected one")
        self._write(model, self._card(model, cycle, mean), self.path)

    def keep_task(self, model: str, cycle: int, task: str, value: float) -> None:
        """Write the weights of a model that are best for a task (``dataset/kind``)."""
        path = self.folder / "best" / f"{task.replace('/', '_')}.pt"
        self._write(model, self._card(model, cycle, value, task), path)

    def _write(self, model: str, card: ModelCard, path: Path) -> None:
        if is_writer():
            write_weights(self.networks()[model], card, path)

    def _card(self, model: str, cycle: int, value: float | None, task: str = "") -> ModelCard:
        phantoms = PHANTOM_NOTE if self.recipe.demo_cohort else ""
        inherited = self.networks()["student"].card.note
        return ModelCard(
            fx_monai_version=__version__,
            recipe=self.recipe.name,
            seed=self.recipe.seed,
            model=model,
            cycle=cycle,
            validation_mean=value,
            note=inherited_note(inherited, phantoms, chosen_for(task)),
        )

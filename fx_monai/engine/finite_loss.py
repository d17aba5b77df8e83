"""A loss that is not finite ends the run and names its batch, without waiting for the device at every step."""

from __future__ import annotations

import torch
from torch import Tensor

from fx_monai.engine.schedule import Position
from fx_monai.engine.walker import Step, TaskBatch
from fx_monai.errors import FxError
from fx_monai.keys import ROW
from fx_monai.types import Task


class FiniteLoss:
    """Collects losses and looks at them together.

    Args:
        every: losses between two looks. 1 refuses a loss before it moves the weights; more spare a GPU the wait.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._losses: list[Tensor] = []
        self._origins: list[tuple[Position, Task, Tensor]] = []

    def add(self, step: Step, task_batch: TaskBatch, loss: Tensor) -> None:
        """Add the loss of a batch, ().

        Raises:
            FxError: this or an earlier loss is not finite.
        """
        self._losses.append(loss.detach())
        # the rows only: a batch that waits would keep its images
        self._origins.append((step.position, task_batch.task, task_batch.batch[ROW]))
        if len(self._losses) >= self.every:
            self.check()

    def check(self) -> None:
        """Look at the losses since the last look; done before anything is saved.

        Raises:
            FxError: one is not finite.
        """
        losses, origins = self._losses, self._origins
        self._losses, self._origins = [], []
        if not losses:
            return
        finite = torch.stack(losses).isfinite().tolist()
        if not all(finite):
            first = finite.index(False)
            raise _not_finite(*origins[first], float(losses[first]))


def _not_finite(position: Position, task: Task, rows: Tensor, value: float) -> FxError:
    return FxError(
        where=f"cycle {position.cycle + 1}, {task}, {position.phase.mode}, step {position.step + 1}",
        problem=f"the loss is {value}, manifest rows {rows.tolist()}",
        expected="a finite loss",
        remedy="Lower the learning rates (optimiser.*) or look at these images",
    )

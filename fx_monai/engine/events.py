"""Events of the cyclic trainer beside those of Ignite. Ignite's epoch is one cycle of the schedule."""

from __future__ import annotations

from ignite.engine import EventEnum


class ScheduleEvents(EventEnum):
    """Fired around cycles, datasets, tasks and phases; ``engine.state.batch.position`` tells which.

    STARTED comes before the first step, from the outside in, also when a run resumes inside; COMPLETED after the last
    step, from the inside out.
    """

    CYCLE_STARTED = "cycle_started"
    DATASET_STARTED = "dataset_started"
    TASK_STARTED = "task_started"
    PHASE_STARTED = "phase_started"
    PHASE_COMPLETED = "phase_completed"
    TASK_COMPLETED = "task_completed"
    DATASET_COMPLETED = "dataset_completed"
    CYCLE_COMPLETED = "cycle_completed"

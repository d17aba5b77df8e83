"""Events of the cyclic trainer beside those of Ignite. Ignite's epoch is one cycle of the schedule."""

from __future__ import annotations

from ignite.engine import EventEnum


class PhaseEvents(EventEnum):
    """Fired around a phase; ``engine.state.batch.position`` tells which."""

    PHASE_STARTED = "phase_started"
    """Before the first step of a phase, also when a run resumes inside it."""
    PHASE_COMPLETED = "phase_completed"
    """After the last step of a phase."""

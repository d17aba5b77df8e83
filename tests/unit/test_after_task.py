"""Evaluations right after a task was trained."""

from types import SimpleNamespace

import pytest

from fx_monai.engine.after_task import AfterTask
from fx_monai.engine.history import History
from fx_monai.types import Kind, Mode, Phase, Task

A, B = Task("a", Kind.LOCALIZATION), Task("b", Kind.SEGMENTATION)


def walk(cycles, phases, **options):
    """Return what was asked for and what the history holds after the given cycles."""
    asked, history = [], History()

    def evaluate(tasks, cycle):
        asked.append((cycle, [str(task) for task in tasks]))
        return None if cycle == 5 else [{"dataset": tasks[0].dataset, "value": 0.5}]

    handler = AfterTask(evaluate, history=history, **options)
    for cycle in range(1, cycles + 1):
        for number, phase in enumerate(phases):
            state = SimpleNamespace(epoch=cycle, max_epochs=cycles, iteration=10 * cycle + number)
            state.batch = SimpleNamespace(position=SimpleNamespace(phase=phase))
            handler(SimpleNamespace(state=state))
    return asked, history.after_task


@pytest.mark.parametrize(("everything", "expected"), [(None, [str(B)]), ([A, B], [str(A), str(B)])])
def test_the_task_or_all_tasks_are_scored_in_validated_cycles(everything, expected):
    asked, rows = walk(3, [Phase.of(B, Mode.RELEASE, 2)], every_cycles=2, tasks=everything)
    # the last cycle is always validated
    assert asked == [(2, expected), (3, expected)]
    assert [(row["cycle"], row["step"], row["after"]) for row in rows] == [(2, 20, str(B)), (3, 30, str(B))]


def test_orders_that_mix_tasks_have_no_such_moment():
    assert walk(1, [Phase((A, B), Mode.RELEASE)], every_cycles=1) == ([], [])


def test_an_evaluation_that_was_broken_off_leaves_a_gap():
    asked, rows = walk(5, [Phase.of(A, Mode.RELEASE, 1)], every_cycles=4)
    assert [cycle for cycle, _ in asked] == [4, 5]
    assert [row["cycle"] for row in rows] == [4]


def test_the_rows_travel_in_checkpoints():
    history = History()
    history.after_task = [{"cycle": 1, "after": "a/localization"}]
    again = History()
    again.load_state_dict(history.state_dict())
    assert again.after_task == history.after_task

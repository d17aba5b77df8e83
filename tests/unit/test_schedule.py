import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fx_monai.engine.schedule import build_schedule, learning_rate_factor, task_order
from fx_monai.types import Kind, Mode, Task

C, L, S = Kind.CLASSIFICATION, Kind.LOCALIZATION, Kind.SEGMENTATION

# The 20 tasks of the paper in their published order (foundation_x.md 4.1)
PAPER = [
    ("chexpert", C), ("nih_chestxray14", C), ("vindr_cxr", C), ("shenzhen", C), ("mimic_cxr", C),
    ("tbx11k", C), ("tbx11k", L), ("node21", C), ("node21", L),
    ("candid_ptx", C), ("candid_ptx", L), ("candid_ptx", S), ("rsna_pneumonia", C), ("rsna_pneumonia", L),
    ("chestx_det", C), ("chestx_det", L), ("chestx_det", S), ("siim_acr", C), ("siim_acr", L), ("siim_acr", S),
]  # fmt: skip


def test_paper_has_29_phases_in_the_published_order():
    tasks = [Task(*pair) for pair in PAPER]
    schedule = build_schedule(dict.fromkeys(tasks, 10), cycles=150)
    assert len(schedule.phases) == 29
    assert list(task_order(schedule.phases)) == tasks


def test_plus_variant_has_40_phases():
    tasks = [Task(*pair) for pair in PAPER]
    assert len(build_schedule(dict.fromkeys(tasks, 10), cycles=1, lock_classification=True).phases) == 40


def test_dataset_with_all_three_kinds():
    counts = {Task("d", S): 5, Task("d", C): 7, Task("d", L): 4}
    phases = build_schedule(counts, cycles=1).phases
    assert [(p.task.kind, p.mode, p.num_batches) for p in phases] == [
        (C, Mode.RELEASE, 7),
        (L, Mode.LOCK, 2),
        (L, Mode.RELEASE, 4),
        (S, Mode.LOCK, 2),
        (S, Mode.RELEASE, 5),
    ]


def test_lock_phase_of_no_batches_is_left_out():
    phases = build_schedule({Task("d", L): 1}, cycles=1).phases
    assert [(p.mode, p.num_batches) for p in phases] == [(Mode.RELEASE, 1)]


def test_max_batches_limits_release_and_lock():
    phases = build_schedule({Task("d", L): 100}, cycles=1, max_batches=9).phases
    assert [p.num_batches for p in phases] == [4, 9]


def test_min_batches_lengthens_small_tasks_only():
    counts = {Task("small", L): 3, Task("small", S): 3, Task("large", L): 30}
    phases = build_schedule(counts, cycles=1, min_batches={L: 8}, lock_fraction=0).phases
    assert [p.num_batches for p in phases] == [8, 3, 30]


counts = st.dictionaries(
    st.builds(Task, st.sampled_from(["a", "b", "c"]), st.sampled_from(list(Kind))), st.integers(1, 9), min_size=1
)


@given(counts=counts, cycles=st.integers(1, 3), fraction=st.floats(0, 1))
def test_positions_walk_every_batch_of_every_phase_once(counts, cycles, fraction):
    schedule = build_schedule(counts, cycles=cycles, lock_fraction=fraction)
    walked = [schedule.position(step) for step in range(schedule.total_steps)]
    expected = [
        (cycle, number + cycle * len(schedule.phases), phase, batch)
        for cycle in range(cycles)
        for number, phase in enumerate(schedule.phases)
        for batch in range(phase.num_batches)
    ]
    assert [(p.cycle, p.phase_number, p.phase, p.batch) for p in walked] == expected
    assert sum(p.starts_phase for p in walked) == sum(p.ends_phase for p in walked) == cycles * len(schedule.phases)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.1), (9, 1.0), (10, 1.0), (60, 0.01 + 0.99 * 0.5), (110, 0.01)],
)
def test_learning_rate_factor(step, expected):
    factor = learning_rate_factor(step, total_steps=110, warmup_steps=10, final_fraction=0.01)
    assert math.isclose(factor, expected, rel_tol=1e-12)

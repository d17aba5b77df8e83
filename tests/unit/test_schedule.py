import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fx_monai.engine.learning_rate import by_step, factor_by_cycle, factor_by_step
from fx_monai.engine.schedule import Level, Schedule, build_schedule
from fx_monai.types import Kind, Mode, Order, Phase, Task

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
    assert list(schedule.tasks) == tasks


def test_plus_variant_has_40_phases():
    tasks = [Task(*pair) for pair in PAPER]
    assert len(build_schedule(dict.fromkeys(tasks, 10), cycles=1, lock_classification=True).phases) == 40


def test_dataset_with_all_three_kinds():
    counts = {Task("d", S): 5, Task("d", C): 7, Task("d", L): 4}
    phases = build_schedule(counts, cycles=1).phases
    assert [(p.tasks[0].kind, p.mode, p.num_batches) for p in phases] == [
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
        (cycle, number + cycle * len(schedule.phases), phase, step)
        for cycle in range(cycles)
        for number, phase in enumerate(schedule.phases)
        for step in range(phase.num_steps)
    ]
    assert [(p.cycle, p.phase_number, p.phase, p.step) for p in walked] == expected
    for level in Level:
        assert sum(level in p.starts for p in walked) == sum(level in p.ends for p in walked) == schedule.count(level)
    assert schedule.count(Level.CYCLE) == cycles
    assert schedule.count(Level.PHASE) == cycles * len(schedule.phases)
    assert schedule.count(Level.TASK) == cycles * len(counts)
    assert schedule.count(Level.DATASET) == cycles * len({task.dataset for task in counts})


@given(counts=counts, fraction=st.floats(0, 1), lock_classification=st.booleans())
def test_lock_comes_first_with_the_floor_of_its_fraction(counts, fraction, lock_classification):
    phases = build_schedule(counts, cycles=1, lock_fraction=fraction, lock_classification=lock_classification).phases
    for task, release in counts.items():
        own = [(p.mode, p.num_batches) for p in phases if p.tasks == (task,)]
        lock = math.floor(fraction * release) if lock_classification or task.kind is not C else 0
        assert own == ([(Mode.LOCK, lock)] if lock else []) + [(Mode.RELEASE, release)]


@given(counts=counts)
def test_datasets_keep_their_order_and_kinds_theirs(counts):
    tasks = build_schedule(counts, cycles=1).tasks
    datasets = list(dict.fromkeys(task.dataset for task in counts))
    assert list(tasks) == sorted(tasks, key=lambda t: (datasets.index(t.dataset), list(Kind).index(t.kind)))


def test_starts_and_ends_are_nested():
    schedule = build_schedule({Task("a", C): 1, Task("a", L): 2, Task("b", C): 1}, cycles=2)
    # a/C | a/L lock 1, release 2 | b/C
    starts = ["cycle dataset task phase", "task phase", "phase", "", "dataset task phase"]
    ends = ["phase task", "phase", "", "phase task dataset", "phase task dataset cycle"]
    walked = [schedule.position(step) for step in range(10)]
    assert [" ".join(p.starts) for p in walked] == starts * 2
    assert [" ".join(p.ends) for p in walked] == ends * 2


def test_ark_has_one_release_phase_per_dataset():
    datasets = ["mimic_cxr", "chexpert", "nih_chestxray14"]
    phases = build_schedule({Task(name, C): 3 for name in datasets}, cycles=200).phases
    assert [(p.tasks[0].dataset, p.mode, p.num_batches) for p in phases] == [(d, Mode.RELEASE, 3) for d in datasets]


def test_interleaved_takes_a_batch_of_every_task_in_turn():
    a, b = Task("a", C), Task("b", L)
    phases = build_schedule({a: 3, b: 2}, cycles=1, order=Order.INTERLEAVED).phases
    assert [(p.mode, p.sequence) for p in phases] == [(Mode.LOCK, (b,)), (Mode.RELEASE, (a, b) * 3)]


@given(counts=counts, seed=st.integers(0, 9))
def test_sqrt_shares_the_batches_by_the_roots(counts, seed):
    options = {"cycles": 1, "order": Order.SQRT, "lock_fraction": 0}
    (phase,) = build_schedule(counts, **options, seed=seed).phases
    total, roots = sum(counts.values()), {task: math.sqrt(n) for task, n in counts.items()}
    for task, root in roots.items():
        share = total * root / sum(roots.values())
        assert phase.sequence.count(task) == max(1, math.floor(share + 1e-9))
    assert phase == build_schedule(counts, **options, seed=seed).phases[0]


@given(counts=counts, order=st.sampled_from(list(Order)), per_step=st.one_of(st.integers(1, 5), st.just("all")))
def test_accumulated_steps_hold_every_batch_of_a_phase_once(counts, order, per_step):
    schedule = build_schedule(counts, cycles=1, order=order, batches_per_step=per_step)
    size = len(counts) if per_step == "all" else per_step
    for phase in schedule.phases:
        steps = [phase.batches(step) for step in range(phase.num_steps)]
        assert all(len(step) == size for step in steps[:-1])
        assert [task for step in steps for task, _ in step] == list(phase.sequence)
        for task in phase.tasks:
            numbers = [number for step in steps for t, number in step if t == task]
            assert numbers == list(range(len(numbers)))


def test_interleaved_and_accumulated_step_sees_every_task_once():
    tasks = [Task(name, C) for name in "abc"]
    (phase,) = build_schedule(dict.fromkeys(tasks, 4), cycles=1, order=Order.INTERLEAVED, batches_per_step="all").phases
    assert [[task for task, _ in phase.batches(step)] for step in range(phase.num_steps)] == [tasks] * 4


def test_cycles_of_the_same_dataset_have_a_border():
    schedule = Schedule((Phase.of(Task("a", C), Mode.RELEASE, 1),), cycles=2)
    assert schedule.position(1).starts == tuple(Level)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.1), (9, 1.0), (10, 1.0), (60, 0.01 + 0.99 * 0.5), (110, 0.01)],
)
def test_learning_rate_factor_by_step(step, expected):
    factor = factor_by_step(step, total_steps=110, warmup_steps=10, final_fraction=0.01)
    assert math.isclose(factor, expected, rel_tol=1e-12)


def test_heads_alone_in_the_first_cycles_then_everything():
    tasks = {Task("a", S): 4, Task("b", C): 2}
    plain = build_schedule(tasks, cycles=3)
    first = build_schedule(tasks, cycles=3, head_cycles=2)
    locked = 2 * plain.steps_per_cycle
    assert first.release_step == locked
    for step in range(plain.total_steps):
        a, b = plain.position(step), first.position(step)
        assert replace(a, phase=b.phase) == b
        assert b.phase.sequence == a.phase.sequence
        assert b.phase.mode is (Mode.LOCK if step < locked else a.phase.mode)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.5), (1, 1.0), (9, 1.0), (10, 0.5), (11, 1.0), (21, 0.5), (30, 0)])
def test_learning_rate_warms_up_again_when_the_shared_parts_are_released(step, expected):
    factor = factor_by_step(step, total_steps=30, warmup_steps=2, final_fraction=0.0, release_step=10)
    assert factor == pytest.approx(expected)


def test_heads_that_stay_alone_have_the_usual_learning_rate():
    tasks = {Task("a", S): 4}
    schedules = [build_schedule(tasks, cycles=2, head_cycles=head) for head in (0, 2)]
    plain, alone = (
        [by_step(s, warmup_steps=2, final_fraction=0)(n, s.position(n)) for n in range(12)] for s in schedules
    )
    assert plain == alone


@pytest.mark.parametrize(
    ("visit", "expected"),
    [(1, 0.05), (21, 1.0), (41, 0.9999), (101, 0.998), (381, 0.964), (521, 0.932), (1001, 0.756), (2001, 0.253)],
)
def test_learning_rate_factor_by_cycle_is_the_published_one(visit, expected):
    """The figures of foundation_x.md 6.2: 20 tasks, 3000 visits."""
    factor = factor_by_cycle((visit - 1) // 20, cycles=150, tasks=20, final_fraction=0.0)
    assert factor == pytest.approx(expected, abs=6e-4)


def test_learning_rate_factor_of_a_single_cycle():
    assert factor_by_cycle(0, cycles=1, tasks=4, final_fraction=0.1) == pytest.approx(0.25)

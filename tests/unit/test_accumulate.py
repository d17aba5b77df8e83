"""Steps that sum the gradients of several tasks: the joint gradient, in the memory of one task."""

import copy
from contextlib import contextmanager

import pytest
import torch
from ignite.engine import Events

from fx_monai.data.dataset import to_device
from fx_monai.engine.lock_release import LockRelease
from fx_monai.engine.schedule import build_schedule
from fx_monai.losses.task_loss import initial_loss, task_loss
from fx_monai.models.config import BackboneConfig, ModelConfig
from fx_monai.models.foundation_x import FoundationX
from fx_monai.types import Kind, Order, Task, TaskSpec
from tests.unit.test_lock_release import loaders, make_trainer  # noqa: F401 (a fixture)

CPU = torch.device("cpu")


def joint_gradients(network, step, *, unit_losses):
    """Return the gradient of the sum of all losses, built as one graph."""
    total = 0.0
    for task_batch in step.batches:
        batch = to_device(task_batch.batch, CPU)
        spec = network.specs[task_batch.task]
        loss, _ = task_loss(spec, network.forward_task(batch["image"], task_batch.task, batch=batch), batch)
        total = total + (loss / initial_loss(spec) if unit_losses else loss)
    total.backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("unit_losses", [False, True])
def test_gradients_are_those_of_the_joint_loss(loaders, unit_losses):  # noqa: F811
    schedule = build_schedule(
        dict.fromkeys(loaders, 1), cycles=1, order=Order.INTERLEAVED, batches_per_step="all", lock_fraction=0
    )
    trainer = make_trainer(loaders, schedule.phases, clip_norm=1e9, consistency=0.0, unit_losses=unit_losses)
    joint = copy.deepcopy(trainer.network)
    LockRelease(joint.module_groups()).apply([n for n in joint.module_groups() if not n.endswith(".other")])
    seen = {}

    @trainer.on(Events.ITERATION_COMPLETED)
    def _():
        seen["own"] = {n: p.grad.clone() for n, p in trainer.network.named_parameters() if p.grad is not None}
        seen["joint"] = joint_gradients(joint, trainer.state.batch, unit_losses=unit_losses)

    trainer.run()
    assert trainer.state.iteration == 1
    assert len(trainer.state.output) == 3
    own, whole = seen["own"], seen["joint"]
    assert own.keys() == whole.keys()
    difference = torch.stack([(own[n] - g).norm() for n, g in whole.items()]).norm()
    assert difference < 1e-5 * torch.stack([g.norm() for g in whole.values()]).norm()


class Loader:
    num_workers = 0

    def __init__(self, seed):
        generator = torch.Generator().manual_seed(seed)
        image = torch.randint(0, 256, (2, 1, 64, 64), generator=generator, dtype=torch.uint8)
        self.batch = {"image": image, "teacher_image": image, "labels": torch.ones(2, 3), "row": torch.arange(2)}

    def plans(self, phase_number, num_batches, *, start=0):
        return [None] * (num_batches - start)

    def load(self, plan):
        return self.batch


@contextmanager
def saved_bytes():
    """Yield a dict with the greatest sum of bytes that autograd kept at any moment."""
    count = {"now": 0, "peak": 0}

    class Kept:
        def __init__(self, tensor):
            self.tensor = tensor
            count["now"] += tensor.numel() * tensor.element_size()
            count["peak"] = max(count["peak"], count["now"])

        def __del__(self):
            count["now"] -= self.tensor.numel() * self.tensor.element_size()

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        yield count


def peak_bytes(tasks):
    torch.manual_seed(0)
    specs = [TaskSpec(Task(f"d{n}", Kind.CLASSIFICATION), ("a", "b", "c")) for n in range(tasks)]
    network = FoundationX(ModelConfig(backbone=BackboneConfig(pretrained="none"), image_size=64), specs)
    made = {spec.task: Loader(number) for number, spec in enumerate(specs)}
    schedule = build_schedule(
        dict.fromkeys(made, 1), cycles=1, order=Order.INTERLEAVED, batches_per_step="all", lock_fraction=0
    )
    trainer = make_trainer(made, schedule.phases, network=network)
    with saved_bytes() as own:
        trainer.run()
    with saved_bytes() as joint:
        step = next(iter(trainer.walker))
        joint_gradients(network, step, unit_losses=False)
    return own["peak"], joint["peak"]


def test_memory_does_not_grow_with_the_number_of_tasks():
    (two, joint_two), (sixteen, joint_sixteen) = peak_bytes(2), peak_bytes(16)
    assert sixteen < 1.1 * two
    # the measure sees what it should: one graph of all tasks needs eight times as much
    assert joint_sixteen > 6 * joint_two

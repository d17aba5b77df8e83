"""What further heads cost a training step, and what all tasks at once cost against one network per task.

    python tests/benchmarks/network_cost.py [--quick]

Ratios within one run, of CPU seconds on one thread (least of several, taken in turn). ``--quick`` leaves out Swin-B.

- Steps: the CPU configuration (defaults of a recipe, 160 px, batches of 6), a network with 40 heads of each kind
  against one with 3. Memory: bytes that the backward pass keeps, gradients, and optimiser state of one phase.
- Deformable attention on the CPU: sums of rows against PyTorch's ``grid_sample``, 900 queries at 224 px.
- Inference: all tasks of one network in one pass against one pass per task. CPU configuration with the demo's tasks;
  Swin-B at 224 px with the twenty tasks of foundation_x.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import torch

from fx_monai.engine.lock_release import LockRelease
from fx_monai.engine.optim import build_optimiser, clip_active
from fx_monai.losses.task_loss import task_loss
from fx_monai.models.config import ModelConfig
from fx_monai.models.convert.foundation_x_localization import localization_spec
from fx_monai.models.convert.published import classification_spec, segmentation_spec
from fx_monai.models.deformable_sampling import sample_planes, sample_rows
from fx_monai.models.foundation_x import FoundationX, groups_of
from fx_monai.recipe import load_recipe
from fx_monai.types import Kind, Mode, Task, TaskSpec

BATCH = 6
CLASSES = ("a", "b", "c")


def without_weights(config: ModelConfig) -> ModelConfig:
    return replace(config, backbone=replace(config.backbone, pretrained="none"))


def batch_of(side: int, size: int) -> dict:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[20.0, 20, 60, 60], [70, 30, 120, 90]])
    masks = torch.zeros(size, len(CLASSES), side, side, dtype=torch.uint8)
    masks[:, :, 20:60, 20:60] = 1
    return {
        "image": torch.rand(size, 1, side, side, generator=generator),
        "labels": torch.randint(0, 2, (size, len(CLASSES)), generator=generator).float(),
        "boxes": [boxes] * size,
        "box_labels": [torch.tensor([0, 1])] * size,
        "boxes_annotated": torch.ones(size, len(CLASSES), dtype=torch.bool),
        "masks": masks,
        "masks_annotated": torch.ones(size, len(CLASSES), dtype=torch.bool),
    }


class Stepper:
    """A network with so many heads per kind, and what one optimiser step of the trainer does."""

    def __init__(self, config: ModelConfig, heads: int) -> None:
        torch.manual_seed(0)
        specs = [TaskSpec(Task(f"set{number}", kind), CLASSES) for number in range(heads) for kind in Kind]
        self.network = FoundationX(config, specs)
        groups = self.network.module_groups()
        self.optimiser = build_optimiser(groups, backbone=1e-4, trunk=1e-4, heads=1e-4, weight_decay=1e-2)
        self.lock_release = LockRelease(groups)
        self.parameters = list(self.network.parameters())
        self.batch = batch_of(config.image_size, BATCH)

    def start(self, kind: Kind) -> None:
        task = Task("set0", kind)
        self.spec = self.network.specs[task]
        self.lock_release.apply(groups_of(task, Mode.RELEASE, self.network.module_groups()))

    def step(self) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        output = self.network.forward_task(self.batch["image"], self.spec.task, batch=self.batch)
        task_loss(self.spec, output, self.batch)[0].backward()
        clip_active(self.parameters, 1.0)
        self.optimiser.step()

    def overhead(self) -> float:
        """Return the seconds of what a step does for every parameter, active or not."""
        begin = time.process_time()
        self.optimiser.zero_grad(set_to_none=True)
        clip_active(self.parameters, 1.0)
        self.optimiser.step()
        return time.process_time() - begin

    def memory(self) -> int:
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            if not isinstance(tensor, torch.nn.Parameter):
                storage = tensor.untyped_storage()
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            self.step()
        gradients = sum(p.grad.nbytes for p in self.parameters if p.grad is not None)
        state = sum(t.nbytes for values in self.optimiser.state.values() for t in values.values())
        return sum(kept.values()) + gradients + state


def least_in_turn(*actions, repeats: int) -> list[float]:
    seconds = [float("inf")] * len(actions)
    for _ in range(repeats):
        for number, action in enumerate(actions):
            begin = time.process_time()
            action()
            seconds[number] = min(seconds[number], time.process_time() - begin)
    return seconds


def steps(repeats: int) -> None:
    config = without_weights(load_recipe("demo").model)
    few, many = Stepper(config, 3), Stepper(config, 40)
    sizes = [sum(p.numel() for p in stepper.parameters) / 1e6 for stepper in (few, many)]
    print(f"CPU configuration, batches of {BATCH}: 3 heads per kind {sizes[0]:.1f} M parameters, 40 {sizes[1]:.1f} M")
    # memory of the first phase, when only its own parameters have optimiser state
    for kind in Kind:
        for stepper in (few, many):
            stepper.optimiser.state.clear()
            stepper.start(kind)
        memory = [stepper.memory() for stepper in (few, many)]
        seconds = least_in_turn(few.step, many.step, repeats=repeats)
        print(
            f"  {kind.value:16s} step {seconds[0]:.3f} s -> {seconds[1]:.3f} s: {seconds[1] / seconds[0]:.3f}x (at most"
            f" 1.05x)   memory {memory[0] / 1e6:.1f} MB -> {memory[1] / 1e6:.1f} MB: {memory[1] / memory[0]:.3f}x"
        )


def sampling(repeats: int) -> None:
    shapes = [(28, 28), (14, 14), (7, 7), (4, 4)]
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(1, 1045, 8, 32, generator=generator).requires_grad_()
    places = torch.rand(1, 900, 8, 4, 4, 2, generator=generator).requires_grad_()
    weights = torch.rand(1, 900, 8, 16, generator=generator).requires_grad_()

    def forward(sample) -> None:
        with torch.inference_mode():
            sample(value, places, weights, shapes)

    def train(sample) -> None:
        sample(value, places, weights, shapes).square().sum().backward()

    for name, run in (("forward", forward), ("forward and backward", train)):
        rows, planes = least_in_turn(lambda: run(sample_rows), lambda: run(sample_planes), repeats=repeats)  # noqa: B023
        print(f"deformable attention, {name}: rows {rows:.4f} s, grid_sample {planes:.4f} s: {rows / planes:.2f}x")


def inference(name: str, network: FoundationX, limit: float, repeats: int) -> None:
    network.eval()
    side = network.config.image_size
    image = torch.rand(1, 1, side, side)
    tasks = list(network.specs)
    with torch.inference_mode():
        together, *alone = least_in_turn(
            lambda: network.predict_tasks(image),
            *(lambda task=task: network.predict_tasks(image, [task]) for task in tasks),
            repeats=repeats,
        )
    ratio = together / sum(alone)
    print(
        f"{name}: {len(tasks)} tasks in one pass {together:.3f} s, one network per task {sum(alone):.3f} s: "
        f"{ratio:.3f}x (at most {limit}x)"
    )
    for kind in Kind:
        own = [seconds for task, seconds in zip(tasks, alone, strict=True) if task.kind is kind]
        print(f"  {kind.value:16s} alone {min(own):.3f} s")


def demo_specs() -> list[TaskSpec]:
    return [TaskSpec(task, CLASSES) for task in load_recipe("demo").tasks]


def paper_specs() -> list[TaskSpec]:
    of_kind = {
        Kind.CLASSIFICATION: classification_spec,
        Kind.LOCALIZATION: localization_spec,
        Kind.SEGMENTATION: segmentation_spec,
    }
    return [of_kind[task.kind](task.dataset) for task in load_recipe("foundation_x").tasks]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="leave out Swin-B")
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps(repeats=7)
    sampling(repeats=7)
    demo = FoundationX(without_weights(load_recipe("demo").model), demo_specs())
    inference("CPU configuration, demo", demo, 0.4, repeats=7)
    if not options.quick:
        paper = FoundationX(without_weights(load_recipe("foundation_x").model), paper_specs())
        inference("foundation_x, Swin-B, 224 px", paper, 0.25, repeats=2)


if __name__ == "__main__":
    main()

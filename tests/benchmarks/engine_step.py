"""What the engine costs beside a bare PyTorch loop with the same student, teacher, losses and optimiser.

OMP_NUM_THREADS=1 python tests/benchmarks/engine_step.py [REPEATS]

CPU seconds of this process, so that other work on the machine counts little; both sides alternate, medians of all
repeats. Prints four ratios, each against the baseline that is named with it.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fx_monai.data.dataset import to_device
from fx_monai.engine.ema_teacher import EMATeacher
from fx_monai.engine.history import History
from fx_monai.engine.learning_rate import LearningRate, by_step
from fx_monai.engine.optim import build_optimiser, clip_active
from fx_monai.engine.schedule import Schedule
from fx_monai.engine.trainer import CyclicTrainer
from fx_monai.losses.consistency import consistency_loss
from fx_monai.losses.task_loss import task_loss
from fx_monai.models.config import BackboneConfig, ModelConfig
from fx_monai.models.foundation_x import FoundationX, TaskOutput
from fx_monai.types import Kind, Mode, Phase, Task, TaskSpec

RATES = {"backbone": 1e-4, "trunk": 1e-4, "heads": 1e-4, "weight_decay": 0.01}
SPECS = {kind: TaskSpec(Task("demo", kind), ("a", "b", "c", "d", "e")) for kind in Kind}


class Loader:
    """Gives one batch again and again."""

    num_workers = 0

    def __init__(self, batch: dict[str, Any]) -> None:
        self.batch = batch

    def plans(self, phase_number: int, num_batches: int, *, start: int = 0) -> list[None]:
        return [None] * (num_batches - start)

    def load(self, plan: None) -> dict[str, Any]:
        return self.batch


class SmallTrunk(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 30))

    def features(self, image: Tensor, kind: Kind) -> dict[str, Tensor]:
        return {"backbone": self.backbone(image)}


class SmallNetwork(nn.Module):
    """10,000 parameters in the place of a network."""

    def __init__(self) -> None:
        super().__init__()
        self.specs = {SPECS[Kind.CLASSIFICATION].task: SPECS[Kind.CLASSIFICATION]}
        self.trunk = SmallTrunk()
        self.head = nn.Linear(30, 5)

    def forward_task(self, image: Tensor, task: Task, *, trunk_grad: bool = True, **_: Any) -> TaskOutput:
        features = self.trunk.features(image, task.kind)
        return TaskOutput({"logits": self.head(features["backbone"])}, features)

    def module_groups(self) -> dict[str, nn.Module]:
        return {"backbone": self.trunk.backbone, "cls_head.demo": self.head}


def make_batch(kind: Kind, size: int, side: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (size, 1, side, side), generator=generator, dtype=torch.uint8)
    batch: dict[str, Any] = {"image": image, "teacher_image": image, "row": torch.arange(size)}
    known = torch.ones(size, 5, dtype=torch.bool)
    if kind is Kind.CLASSIFICATION:
        return {**batch, "labels": known.float()}
    if kind is Kind.SEGMENTATION:
        masks = (torch.rand(size, 5, side, side, generator=generator) > 0.8).to(torch.uint8)
        return {**batch, "masks": masks, "masks_annotated": known}
    boxes = torch.tensor([[10.0, 10, 60, 50], [80, 30, 120, 90]])
    labels = torch.tensor([0, 1])
    return {**batch, "boxes": [boxes] * size, "box_labels": [labels] * size, "boxes_annotated": known}


def engine_run(network: Any, phases: list[Phase], batches: dict[Kind, dict[str, Any]]) -> Callable[[], float]:
    """Return a function that trains the phases once and returns the CPU seconds per step."""
    schedule = Schedule(tuple(phases), 1)
    optimiser = build_optimiser(network.module_groups(), **RATES)
    teacher = EMATeacher(network.trunk)
    loaders = {SPECS[kind].task: Loader(batch) for kind, batch in batches.items()}

    def run() -> float:
        trainer = CyclicTrainer(
            device="cpu",
            max_epochs=1,
            network=network,
            optimiser=optimiser,
            schedule=schedule,
            loaders=loaders,  # type: ignore[arg-type]
            teacher=teacher,
            train_handlers=[
                LearningRate(optimiser, by_step(schedule, warmup_steps=10, final_fraction=0.01)),
                History(teacher),
            ],
        )
        began = time.process_time()
        trainer.run()
        return (time.process_time() - began) / schedule.total_steps

    return run


def bare_run(network: Any, phases: list[Phase], batches: dict[Kind, dict[str, Any]]) -> Callable[[], float]:
    """Return the same as a plain loop over RELEASE phases."""
    optimiser = build_optimiser(network.module_groups(), **RATES)
    teacher = EMATeacher(network.trunk)
    parameters = list(network.parameters())
    device = torch.device("cpu")

    def run() -> float:
        network.train()
        began = time.process_time()
        for phase in phases:
            for task in phase.sequence:
                batch = to_device(batches[task.kind], device)
                output = network.forward_task(batch["image"], task)
                loss, _ = task_loss(network.specs[task], output, batch)
                with torch.no_grad():
                    target = teacher.trunk.features(batch["teacher_image"], task.kind)
                loss = 0.5 * loss + 0.5 * consistency_loss(output.features, target)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                clip_active(parameters, 1.0)
                optimiser.step()
            teacher.update()
        return (time.process_time() - began) / sum(phase.num_batches for phase in phases)

    return run


def medians(repeats: int, *runs: Callable[[], float]) -> list[float]:
    """Return the median of every run, all of them taken in turn, after one round that counts for nothing."""
    times = [[run() for run in runs] for _ in range(repeats + 1)][1:]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def phase(kind: Kind, mode: Mode, steps: int) -> Phase:
    return Phase.of(SPECS[kind].task, mode, steps)


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    torch.manual_seed(0)
    side, size = 160, 6
    network = FoundationX(
        ModelConfig(backbone=BackboneConfig(pretrained="none"), image_size=side), list(SPECS.values())
    )
    batches = {kind: make_batch(kind, size, side) for kind in Kind}

    phases = [phase(kind, Mode.RELEASE, 3) for kind in Kind]
    engine, bare = medians(repeats, engine_run(network, phases, batches), bare_run(network, phases, batches))
    print(
        f"engine step / bare loop (CPU network, {side} px, batch {size}): {engine / bare:.3f}"
        f"  ({1000 * engine:.1f} and {1000 * bare:.1f} ms)  [at most 1.03]"
    )

    small = SmallNetwork()
    phases = [phase(Kind.CLASSIFICATION, Mode.RELEASE, 200)]
    tiny = {Kind.CLASSIFICATION: make_batch(Kind.CLASSIFICATION, 4, 8)}
    engine, bare = medians(repeats, engine_run(small, phases, tiny), bare_run(small, phases, tiny))
    count = sum(p.numel() for p in small.parameters())
    print(f"engine step - bare loop ({count} parameters): {1000 * (engine - bare):.2f} ms  [at most 2]")

    for kind in (Kind.LOCALIZATION, Kind.SEGMENTATION):
        runs = [engine_run(network, [phase(kind, mode, 4)], batches) for mode in (Mode.LOCK, Mode.RELEASE)]
        lock, release = medians(repeats, *runs)
        print(
            f"LOCK step / RELEASE step, {kind}: {lock / release:.2f}"
            f"  ({1000 * lock:.1f} and {1000 * release:.1f} ms)  [at most 0.6]"
        )

    teacher = EMATeacher(network.trunk)
    old = [p.detach().clone() for p in network.trunk.parameters()]
    new = [p.detach() for p in network.trunk.parameters()]

    def one(function: Callable[[], Any]) -> Callable[[], float]:
        def run() -> float:
            began = time.process_time()
            for _ in range(20):
                function()
            return (time.process_time() - began) / 20

        return run

    update, lerp = medians(repeats, one(teacher.update), one(lambda: torch._foreach_lerp_(old, new, 0.2)))
    print(
        f"EMA update / one pass of torch._foreach_lerp_: {update / lerp:.2f}"
        f"  ({1000 * update:.2f} and {1000 * lerp:.2f} ms)  [at most 1.3]"
    )


if __name__ == "__main__":
    main()

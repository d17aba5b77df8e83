r"""Localization heads on equal terms: same backbone with ImageNet weights, same images, same CPU seconds of training.

    python -m tests.benchmarks.localization run OUT --recipe demo --data-root cohort --task chestx_det/localization
    python -m tests.benchmarks.localization run OUT --recipe real_small --data-root DIR \
        --task rsna_pneumonia/localization
    python -m tests.benchmarks.localization store OUT docs/results/localization.json

``run`` writes one JSON file per task, model, seed and fold, and leaves out what exists, so that it can be stopped and
started at will. ``store`` puts them into one file, of which ``docs/make_results.py`` makes the tables. ``rtdetr-v2``
and ``d-fine`` need the package transformers. ``dino`` has as many queries as its 160 pixels' memory allows for.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from pathlib import Path

import torch

from fx_monai.apps.experiment import Experiment, open_experiment
from fx_monai.data.dataset import to_device
from fx_monai.data.loader import TaskLoader, evaluation_batches
from fx_monai.demo.cohort import write_demo_cohort
from fx_monai.metrics.scores import TaskScorer
from fx_monai.recipe import load_recipe
from fx_monai.types import Kind, Task
from tests.benchmarks.localization_models import OTHERS, OWN, build


def open_task(args: argparse.Namespace, fold: int) -> tuple[Experiment, Task]:
    task = Task(args.task.split("/")[0], Kind(args.task.split("/")[1]))
    recipe = load_recipe(
        args.recipe,
        {"data.split.folds": args.num_folds, "data.split.fold": fold, "model.image_size": args.side, "primary": None},
    )
    if recipe.demo_cohort and not args.data_root.exists():
        write_demo_cohort(args.data_root, num_images=recipe.demo_cohort, seed=recipe.seed)
    section = recipe.datasets[task.dataset].model_copy(update={"tasks": (task.kind,)})
    recipe = recipe.model_copy(update={"datasets": {task.dataset: section}})
    return open_experiment(recipe, data_root=args.data_root, report=lambda _: None, progress=False), task


def train(model: torch.nn.Module, rate: float, loader: TaskLoader, args: argparse.Namespace) -> int:
    """Train for the given CPU seconds; loading doesn't count. Returns the number of steps."""
    inside = {id(p) for p in model.backbone.parameters()}
    model.backbone.requires_grad_(not args.frozen)
    groups = [
        {"params": [p for p in model.parameters() if id(p) in inside and p.requires_grad], "base": 0.3 * rate},
        {"params": [p for p in model.parameters() if id(p) not in inside], "base": rate},
    ]
    optimiser = torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, weight_decay=1e-4, fused=True)
    model.train()
    if args.frozen:
        model.backbone.eval()
    used, steps = 0.0, 0
    for batch in (to_device(b, torch.device("cpu")) for b in loader.batches(0, 10**6)):
        started, done = time.process_time(), used / args.seconds
        for group in optimiser.param_groups:
            group["lr"] = group["base"] * min(1.0, (steps + 1) / 30) * (0.02 + 0.49 * (1 + math.cos(math.pi * done)))
        optimiser.zero_grad()
        model.loss(batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimiser.step()
        steps += 1
        used += time.process_time() - started
        if used > args.seconds:
            return steps
    return steps


def evaluate(model: torch.nn.Module, experiment: Experiment, task: Task) -> dict[str, float]:
    scorer = TaskScorer(experiment.specs[task])
    model.eval()
    with torch.no_grad():
        for raw in evaluation_batches(experiment.dataset(task, "test", augmented=False), batch_size=16):
            batch = to_device(raw, torch.device("cpu"))
            scorer.add(model.predict(batch["image"]), batch)
    return {name: value for name, value in scorer.scores().values().items() if name in ("ap40", "ap50", "ap50_95")}


def run(args: argparse.Namespace) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    for seed, fold, name in itertools.product(args.seeds, args.folds, args.models):
        frozen = "-frozen" if args.frozen else ""
        path = args.out / f"{args.task.replace('/', '.')}--{name}{frozen}--{args.seconds}s--{seed}--{fold}.json"
        if path.exists():
            continue
        experiment, task = open_task(args, fold)
        loader = TaskLoader(
            experiment.dataset(task, "train", augmented=True),
            batch_size=args.batch_size,
            seed=seed,
            positive_fraction=0.7,
        )
        torch.manual_seed(seed)
        model, rate = build(name, experiment.specs[task], args.side)
        rate = args.rate or rate
        steps = train(model, rate, loader, args)
        scores = evaluate(model, experiment, task)
        result = {"task": args.task, "model": f"{name}{frozen}", "seed": seed, "fold": fold, "seconds": args.seconds}
        result |= {"steps": steps, "rate": rate, "images": len(loader.dataset), **scores}
        path.write_text(json.dumps(result))
        print(json.dumps(result), flush=True)


def store(args: argparse.Namespace) -> None:
    results = [json.loads(path.read_text()) for path in sorted(args.out.glob("*.json"))]
    args.file.write_text(json.dumps({"rows": results}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    runner, keeper = verbs.add_parser("run"), verbs.add_parser("store")
    for verb in (runner, keeper):
        verb.add_argument("out", type=Path)
    runner.add_argument("--recipe", default="demo")
    runner.add_argument("--data-root", type=Path, required=True)
    runner.add_argument("--task", default="chestx_det/localization")
    runner.add_argument("--models", nargs="+", default=[*OWN, *OTHERS], choices=[*OWN, *OTHERS])
    runner.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    runner.add_argument("--folds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    runner.add_argument("--num-folds", type=int, default=5)
    runner.add_argument("--seconds", type=int, default=100)
    runner.add_argument("--side", type=int, default=160)
    runner.add_argument("--batch-size", type=int, default=6)
    runner.add_argument("--rate", type=float, default=0.0, help="learning rate of the head; 0 = the model's own")
    runner.add_argument("--frozen", action="store_true", help="the backbone isn't trained")
    keeper.add_argument("file", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    run(args) if args.verb == "run" else store(args)


if __name__ == "__main__":
    main()

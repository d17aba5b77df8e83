"""Two processes with half batches do what one process does with whole ones."""

import shutil
import subprocess
import sys

import pytest
import torch
from ignite.engine import Events
from mlflow.tracking import MlflowClient

from fx_monai.data.annotations import annotated_rows
from fx_monai.data.dataset import TaskDataset
from fx_monai.data.loader import TaskLoader
from fx_monai.data.store import ImageStore
from fx_monai.data.transforms import Augmentation
from fx_monai.engine.ema_teacher import EMATeacher
from fx_monai.engine.evaluator import MatrixEvaluator
from fx_monai.engine.optim import build_optimiser
from fx_monai.engine.processes import any_process, gather, is_writer, mean_buffers, rank, sum_gradients, world_size
from fx_monai.engine.schedule import build_schedule
from fx_monai.engine.trainer import CyclicTrainer
from fx_monai.losses.consistency import consistency_loss
from fx_monai.losses.cross_entropy import masked_cross_entropy
from fx_monai.losses.dice import flat_dice
from fx_monai.losses.dice_ce import dice_ce
from fx_monai.losses.masked_bce import masked_bce
from fx_monai.models.config import BackboneConfig, LocalizationConfig, ModelConfig, SegmentationConfig
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.weights import load_network
from fx_monai.shipped import shipped_folder
from fx_monai.types import Kind, Task, TaskSpec
from tests.builders import tiny_data_root, tiny_manifest, tiny_recipe
from tests.processes import run_together

SPECS = [TaskSpec(Task("tiny", kind), ("square",)) for kind in Kind]
# the decoders have GroupNorm, and the backbone's BatchNorm keeps its statistics
CONFIG = ModelConfig(
    backbone=BackboneConfig(pretrained="none"),
    localization=LocalizationConfig(num_queries=10, width=32, heads=4, feedforward=32),
    segmentation=SegmentationConfig(width=16),
    image_size=64,
)


def make_datasets(folder, *, augmented):
    # 9 images in batches of 4: the last batch has one, so one of two processes has none
    manifest = tiny_manifest(folder, count=9)
    store = ImageStore.open_or_build(manifest, size=64, folder=folder / "store")
    augmentation = Augmentation() if augmented else None
    return {
        spec.task: TaskDataset(manifest, store, spec, annotated_rows(manifest, spec), augmentation=augmentation)
        for spec in SPECS
    }


def train(datasets):
    """Return what every step has seen and done: position, boxes in this process, losses, gradients."""
    loaders = {t: TaskLoader(d, batch_size=4, seed=0, share=(rank(), world_size())) for t, d in datasets.items()}
    torch.manual_seed(0)
    network = FoundationX(CONFIG, SPECS)
    schedule = build_schedule({task: loader.num_batches for task, loader in loaders.items()}, cycles=1)
    trainer = CyclicTrainer(
        device="cpu",
        max_epochs=1,
        network=network,
        # AdamW would turn the float noise of a gradient near 0 into a whole step
        optimiser=build_optimiser(network.module_groups(), backbone=0, trunk=0, heads=0, weight_decay=0.0),
        schedule=schedule,
        loaders=loaders,
        teacher=EMATeacher(network.trunk),
        clip_norm=1e9,
    )
    with torch.no_grad():
        # a teacher that differs, so that the consistency loss has a gradient
        for parameter in trainer.teacher.trunk.parameters():
            parameter.mul_(1.01)
    steps = []

    @trainer.on(Events.ITERATION_COMPLETED)
    def _():
        position = trainer.state.batch.position
        steps.append(
            {
                "place": (position.phase_number, str(position.phase), position.step),
                "boxes": sum(len(boxes) for boxes in trainer.state.batch.batches[0].batch.get("boxes", ())),
                "losses": {name: float(value) for name, value in trainer.state.output[0].items()},
                "gradients": {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None},
            }
        )

    trainer.run()
    return steps


@pytest.mark.slow
@pytest.mark.parametrize("tracking", [[], ["--tracking", "mlflow"]], ids=["own", "monai"])
def test_torchrun_trains_the_bundle_with_one_writer(tmp_path, tracking):
    bundle = tmp_path / "bundle"
    shutil.copytree(shipped_folder("bundle"), bundle, ignore=shutil.ignore_patterns("eval", "data", "*.pt"))
    recipe, data = tiny_recipe(tmp_path / "tiny.yaml"), tiny_data_root(tmp_path / "data")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "monai.bundle", "run", "training"]
    command += ["--config_file", "['configs/train.json','configs/multi_gpu_train.json']"]
    command += ["--recipe", str(recipe), "--dataset_dir", str(data), *tracking]
    result = subprocess.run(command, cwd=bundle, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("| coco") == 2
    assert result.stdout.count("weights     ") == 1
    assert load_network(bundle / "models" / "model.pt").card.recipe == "tiny"
    state = torch.load(bundle / "eval" / "checkpoint.pt", weights_only=True)
    assert len(state["rng"]) == 2
    assert len(state["modules"]["history"]["phases"]) == 10
    client = MlflowClient(f"sqlite:///{bundle / 'eval' / 'mlruns.db'}")
    runs = [run for e in client.search_experiments() for run in client.search_runs([e.experiment_id])]
    assert [r.info.status for r in runs if "mlflow.parentRunId" not in r.data.tags] == ["FINISHED"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    datasets = make_datasets(folder / "data", augmented=True)
    (one,) = run_together(lambda: train(datasets), folder / "one", processes=1)
    return one, run_together(lambda: train(datasets), folder / "two", processes=2)


def test_same_phases_and_losses(runs):
    one, two = runs
    for ranks in zip(one, *two, strict=True):
        whole, *halves = ranks
        for half in halves:
            assert half["place"] == whole["place"]
            assert half["losses"] == pytest.approx(whole["losses"], rel=1e-4, abs=1e-6)
    assert {"LOCK", "RELEASE"} == {step["place"][1].split()[-1] for step in one}


def test_same_gradients(runs):
    one, two = runs
    for whole, *halves in zip(one, *two, strict=True):
        for half in halves:
            assert half["gradients"].keys() == whole["gradients"].keys()
            difference = sum((half["gradients"][n] - g).square().sum() for n, g in whole["gradients"].items()).sqrt()
            norm = sum(g.square().sum() for g in whole["gradients"].values()).sqrt()
            assert difference <= 1e-5 * norm, whole["place"]


def test_some_process_had_no_box_while_the_other_had_one(runs):
    _, two = runs
    pairs = [(a["boxes"], b["boxes"]) for a, b in zip(*two, strict=True) if "localization" in a["place"][1]]
    assert any(min(pair) == 0 < max(pair) for pair in pairs)


def agree():
    parameter = torch.nn.Parameter(torch.zeros(2))
    unused = torch.nn.Parameter(torch.zeros(1))
    if rank() == 1:
        parameter.grad = torch.ones(2)
    sum_gradients([parameter, unused])
    norm = torch.nn.BatchNorm1d(1)
    norm.running_mean.fill_(rank())
    mean_buffers([norm])
    return {
        "flags": any_process(rank() == 1, False),
        "all": gather(f"process {rank()}"),
        "gradient": parameter.grad.tolist(),
        "unused": unused.grad,
        "mean": norm.running_mean.item(),
        "writer": is_writer(),
    }


def test_processes_agree(tmp_path):
    first, second = run_together(agree, tmp_path / "run", processes=2)
    assert (first.pop("writer"), second.pop("writer")) == (True, False)
    assert first == second
    assert first == {
        "flags": (True, False),
        "all": ["process 0", "process 1"],
        "gradient": [1.0, 1.0],
        "unused": None,
        "mean": 0.5,
    }


def unevenly_annotated():
    """Return logits and truth of four images of three classes; little is known of one process's half, the first two."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, generator=generator)
    labels = torch.tensor([[1, torch.nan, torch.nan], [torch.nan] * 3, [0, 1, 0], [1, 0, 1]])
    one_hot = torch.tensor([[torch.nan] * 3, [0, 1, 0], [1, 0, 0], [0, 0, 1.0]])
    pixels = torch.randn(4, 3, 8, 8, generator=generator)
    masks = (torch.rand(4, 3, 8, 8, generator=generator) > 0.7).float()
    masks[0] = 0
    looked_for = torch.tensor([[False] * 3, [True, False, False], [True, True, False], [True] * 3])
    return logits, labels, one_hot, pixels, masks, looked_for


def gradients_of_losses():
    """Return the value of every loss with a normaliser, and its gradient for this process's images."""
    number, total = rank(), world_size()
    own = slice(number * 4 // total, (number + 1) * 4 // total)
    logits, labels, one_hot, pixels, masks, looked_for = (tensor[own] for tensor in unevenly_annotated())
    weight = torch.tensor([1.0, 2.0, 3.0])
    losses = {
        "binary": (logits, lambda x: masked_bce(x, labels, weight)),
        "one of several": (logits, lambda x: masked_cross_entropy(x, one_hot, weight)),
        "Dice and pixels": (pixels, lambda x: sum(dice_ce(x, masks, looked_for))),
        "Dice": (pixels, lambda x: flat_dice(x, masks, looked_for)),
        "consistency": (pixels, lambda x: consistency_loss({"f": x}, {"f": masks}, counted=True)),
    }
    found = {}
    for name, (start, loss) in losses.items():
        inputs = start.clone().requires_grad_()
        value = loss(inputs)
        value.backward()
        found[name] = (value.detach(), inputs.grad)
    return found


def test_every_normaliser_is_that_of_all_processes(tmp_path):
    whole = gradients_of_losses()
    halves = run_together(gradients_of_losses, tmp_path / "run", processes=2)
    for name, (value, gradient) in whole.items():
        assert gradient.any(), name
        for half in halves:
            torch.testing.assert_close(half[name][0], value, msg=name)
        torch.testing.assert_close(torch.cat([half[name][1] for half in halves]), gradient, msg=name)


def test_divided_evaluation_has_the_scores_of_the_whole(tmp_path):
    datasets = make_datasets(tmp_path / "data", augmented=False)

    def evaluate():
        torch.manual_seed(0)
        network = FoundationX(CONFIG, SPECS)
        evaluator = MatrixEvaluator(
            device="cpu", datasets=datasets, networks={"student": network}, split="val", batch_size=2, detailed=True
        )
        evaluator.run()
        return evaluator.rows, evaluator.means

    (whole,) = run_together(evaluate, tmp_path / "one", processes=1)
    for part in run_together(evaluate, tmp_path / "two", processes=2):
        assert repr(part) == repr(whole)

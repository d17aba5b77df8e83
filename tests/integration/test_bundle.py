"""The bundle as MONAI reads it: properties, training, evaluation, inference, overrides, messages."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigWorkflow

from fx_monai.apps.bundle.command_line import refuse_unknown_overrides
from fx_monai.apps.training import TrainingSession
from fx_monai.errors import ConfigError
from fx_monai.models.card import ModelCard
from fx_monai.models.weights import load_network, write_weights
from fx_monai.shipped import shipped_folder
from tests.builders import tiny_data_root, tiny_recipe

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def bundle(tmp_path):
    """Return a copy of the bundle, since training writes into it."""
    copy = tmp_path / "bundle"
    shutil.copytree(shipped_folder("bundle"), copy, ignore=shutil.ignore_patterns("eval", "data", "*.pt"))
    return copy


@pytest.fixture
def tiny(tmp_path):
    return {"recipe": str(tiny_recipe(tmp_path / "r.yaml")), "dataset_dir": str(tiny_data_root(tmp_path / "data"))}


def workflow(bundle, kind, files, **overrides):
    return ConfigWorkflow(
        config_file=[str(bundle / "configs" / name) for name in files],
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=str(bundle / "configs" / "logging.conf"),
        workflow_type=kind,
        bundle_root=str(bundle),
        **overrides,
    )


def test_train_evaluate_infer(bundle, tiny, tmp_path, capsys):
    flow = workflow(bundle, "train", ["train.json"], **tiny)
    flow.initialize()
    assert not flow.check_properties()
    assert len(flow.parser.get_parsed_content("train::dataset::data")) > 5
    flow.run()
    flow.finalize()
    assert "| coco" in capsys.readouterr().out
    network = load_network(bundle / "models" / "model.pt")
    assert network(torch.rand(1, 1, 64, 64)).shape == (1, 1, 64, 64)
    assert (bundle / "eval" / "results.md").is_file()
    assert (bundle / "eval" / "mlruns.db").is_file()

    flow = workflow(bundle, "train", ["train.json", "evaluate.json"], **tiny)
    flow.initialize()
    flow.run()
    assert "test split; research use only" in capsys.readouterr().out

    images = Path(tiny["dataset_dir"]) / "csv" / "images"
    found = {"dataset_dir": str(images), "output_dir": str(tmp_path / "found"), "any_image": True}
    flow = workflow(bundle, "infer", ["inference.json"], **found)
    flow.initialize()
    assert not flow.check_properties()
    flow.run()
    assert len(list((tmp_path / "found").glob("*.json"))) == 10


def test_finetune_starts_from_the_weights_and_leaves_them(bundle, tiny, tmp_path):
    session = TrainingSession(tiny["recipe"], data_root=tiny["dataset_dir"], output_dir=tmp_path / "o", read_only=True)
    weights = bundle / "models" / "model.pt"
    write_weights(session.network, ModelCard(), weights)
    before = weights.read_bytes()
    flow = workflow(bundle, "train", ["train.json", "finetune.json"], **tiny, mode="head", cycles=1)
    flow.initialize()
    assert not flow.check_properties()
    flow.run()
    flow.finalize()
    tuned = load_network(bundle / "models" / "finetuned" / "model.pt").trunk.state_dict()
    assert all(torch.equal(value, tuned[name]) for name, value in session.network.trunk.state_dict().items())
    assert weights.read_bytes() == before
    assert (bundle / "eval" / "finetuned" / "results.md").is_file()


def test_shorter_record_list_and_cycles_are_used(tmp_path, tiny):
    session = TrainingSession(tiny["recipe"], data_root=tiny["dataset_dir"], output_dir=tmp_path / "o")
    records = session.experiment.records("train")
    full = session.trainer(max_epochs=1).schedule
    short = [r for r in records if r["dataset"] == "csv" or int(r["row"]) < 4]
    trainer = session.trainer(max_epochs=3, records=short)
    assert trainer.state.max_epochs == 3
    assert trainer.schedule.steps_per_cycle <= full.steps_per_cycle
    used = {int(row) for loader in trainer.walker.loaders.values() for row in loader.dataset.rows}
    assert used <= {int(r["row"]) for r in short}


def test_tracking_of_monai_takes_the_place_of_the_own(bundle, tiny):
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", "configs/train.json"]
    command += ["--tracking", "mlflow"]
    command += [word for key, value in tiny.items() for word in (f"--{key}", value)]
    result = subprocess.run(command, cwd=bundle, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{bundle / 'eval' / 'mlruns.db'}")
    runs = [run for e in client.search_experiments() for run in client.search_runs([e.experiment_id])]
    assert len(runs) == 1
    assert "train_loss" in runs[0].data.metrics
    history = client.get_metric_history(runs[0].info.run_id, "coco/segmentation/dice_positive/teacher")
    assert [point.step for point in history] == [1, 2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "training", "--recpie", "demo"], "the override '--recpie' names nothing. Did you mean 'recipe'?"),
        (["run", "--trian#trainer#max_epochs", "2"], "Did you mean 'train'?"),
        (
            ["run", "--train::trainr::max_epochs", "2"],
            "'--train#trainr#max_epochs' names nothing. Did you mean 'trainer'?",
        ),
    ],
)
def test_override_that_names_nothing_is_refused(words, message):
    with pytest.raises(ConfigError) as error:
        refuse_unknown_overrides(str(shipped_folder("bundle")), words)
    assert message in str(error.value)


def test_known_overrides_pass():
    words = ["run", "training", "--config_file", "x", "--train#trainer#max_epochs", "2", "--device=cpu", "--seed", "1"]
    refuse_unknown_overrides(str(shipped_folder("bundle")), words)


def test_user_errors_are_plain_from_another_folder(bundle, tiny, tmp_path):
    command = [sys.executable, "-m", "monai.bundle", "run", "inferring"]
    command += ["--config_file", str(bundle / "configs" / "inference.json"), "--bundle_root", str(bundle)]
    command += ["--dataset_dir", tiny["dataset_dir"]]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ, check=False)
    assert result.returncode == 1
    assert "model.pt: there is no such file; a bundle from the source code has no weights" in result.stderr
    assert "Traceback" not in result.stderr


def test_unknown_run_is_named(bundle):
    command = [sys.executable, "-m", "monai.bundle", "run", "trainin", "--config_file", "configs/train.json"]
    result = subprocess.run(command, cwd=bundle, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "the configuration has no run 'trainin'. Did you mean 'training'?" in result.stderr
    assert "Traceback" not in result.stderr


def test_metadata_agrees_with_package_and_changelog():
    from fx_monai import __version__

    meta = json.loads((shipped_folder("bundle") / "configs" / "metadata.json").read_text())
    assert meta["version"] in meta["changelog"]
    assert meta["required_packages_version"]["fx_monai"] == __version__
    assert (shipped_folder("bundle") / "LICENSE").is_file()

"""The transfer study: its tables by hand, what it holds out, its plan."""

import pytest

from fx_monai.apps import transfer
from fx_monai.apps.fine_tuning import FineTuning
from fx_monai.apps.starting_point import StartingPoint
from fx_monai.apps.transfer import (
    BAR,
    MULTI_TASK,
    PLANS,
    RIVALS,
    SITE,
    multi_task_start,
    study_of_seed,
    transfer_curve,
    transfer_tables,
)
from fx_monai.demo.cohort import DEFAULT
from fx_monai.errors import CheckpointError
from fx_monai.models.card import ModelCard
from fx_monai.models.config import BackboneConfig, ModelConfig
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.weights import write_weights
from fx_monai.types import Kind, Task, TaskSpec

VALUES = {MULTI_TASK: (0.9, 0.8), RIVALS[0]: (0.7, 0.8), RIVALS[1]: (0.6, 0.76)}


def rows():
    found = []
    for start, by_seed in VALUES.items():
        for seed, value in enumerate(by_seed):
            for mode, subset in (("probe", "100 %"), ("probe", "3 shots"), ("head-first", "3 shots")):
                for draw, shift in ((0, 0.01), (1, -0.01)):
                    about = {"seed": seed, "start": start, "mode": mode, "subset": subset, "draw": draw}
                    score = {"dataset": SITE, "kind": "classification", "metric": "auc_macro", "value": value + shift}
                    found.append({**about, "training_patients": 10 if "shots" in subset else 200, **score})
    return found


def test_tables_by_hand():
    table = transfer_tables(rows())
    assert "| probe      | 100 %      | 200      | 0.850 ± 0.071 | 0.750 ± 0.071 | 0.680 ± 0.113 |" in table
    claims = [line for line in table.splitlines() if "linear probe, all training images" in line]
    assert [line.split("|")[-2].strip() for line in claims] == ["yes", "no"]
    assert "| 0.900      | 0.700    | 0.600  | +0.200             | +0.300           |" in claims[0]
    assert table.count("few-shot fine-tuning (24 shots)") == 2
    assert BAR == 0.05


def test_curve_counts_a_seed_once():
    (axes,) = transfer_curve(rows()).axes
    assert next(line.get_ydata().tolist() for line in axes.get_lines()) == pytest.approx([0.85, 0.85])


def test_site_is_none_of_the_demo_recipes():
    assert SITE not in DEFAULT


def test_weights_that_know_the_site_are_refused(tmp_path):
    config = ModelConfig(backbone=BackboneConfig(pretrained="none"), image_size=64)
    network = FoundationX(config, [TaskSpec(Task(SITE, Kind.CLASSIFICATION), ("a",))])
    write_weights(network, ModelCard(), tmp_path / "demo-seed0" / "model.pt")
    (tmp_path / "demo-seed0" / "results.json").write_text("{}")
    with pytest.raises(CheckpointError, match=f"the weights were trained on {SITE}/classification"):
        multi_task_start(tmp_path, 0, "cpu")


def test_draws_of_different_seeds_are_different(tmp_path):
    start = StartingPoint(MULTI_TASK, {})
    seen = []
    for seed in (0, 1, 2):
        study = study_of_seed(start, FineTuning.PROBE, tmp_path, seed, "cpu")
        study.check()
        seen += [study.values(cell)["seed"] for cell in study.cells() if cell.start is start]
    subsets, draws = PLANS[FineTuning.PROBE]
    assert len(seen) == 3 * len(subsets) * draws
    assert len(set(seen)) == 3 * draws
    assert transfer.TARGET["datasets"][SITE]["tasks"] == ["classification"]

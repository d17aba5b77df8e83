"""Every shipped recipe for large data starts: one cycle of one batch per task on phantoms, with a small network."""

import pytest
import torch

from fx_monai.apps.training import TrainingSession
from fx_monai.demo.cohort import write_demo_cohort
from fx_monai.recipe import load_recipe

pytestmark = pytest.mark.slow

SMALL = {
    "model.image_size": 96,
    "model.backbone": {"name": "tf_efficientnet_lite0", "pretrained": "none", "stage_norm": True},
    "model.segmentation.width": 16,
    "data.num_workers": 0,
    "schedule.cycles": 1,
    "schedule.batch_size": 2,
    "schedule.max_batches": 2,
    "schedule.audit": True,
}
SMALL_DINO = {
    "model.localization.width": 64,
    "model.localization.num_queries": 40,
    "model.localization.encoder_layers": 1,
    "model.localization.decoder_layers": 2,
    "model.localization.feedforward": 64,
    "model.localization.denoising_queries": 10,
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms") / "cohort"
    names = list(load_recipe("foundation_x").datasets)
    write_demo_cohort(folder, num_images=60, workers=1, datasets=names)
    return folder


@pytest.mark.parametrize(("name", "phases"), [("foundation_x", 29), ("foundation_x_plus", 40), ("ark", 6)])
def test_a_cycle_runs(name, phases, cohort, tmp_path):
    changes = SMALL | (SMALL_DINO if name != "ark" else {"model.projector": {"width": 32}})
    session = TrainingSession(name, data_root=cohort, output_dir=tmp_path / name, device="cpu", overrides=changes)
    trainer = session.trainer()
    assert len(trainer.schedule.phases) == phases
    before = {key: value.clone() for key, value in session.network.trunk.state_dict().items()}
    trainer.run()
    assert trainer.state.iteration == trainer.schedule.total_steps
    after = session.network.trunk.state_dict()
    moved = {key.split(".")[0] for key, value in before.items() if not torch.equal(value, after[key])}
    assert moved == set(dict(session.network.trunk.named_children()))
    assert all(p.isfinite().all() for p in session.network.parameters())

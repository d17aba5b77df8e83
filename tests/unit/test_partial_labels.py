"""Unknown is not negative: from the manifest through transforms and losses to the metrics, for every kind of task."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from fx_monai.data.annotations import annotated_rows
from fx_monai.data.dataset import TaskDataset, collate, to_device
from fx_monai.data.manifest import Box, Classes, Manifest, Mask, Record
from fx_monai.data.store import ImageStore
from fx_monai.data.transforms import Augmentation
from fx_monai.keys import BOX_LABELS, BOXES, LABELS, MASKS
from fx_monai.losses.options import LossOptions
from fx_monai.losses.task_loss import task_loss
from fx_monai.metrics.scores import TaskScorer
from fx_monai.models.localization_memory import Memory
from fx_monai.ops.masks import encode_coco_rle
from fx_monai.types import Kind, Task, TaskSpec

NAMES = ("left", "right", "mass")
# per image: the classes that somebody looked for
KNOWN = ((0, 1, 2), (0,), (), (2,), (1, 2))
SWAPPED = np.array([1, 0, 2])
SIDE = 64


class Output:
    def __init__(self, predictions):
        self.predictions = predictions


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Return five images; every class that was looked for is there, boxes and masks of others stand there too."""
    root = tmp_path_factory.mktemp("partial")
    block = np.zeros((SIDE, SIDE), np.uint8)
    block[20:40, 10:30] = 1
    rle = json.dumps(encode_coco_rle(block))
    records = []
    for number, known in enumerate(KNOWN):
        Image.fromarray(block * 200).save(root / f"{number}.png")
        records.append(
            Record(
                "d",
                str(number),
                f"{number}.png",
                SIDE,
                SIDE,
                labels=[float((number + k) % 2) if k in known else float("nan") for k in range(3)],
                boxes=[Box(10, 20, 30, 40, k) for k in range(3)],
                boxes_annotated=list(known),
                masks=[Mask(k, "coco_rle", rle) for k in range(3)],
                masks_annotated=list(known),
            )
        )
    classes = Classes(labels=NAMES, boxes=NAMES, masks=NAMES)
    return Manifest.from_records(records, dataset="d", classes=classes, root=root)


def spec(kind, *, exclusive=False):
    return TaskSpec(Task("d", kind), NAMES, exclusive)


def batch_of(manifest, kind, *, augmented=True):
    """Return a batch of all five images, and which of its class outputs are known, (5, 3)."""
    store = ImageStore.open_or_build(manifest, size=SIDE, folder=manifest.root / "store")
    augmentation = Augmentation(flip=True, rotation_deg=2, scale=0.05) if augmented else None
    pairs = (("left", "right"),)
    data = TaskDataset(manifest, store, spec(kind), np.arange(5), augmentation=augmentation, seed=3, laterality=pairs)
    known = np.zeros((5, 3), bool)
    samples = []
    for row, looked_for in enumerate(KNOWN):
        samples.append(data.sample(row, 1))
        known[row, list(looked_for)] = True
        if augmented and data._geometry.mirrored:
            known[row] = known[row][SWAPPED]
    return to_device(collate(samples), torch.device("cpu")), torch.from_numpy(known)


def logits_of(kind, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if kind is Kind.CLASSIFICATION:
        return {"logits": torch.randn(5, 3, generator=generator).requires_grad_()}
    if kind is Kind.SEGMENTATION:
        return {"logits": torch.randn(5, 3, SIDE, SIDE, generator=generator).requires_grad_()}
    memory = Memory(torch.zeros(1, 20, 8), ((4, 4), (2, 2)))
    places = {"proposal_centres": memory.centres(), "proposal_spacing": memory.spacing()}
    tensors = {
        "logits": torch.randn(2, 5, 6, 3, generator=generator),
        "boxes": torch.rand(2, 5, 6, 4, generator=generator) * 0.4 + 0.2,
        "proposal_logits": torch.randn(5, 20, 3, generator=generator),
        "proposal_boxes": torch.cat((memory.centres(), torch.full((20, 2), 0.3)), dim=1).expand(5, -1, -1).clone(),
    }
    return {name: value.requires_grad_() for name, value in tensors.items()} | places


def touched(gradient, kind, name):
    """Return which (image, class) a gradient reaches, (5, 3)."""
    if kind is Kind.CLASSIFICATION:
        return gradient != 0
    if kind is Kind.SEGMENTATION:
        return gradient.flatten(2).any(-1)
    return (gradient.any(0) if name == "logits" else gradient).any(1)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Kind.CLASSIFICATION, LossOptions()),
        (Kind.CLASSIFICATION, LossOptions(class_weighting="balanced")),
        (Kind.LOCALIZATION, LossOptions()),
        (Kind.SEGMENTATION, LossOptions()),
        (Kind.SEGMENTATION, LossOptions(segmentation="dice")),
    ],
)
@pytest.mark.parametrize("augmented", [False, True])
def test_exactly_the_known_outputs_have_a_gradient(manifest, kind, options, augmented):
    batch, known = batch_of(manifest, kind, augmented=augmented)
    predictions = logits_of(kind)
    weight = torch.tensor([3.0, 1.0, 0.5]) if options.class_weighting != "none" else None
    task_loss(spec(kind), Output(predictions), batch, options, weight)[0].backward()
    for name in ("logits", "proposal_logits"):
        if name in predictions:
            assert torch.equal(touched(predictions[name].grad, kind, name), known), name
    if kind is Kind.LOCALIZATION:
        # an image that nobody looked at teaches no box either
        assert predictions["boxes"].grad.any(0).any(1).any(1).tolist() == known.any(1).tolist()


def test_an_image_without_boxes_teaches_absence_one_that_nobody_looked_at_nothing(manifest):
    batch, known = batch_of(manifest, Kind.LOCALIZATION, augmented=False)
    batch[BOXES], batch[BOX_LABELS] = [torch.zeros(0, 4)] * 5, [torch.zeros(0, dtype=torch.int64)] * 5
    predictions = logits_of(Kind.LOCALIZATION)
    task_loss(spec(Kind.LOCALIZATION), Output(predictions), batch)[0].backward()
    gradient = predictions["logits"].grad
    assert (gradient.transpose(2, 3)[:, known] > 0).all()
    assert not gradient.transpose(2, 3)[:, ~known].any()


@pytest.mark.parametrize("kind", list(Kind))
def test_what_is_written_where_nobody_looked_changes_no_loss(manifest, kind):
    batch, known = batch_of(manifest, kind, augmented=False)
    losses = [
        task_loss(spec(kind), Output(logits_of(kind)), changed)[0] for changed in (batch, vandalised(batch, known))
    ]
    assert torch.equal(*losses)


def vandalised(batch, known):
    """Return the batch with other masks and without boxes where nobody looked."""
    out = dict(batch)
    if MASKS in batch:
        out[MASKS] = torch.where(known[..., None, None], batch[MASKS], 1 - batch[MASKS])
    if BOXES in batch:
        keep = [known[image][labels] for image, labels in enumerate(batch[BOX_LABELS])]
        out[BOXES] = [boxes[k] for boxes, k in zip(batch[BOXES], keep, strict=True)]
        out[BOX_LABELS] = [labels[k] for labels, k in zip(batch[BOX_LABELS], keep, strict=True)]
    return out


def test_cross_entropy_leaves_out_images_with_an_unknown_class(manifest):
    batch, known = batch_of(manifest, Kind.CLASSIFICATION, augmented=False)
    predictions = logits_of(Kind.CLASSIFICATION)
    task_loss(spec(Kind.CLASSIFICATION, exclusive=True), Output(predictions), batch)[0].backward()
    assert (predictions["logits"].grad != 0).any(1).tolist() == known.all(1).tolist()


@pytest.mark.parametrize("kind", list(Kind))
def test_metrics_ignore_what_nobody_looked_for_and_only_that(manifest, kind):
    batch, known = batch_of(manifest, kind, augmented=False)

    def scores(predicted, target):
        scorer = TaskScorer(spec(kind))
        scorer.add(predicted, target)
        return scorer.scores().values()

    first = outputs(kind)
    opposite = {name: value if name == "boxes_xyxy" else 1 - value for name, value in first.items()}
    # class outputs stand second, those of boxes last
    flags = {"logits": known[..., None, None] if kind is Kind.SEGMENTATION else known, "scores": known[:, None]}
    mixed = {name: torch.where(flags.get(name, known.any()), value, opposite[name]) for name, value in first.items()}
    reference = scores(first, batch)
    assert scores(mixed, vandalised(batch, known)) == pytest.approx(reference, nan_ok=True)
    assert scores(opposite, batch) != pytest.approx(reference, nan_ok=True)


def outputs(kind):
    generator = torch.Generator().manual_seed(0)
    if kind is Kind.CLASSIFICATION:
        return {"logits": torch.randn(5, 3, generator=generator)}
    if kind is Kind.SEGMENTATION:
        return {"logits": torch.randn(5, 3, SIDE, SIDE, generator=generator)}
    boxes = torch.tensor([[10.0, 20, 30, 40], [12, 22, 31, 44], [40, 40, 60, 60]]).expand(5, 3, 4)
    return {"scores": torch.rand(5, 3, 3, generator=generator), "boxes_xyxy": boxes}


def test_rows_without_any_known_class_are_no_samples(manifest):
    for kind in Kind:
        assert annotated_rows(manifest, spec(kind)).tolist() == [0, 1, 3, 4]
    batch, known = batch_of(manifest, Kind.CLASSIFICATION, augmented=True)
    assert torch.equal(~batch[LABELS].isnan(), known)

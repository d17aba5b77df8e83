"""A Foundation X checkpoint filled by rule gives the numbers that the published network gives (../shared)."""

import csv
import json
import math
import zlib

import numpy as np
import pytest
import torch

from fx_monai.apps.conversion import convert_file
from fx_monai.models.weights import load_network
from fx_monai.recipe import load_recipe
from fx_monai.types import Kind, Task
from tests.conftest import SHARED

KEYS = SHARED / "specs" / "foundation_x_checkpoint_keys.tsv"
NUMBERS = SHARED / "data" / "parity" / "foundation_x_swinb_224.npz"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not KEYS.is_file() or not NUMBERS.is_file(), reason="the reference numbers are not here"),
]


def value_of(name, shape):
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if name.endswith("running_var"):
        return 1 + 0.1 * noise.abs()
    if name.endswith("running_mean"):
        return 0.05 * noise
    if len(shape) >= 2:
        return noise / math.sqrt(math.prod(shape[1:]))
    return 1 + 0.1 * noise if name.endswith("weight") else 0.05 * noise


@pytest.fixture(scope="module")
def keys():
    with KEYS.open() as file:
        return [(row[0], json.loads(row[1]), row[2], row[3]) for row in csv.reader(file, delimiter="\t")]


@pytest.fixture(scope="module")
def state(keys):
    state, made = {}, {}
    for key, shape, dtype, shared in keys:
        if "int" in dtype:
            state[key] = torch.zeros(shape, dtype=torch.int64)
            continue
        if shared not in made:
            made[shared] = value_of(shared, shape)
        state[key] = made[shared]
    return state


@pytest.fixture(scope="module")
def converted(state, tmp_path_factory):
    folder = tmp_path_factory.mktemp("foundation_x")
    torch.save({"model": state}, folder / "published.pth")
    report = convert_file(folder / "published.pth", folder / "converted.pt")
    network = load_network(folder / "converted.pt")
    # the reference numbers are of an image that is normalised already
    network.trunk.backbone.mean.zero_()
    network.trunk.backbone.std.fill_(1)
    return network, report


@pytest.fixture(scope="module")
def output(converted):
    image = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(7))
    network, _ = converted
    boxes = Task("tbx11k", Kind.LOCALIZATION)
    with torch.no_grad():
        found = {str(task): value for task, value in network.predict_tasks(image).items()}
        raw = network.forward_task(image, boxes)
    return found | {"pooled": raw.features["backbone"], str(boxes): raw.predictions}


@pytest.fixture(scope="module")
def numbers():
    return {name: torch.from_numpy(value) for name, value in np.load(NUMBERS).items()}


def test_classification_and_segmentation_give_the_published_numbers(output, numbers):
    found = {
        "pooled": output["pooled"],
        "cls3": output["rsna_pneumonia/classification"]["logits"],
        "cls6": output["chexpert/classification"]["logits"],
        "seg4": output["chestx_det/segmentation"]["logits"][..., ::8, ::8],
    }
    for name, value in found.items():
        torch.testing.assert_close(value, numbers[name], rtol=0, atol=1e-4, msg=name)


def test_localization_gives_the_published_numbers(output, numbers):
    found = output["tbx11k/localization"]
    for name, value in (("loc0_logits", found["logits"][-1]), ("loc0_boxes", found["boxes"][-1])):
        equal = ((value - numbers[name]).abs() <= 1e-3).all(dim=-1)
        # two proposals of nearly the same score may change places
        assert equal.float().mean() >= 0.99, name


def test_no_key_is_left_unexplained(converted, keys):
    _, report = converted
    assert report.used.keys() | report.unused.keys() == {key for key, *_ in keys}
    assert not report.used.keys() & report.unused.keys()
    assert set(report.missing) == {"trunk.backbone.mean", "trunk.backbone.std"}


def test_tasks_of_the_paper(converted):
    network, _ = converted
    assert set(network.specs) == set(load_recipe("foundation_x").tasks)
    boxes = network.specs[Task("chestx_det", Kind.LOCALIZATION)].classes
    assert boxes[:2] == ("category 0", "Atelectasis")
    assert boxes[13] == "Pneumothorax"


def test_teacher_without_statistics_gets_those_of_the_student(state, tmp_path):
    teacher = {
        key: torch.full_like(value, float(key.endswith("var"))) if "running_" in key else value
        for key, value in state.items()
    }
    torch.save({"model": state, "teacher_model": teacher}, tmp_path / "both.pth")
    report = convert_file(tmp_path / "both.pth", tmp_path / "out.pt")
    assert any("got its student's" in note for note in report.notes)
    key = "trunk.seg_decoder.fuse.1.running_var"
    expected = state["backbone.0.segmentation_FPN.conv_fusion.1.running_var"]
    assert torch.equal(load_network(tmp_path / "out.pt").state_dict()[key], expected)

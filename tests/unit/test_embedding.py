"""Embeddings of files."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from fx_monai.apps.embedding import BATCH
from fx_monai.cli import main
from fx_monai.models.card import Calibration, ModelCard
from fx_monai.models.config import BackboneConfig, ModelConfig
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.weights import load_network, write_weights
from fx_monai.types import Kind, Task, TaskSpec

TASK = Task("tiny", Kind.CLASSIFICATION)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    config = ModelConfig(backbone=BackboneConfig(pretrained="none"), image_size=64)
    network = FoundationX(config, [TaskSpec(TASK, ("a", "b"))])
    card = ModelCard(recipe="tiny", calibration={str(TASK): Calibration((2.0, None), (0.4, None), 20)})
    write_weights(network, card, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def write_images(folder, count):
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        pixels = generator.integers(0, 255, (64, 64), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return folder


def test_the_head_on_the_embedding_gives_the_prediction(tmp_path, weights):
    images = write_images(tmp_path / "images", BATCH + 3)
    (images / "broken.png").write_bytes(b"no")
    out = tmp_path / "e.parquet"
    # one image can't be read
    assert main(["embed", str(weights), str(images), "--out", str(out), "--any-image"]) == 1
    table = pq.read_table(out)
    assert table.column("name").to_pylist() == [f"{n:02d}" for n in range(BATCH + 3)]
    assert json.loads(table.schema.metadata[b"fx_monai"])["recipe"] == "tiny"
    network = load_network(weights)
    vectors = torch.tensor(np.stack(table.column("embedding").to_numpy()))
    assert vectors.shape == (BATCH + 3, network.trunk.width)
    pixels = np.array(Image.open(images / "05.png"))
    with torch.inference_mode():
        expected = network(torch.from_numpy(pixels)[None, None].float() / 255)[0]
        torch.testing.assert_close(network.heads["cls_head"]["tiny"](vectors[5]), expected, atol=1e-4, rtol=1e-4)


def test_no_image_no_file(tmp_path, weights, capsys):
    images = write_images(tmp_path / "images", 1)
    # noise is no chest radiograph
    assert main(["embed", str(weights), str(images), "--out", str(tmp_path / "e.parquet")]) == 1
    assert "no frontal chest radiograph" in capsys.readouterr().out
    assert not list(tmp_path.glob("e.parquet*"))


def test_the_card_brings_the_calibration_back(weights):
    card = load_network(weights).card
    assert card.calibration[str(TASK)] == Calibration((2.0, None), (0.4, None), 20)

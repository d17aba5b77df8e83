"""Counts of a manifest by hand, the rows of a sheet, and the command."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from fx_monai.apps.dataset_statistics import dataset_statistics, statistics_lines
from fx_monai.apps.show import choose_rows, show_manifest
from fx_monai.cli import main
from fx_monai.data.manifest import Box, Classes, Manifest, Mask, Record
from fx_monai.errors import ConfigError
from tests.builders import tiny_manifest

NAN = math.nan


def record(number, **known):
    return Record("d", str(number), f"{number}.png", 10, 10, **known)


@pytest.fixture
def manifest(tmp_path):
    records = [
        record(0, patient_id="d:1", view="PA", sex="F", age_years=40, labels=[1, 0, NAN], split="train"),
        record(1, patient_id="d:1", view="AP", sex="F", age_years=39, labels=[-1, 1, NAN]),
        record(
            2,
            boxes=[Box(0, 0, 2, 2, 1), Box(1, 1, 3, 3, 1), Box(0, 0, 1, 1, 0)],
            boxes_annotated=[0, 1],
            masks=[Mask(0, "polygon", "[[0, 0, 4, 0, 4, 4]]")],
            masks_annotated=[0],
        ),
        record(3, boxes_annotated=[1]),
        record(4, labels=[NAN, NAN, NAN]),
    ]
    classes = Classes(labels=("a", "b", "c"), boxes=("x", "y"), masks=("m",))
    return Manifest.from_records(records, dataset="d", classes=classes, root=tmp_path)


def test_counts_by_hand(manifest):
    found = dataset_statistics(manifest)
    assert (found["images"], found["patients"]) == (5, 1)
    assert found["views"] == {"": 3, "PA": 1, "AP": 1}
    assert found["splits"] == {"": 4, "train": 1}
    assert found["ages"] == {"18-39": 1, "40-59": 1, "": 3}
    assert found["labels"]["a"] == {"present": 1, "absent": 0, "uncertain": 1, "not_annotated": 3}
    assert found["labels"]["c"] == {"present": 0, "absent": 0, "uncertain": 0, "not_annotated": 5}
    assert found["boxes"] == {
        "x": {"number": 1, "images": 1, "not_annotated": 4},
        "y": {"number": 2, "images": 1, "not_annotated": 3},
    }
    assert found["masks"] == {"m": {"number": 1, "images": 1, "not_annotated": 4}}
    assert found["not_annotated"] == {"labels": 3, "boxes": 3, "masks": 4, "anything": 1}
    assert any(line.startswith("| a") and "| 1 " in line for line in "\n".join(statistics_lines(found)).splitlines())


def test_a_manifest_without_classes_has_counts(tmp_path):
    empty = Manifest.from_records([record(0)], dataset="d", classes=Classes(), root=tmp_path)
    found = dataset_statistics(empty)
    assert found["labels"] == found["boxes"] == found["masks"] == {}
    assert found["not_annotated"]["anything"] == 1


def test_every_class_is_on_the_sheet(manifest):
    assert choose_rows(manifest, 3).tolist() == [0, 1, 2]
    assert choose_rows(manifest, 99).tolist() == [0, 1, 2, 3, 4]


def test_the_command_draws_and_says_what_it_cannot(tmp_path, capsys):
    manifest = tiny_manifest(tmp_path, count=4)
    manifest.write(tmp_path / "tiny.parquet")
    out = tmp_path / "out"
    assert main(["show", str(tmp_path / "tiny.parquet"), "--out", str(out), "--images", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((out / "tiny.json").read_text())
    sheet = np.asarray(Image.open(out / "tiny.png").convert("RGB")).astype(int)
    # boxes and masks are drawn in colour on a grey image
    assert (abs(sheet[..., 0] - sheet[..., 2]) > 60).sum() > 500
    (tmp_path / "images" / "001.png").write_bytes(b"damaged")
    assert main(["show", str(tmp_path / "tiny.parquet"), "--out", str(out)]) == 1
    assert "left out: image 001" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="1 to 200"):
        show_manifest(manifest, out, images=0)

"""The audit on two small datasets: leaks, duplicates, contradictions, and the lists that recipes take."""

import csv
import json
import math

import numpy as np
import pytest
from PIL import Image

from fx_monai.apps.audit import run_audit, write_audit
from fx_monai.apps.experiment import open_experiment
from fx_monai.cli import main
from fx_monai.data.exclusions import read_exclusions, read_links
from fx_monai.data.manifest import Classes, Manifest, Record
from fx_monai.data.splits import assign_splits
from fx_monai.errors import ConfigError, DataError
from fx_monai.recipe import load_recipe
from tests.builders import tiny_data_root, tiny_recipe
from tests.unit.test_duplicates import fields

NAN = math.nan


def dataset(root, name, images, classes, rows):
    """Write images and return a manifest; rows are (image, patient, split, labels, source)."""
    (root / name).mkdir(parents=True, exist_ok=True)
    records = []
    for number, (image, patient, split, labels, source) in enumerate(rows):
        Image.fromarray(images[image]).save(root / name / f"{number}.png")
        records.append(
            Record(
                name, str(number), f"{number}.png", 160, 160, patient, split=split, labels=labels, source_image=source
            )
        )
    return Manifest.from_records(records, dataset=name, classes=Classes(labels=classes), root=root / name)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Return NIH with six images, ChestX-Det with a smaller copy of image 0, a copy of 1, and image 6."""
    root, images = tmp_path_factory.mktemp("audit"), fields(9)
    images = list(images)
    small = np.asarray(Image.fromarray(images[0]).resize((100, 100), Image.Resampling.BICUBIC))
    nih = [(n, f"nih:{n}", "test" if n == 0 else "train", [1.0 if n < 2 else 0.0, 0.0], "") for n in range(6)]
    # row 6 is a mirrored copy of row 2, row 7 another picture of the test's patient
    images += [small, images[2][:, ::-1]]
    nih += [(10, "nih:6", "train", [0.0, 0.0], ""), (7, "nih:0", "train", [0.0, 1.0], "")]
    det = [
        (9, "det:0", "train", [0.0, 1.0], ""),
        (1, "det:1", "train", [1.0, NAN], ""),
        (6, "det:2", "train", [0.0, 0.0], ""),
    ]
    return (
        dataset(root, "nih_chestxray14", images, ("Effusion", "Nodule"), nih),
        dataset(root, "chestx_det", images, ("Effusion", "Diffuse Nodule"), det),
    )


@pytest.fixture(scope="module")
def audited(pair, tmp_path_factory):
    return run_audit(pair, cache=tmp_path_factory.mktemp("cache"), split="official", progress=False)


def test_pairs_and_what_tells_so(audited):
    pairs = audited.pairs
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.evidence.tolist(), pairs.mirrored, strict=True))
    assert found == {(0, 8, 3, False), (1, 9, 2, False), (2, 6, 3, True)}


def test_leaks_and_duplicates_are_listed_with_their_evidence(audited):
    rows = audited.excluded.to_pylist()
    assert [(r["dataset"], r["image_id"], r["reason"]) for r in rows] == [
        ("nih_chestxray14", "6", "near_duplicate"),
        ("chestx_det", "0", "leak"),
    ]
    assert rows[0]["evidence"].startswith("looks like nih_chestxray14/2, similarity 1.00, mirrored")
    assert rows[1]["evidence"].startswith("looks like nih_chestxray14/0, similarity ")
    assert rows[1]["evidence"].endswith("(test)")
    assert audited.patient_leaks.tolist() == [7]


def test_contradictions_follow_the_vocabulary(audited):
    """A diffuse nodule is a nodule, so it contradicts an absent one; an effusion contradicts an absent effusion."""
    found = {
        (c.positive_label, c.negative_label, *c.positive.tolist(), *c.negative.tolist()) for c in audited.conflicts
    }
    assert found == {("Effusion", "Effusion", 0, 8), ("Diffuse Nodule", "Nodule", 8, 0)}
    assert audited.summary()["label_conflicts"]["pairs"] == 1


def test_the_lists_of_the_audit_mend_the_split(audited, pair, tmp_path):
    write_audit(audited, tmp_path)
    exclusions, links = read_exclusions([tmp_path / "exclude.csv"]), read_links([tmp_path / "links.csv"])
    assert exclusions.num_rows == 2
    for seed in range(5):
        parts = assign_splits(pair, seed=seed, fractions=(0.5, 0.2, 0.3), links=links, use_official=False).by_dataset
        assert parts["nih_chestxray14"][0] == parts["chestx_det"][0]
        assert parts["nih_chestxray14"][2] == parts["nih_chestxray14"][6]
    # without the links some seed separates them
    apart = [
        assign_splits(pair, seed=seed, fractions=(0.5, 0.2, 0.3), use_official=False).by_dataset for seed in range(20)
    ]
    assert any(parts["nih_chestxray14"][0] != parts["chestx_det"][0] for parts in apart)
    assert "nih:" not in "".join(path.read_text() for path in tmp_path.iterdir())


def test_origin_and_file_need_no_pixels(tmp_path, pair):
    nih, _ = pair
    copy = Manifest(nih.table, dataset="again", classes=nih.classes, root=nih.root)
    found = run_audit([nih, copy], cache=tmp_path, pixels=False, progress=False)
    assert [(a, b) for a, b in zip(found.pairs.first, found.pairs.second, strict=True)] == [
        (n, n + 8) for n in range(8)
    ]
    assert found.summary()["pairs"] == [{"datasets": ["again", "nih_chestxray14"], "evidence": "file", "pairs": 8}]
    # the shared split keeps them together
    assert found.summary()["leaks"] == {"same_picture": 0, "same_patient": 0}


def test_mistakes_are_refused(pair, tmp_path):
    with pytest.raises(ConfigError, match="two manifests are of the same dataset"):
        run_audit([pair[0], pair[0]], cache=tmp_path)
    with pytest.raises(ConfigError, match="no split 'own'"):
        run_audit(pair, cache=tmp_path, split="own")
    (tmp_path / "list.csv").write_text("dataset,image\nx,1\n")
    with pytest.raises(DataError, match="columns dataset, image_id"):
        read_exclusions([tmp_path / "list.csv"])
    with pytest.raises(DataError, match="no such file"):
        read_links([tmp_path / "nothing.csv"])


def test_a_recipe_leaves_out_what_is_listed_and_keeps_links_together(tmp_path):
    root = tiny_data_root(tmp_path / "data")
    (root / "exclude.csv").write_text("dataset,image_id,reason\ncsv,3.png,leak\ncsv,4.png,\nother,1,\n")
    (root / "links.csv").write_text("dataset,image_id,link\n" + "".join(f"csv,{n}.png,a\n" for n in range(5)))
    changes = {"data.exclude": ["exclude.csv"], "data.links": ["links.csv"]}
    lines = []
    made = open_experiment(
        load_recipe(str(tiny_recipe(tmp_path / "r.yaml", **changes))),
        data_root=root,
        report=lines.append,
        progress=False,
    )
    ids = made.manifests["csv"].column("image_id")
    used = [
        ids[row]
        for task in made.specs
        for s in ("train", "val", "test")
        if task.dataset == "csv"
        for row in made.rows(task, s)
    ]
    assert sorted(used) == sorted(set(ids) - {"3.png", "4.png"})
    assert len({*made.splits.by_dataset["csv"][:5]}) == 1
    listed = [
        item["image_id"] for s in ("train", "val", "test") for item in made.records(s) if item["dataset"] == "csv"
    ]
    assert sorted(listed) == sorted(used)
    assert any("excluded: csv, 2 of 10 images" in line for line in lines)


def test_the_command_writes_its_files(pair, tmp_path, capsys):
    paths = []
    for manifest in pair:
        paths.append(str(tmp_path / f"{manifest.dataset}.parquet"))
        manifest.write(tmp_path / f"{manifest.dataset}.parquet")
    assert main(["audit", *paths, "--out", str(tmp_path / "out"), "--split", "official", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out" / "audit.json").read_text())
    with (tmp_path / "out" / "matches.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["image_a"], row["part_a"], row["image_b"], row["evidence"]) for row in rows] == [
        ("0", "test", "0", "looks"),
        ("1", "train", "1", "pixels"),
        ("2", "train", "6", "looks"),
    ]
    assert main(["audit"]) == 1
    assert "no manifest is named" in capsys.readouterr().err

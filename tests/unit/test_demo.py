import filecmp
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from fx_monai.data.index import index_dataset
from fx_monai.demo.anatomy import Patient, Pose, build_anatomy
from fx_monai.demo.cases import CasePlan, make_case
from fx_monai.demo.cohort import DEFAULT, write_demo_cohort
from fx_monai.demo.findings import CARDIOMEGALY, FINDINGS, bounds
from fx_monai.errors import ConfigError, DataError
from fx_monai.ops.masks import decode_coco_rle


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "cohort"
    return out, write_demo_cohort(out, num_images=60, seed=3, workers=2)


def files(root):
    return sorted(p.relative_to(root) for p in root.rglob("*") if p.is_file())


def test_same_seed_same_bytes_for_any_number_of_workers(cohort, tmp_path):
    out, _ = cohort
    write_demo_cohort(tmp_path / "again", num_images=60, seed=3, workers=1)
    assert files(out) == files(tmp_path / "again")
    _, different, errors = filecmp.cmpfiles(out, tmp_path / "again", files(out), shallow=False)
    assert not different
    assert not errors


def test_other_seed_other_images():
    plan = CasePlan("chestx_det", 0, 0, 0)
    assert not np.array_equal(make_case(plan, 64).image, make_case(CasePlan("chestx_det", 0, 0, 1), 64).image)


def test_existing_cohort_is_reused_and_others_are_refused(cohort, tmp_path):
    out, summary = cohort
    assert write_demo_cohort(out, num_images=60, seed=3).seconds == 0
    assert write_demo_cohort(out, num_images=60, seed=3).images == summary.images
    with pytest.raises(DataError, match="holds another cohort"):
        write_demo_cohort(out, num_images=61, seed=3)
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(DataError, match="not empty"):
        write_demo_cohort(tmp_path)
    assert not list(out.parent.glob("*.part*"))


def test_an_empty_working_folder_is_filled(cohort, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_demo_cohort(Path("."), num_images=60, seed=3)
    assert files(tmp_path) == files(cohort[0])
    assert write_demo_cohort(Path("."), num_images=60, seed=3).seconds == 0


@pytest.mark.parametrize("text", ["{bad", "[]", '{"version": "1", "seed": 3, "num_images": 60}'])
def test_a_damaged_description_is_no_cohort(tmp_path, text):
    (tmp_path / "DEMO.json").write_text(text)
    with pytest.raises(DataError, match="not empty"):
        write_demo_cohort(tmp_path, num_images=60, seed=3)


def test_no_worker_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="0 workers"):
        write_demo_cohort(tmp_path / "cohort", workers=0)


@pytest.mark.parametrize("dataset", DEFAULT)
def test_every_format_reads_back(cohort, dataset):
    out, summary = cohort
    manifest = index_dataset(dataset, out / dataset)
    assert len(manifest) == summary.images[dataset]
    assert manifest.notes == ()


def test_native_quirks(cohort):
    out, _ = cohort
    assert (
        (out / "nih_chestxray14" / "BBox_List_2017.csv")
        .read_text()
        .startswith("Image Index,Finding Label,Bbox [x,y,w,h],,,\n")
    )
    assert not (out / "nih_chestxray14" / "test_list.txt").read_text().endswith("\n")
    table = (out / "siim_acr" / "train-rle.csv").read_text()
    assert table.startswith("ImageId, EncodedPixels\n")
    assert ", -1\n" in table
    assert json.loads((out / "DEMO.json").read_text())["note"] == "generated phantoms, not patients"


def test_annotations_of_chestx_det_are_those_of_the_phantom(cohort):
    out, _ = cohort
    manifest = index_dataset("chestx_det", out / "chestx_det")
    checked = 0
    for record in manifest:
        number = int(record.image_id.split("/")[1].removesuffix(".png")) - 36000
        case = make_case(CasePlan("chestx_det", number, number, 3), 256)
        assert len(case.lesions) == len(record.boxes)
        for lesion, box in zip(case.lesions, record.boxes, strict=True):
            assert manifest.classes.boxes[box.class_index] == lesion.name
            np.testing.assert_allclose(np.array(bounds(lesion.mask)) * 4, [box.x1, box.y1, box.x2, box.y2], atol=5)
            checked += 1
    assert checked > 3


def test_pneumothorax_rows_are_united(cohort):
    out, _ = cohort
    manifest = index_dataset("siim_acr", out / "siim_acr")
    for record in manifest:
        assert len(record.masks) == int(record.labels[0])
        if record.masks:
            mask = decode_coco_rle(json.loads(record.masks[0].data))
            assert mask.shape == (1024, 1024)
            assert cv2.connectedComponents(mask)[0] == 2


def test_findings_lie_where_anatomy_puts_them():
    for number in range(12):
        case = make_case(CasePlan("chestx_det", number, number, 0), 128)
        lungs = case.lungs[0] | case.lungs[1]
        for lesion in case.lesions:
            if lesion.name != CARDIOMEGALY:
                assert (lesion.mask & lungs).sum() > 0.5 * lesion.mask.sum(), lesion.name
        # the patient's left lung stands at the right of the image
        assert np.nonzero(case.lungs[0])[1].mean() > np.nonzero(case.lungs[1])[1].mean()


@pytest.mark.parametrize("name", list(FINDINGS))
def test_a_finding_changes_the_ray_inside_its_mask_and_hardly_outside(name):
    generator = np.random.default_rng(5)
    anatomy = build_anatomy(128, Patient.draw(generator), Pose())

    def path():
        return anatomy.tissue - anatomy.air + anatomy.vessels

    before = path()
    lesion = FINDINGS[name](anatomy, generator)
    change = np.abs(path() - before)
    outside = cv2.dilate(lesion.mask, np.ones((13, 13))) == 0
    assert change[lesion.mask > 0].mean() > 0.3  # cm of water
    # a pneumothorax makes the rest of its lung a little denser
    assert change[outside].mean() < 0.15 * change[lesion.mask > 0].mean()

"""The demo cohort in the formats of further sets, read back."""

import json
import math

import cv2
import numpy as np
import pytest

from fx_monai.data.groups import linked_groups
from fx_monai.data.index import index_dataset
from fx_monai.data.manifest import Manifest
from fx_monai.data.rasterise import rasterise
from fx_monai.demo import native_reports, native_vindr
from fx_monai.demo.cases import CasePlan, make_case
from fx_monai.demo.cohort import write_demo_cohort
from fx_monai.demo.native_vindr import image_name
from fx_monai.errors import ConfigError
from fx_monai.ops.masks import decode_coco_rle

# the other sets are compared with their phantoms in test_demo_round_trip
FURTHER = (*native_reports.WRITERS, *native_vindr.WRITERS)
OPTIONS = {"chexmask": {"parent_root": "../vindr_cxr"}}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "cohort"
    return out, write_demo_cohort(out, num_images=60, seed=3, workers=1, datasets=FURTHER)


def read(cohort, name):
    return index_dataset(name, cohort[0] / name, options=OPTIONS.get(name))


@pytest.mark.parametrize("name", FURTHER)
def test_every_format_reads_back(cohort, name, tmp_path):
    manifest = read(cohort, name)
    assert 0 < len(manifest) <= cohort[1].images[name]
    assert all((manifest.root / path).is_file() for path in manifest.column("image_path"))
    manifest.write(tmp_path / "m.parquet")
    assert str(list(Manifest.read(tmp_path / "m.parquet"))) == str(list(manifest))


def test_other_sets_are_another_cohort(cohort):
    assert write_demo_cohort(cohort[0], num_images=60, seed=3, datasets=FURTHER).seconds == 0
    with pytest.raises(ConfigError, match="no phantoms are written as 'chexprt'. Did you mean 'chexpert'"):
        write_demo_cohort(cohort[0], datasets=("chexprt",))


def test_mined_labels_doubt_and_keep_silent(cohort):
    for name in ("chexpert", "mimic_cxr"):
        labels = read(cohort, name).labels()
        assert {-1.0, 0.0, 1.0} <= set(labels[~np.isnan(labels)].tolist())
        assert np.isnan(labels).any()
    expert = [record for record in read(cohort, "chexpert") if record.split != "train"]
    assert expert
    assert not any(math.isnan(value) or value == -1 for record in expert for value in record.labels)


def test_readers_see_nearly_the_same(cohort):
    manifest = read(cohort, "vindr_cxr")
    trained = [record for record in manifest if record.split == "train"]
    assert all(len(record.reader_labels) == 3 for record in trained)
    assert len({box.reader for record in trained for box in record.boxes}) == 3
    assert {box.reader for record in manifest for box in record.boxes if record.split == "test"} <= {""}
    kaggle = read(cohort, "vinbigdata")
    assert set(kaggle.column("image_id")) == {record.image_id for record in trained}
    groups = linked_groups([manifest, kaggle, read(cohort, "chexmask")])
    assert len(set(groups.tolist())) == len(manifest)


def test_organ_masks_are_those_of_the_phantom(cohort):
    manifest = read(cohort, "chexmask")
    cases = {image_name(case): case for case in (make_case(CasePlan("vindr_cxr", n, n, 3), 256) for n in range(4))}
    checked = [record for record in manifest if record.image_id in cases]
    assert checked
    for record in checked:
        case = cases[record.image_id]
        masks = [decode_coco_rle(json.loads(mask.data)) for mask in record.masks]
        for mask, truth in zip(masks, (*case.lungs, case.heart), strict=True):
            assert np.array_equal(mask, truth)


def test_ribs_lie_on_bone(cohort):
    manifest = read(cohort, "vindr_ribcxr")
    brighter = []
    for record in list(manifest)[:3]:
        image = cv2.imread(str(manifest.root / record.image_path), cv2.IMREAD_GRAYSCALE).astype(float)
        local = image - cv2.GaussianBlur(image, (0, 0), 9)
        # the middle ribs stand before the lungs
        for mask in (mask for mask in record.masks if manifest.classes.masks[mask.class_index][1:] in "3456"):
            inside = rasterise(mask, record, manifest.root) > 0
            brighter.append(local[inside].mean() > 0)
    assert np.mean(brighter) > 0.8
    sides = {
        manifest.classes.masks[m.class_index]: np.nonzero(rasterise(m, record, manifest.root))[1].mean()
        for m in record.masks
    }
    # the patient's left ribs stand at the right of the image
    assert sides["L5"] > sides["R5"]

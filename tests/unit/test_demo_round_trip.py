"""What the phantoms show is what the readers find in the native files: boxes, masks and labels of the same truth."""

import json
import re

import numpy as np
import pytest

from fx_monai.data.formats import jsrt_raw
from fx_monai.data.index import index_dataset
from fx_monai.data.pixels import read_pixels, to_uint8
from fx_monai.data.rasterise import rasterise
from fx_monai.demo.cases import PREVALENCE, CasePlan, make_case
from fx_monai.demo.cohort import WRITERS, plan_cohort
from fx_monai.demo.film import SITES
from fx_monai.demo.findings import INFILTRATION, NODULE, PNEUMOTHORAX, bounds
from fx_monai.demo.native import to_frame
from fx_monai.demo.native_candid import says_nothing, write_candid_ptx
from fx_monai.demo.native_nodules import write_jsrt, write_node21
from fx_monai.demo.native_tuberculosis import write_shenzhen, write_tbx11k
from fx_monai.ops.masks import decode_coco_rle

SIDE = 96


def cases(name, count=12):
    return [make_case(CasePlan(name, n, n // 2, 4), SIDE) for n in range(count)]


def corners(record):
    return np.array([[b.x1, b.y1, b.x2, b.y2] for b in record.boxes]).reshape(-1, 4)


def truth(case, name, frame):
    found = [bounds(lesion.mask) for lesion in case.lesions if lesion.name == name]
    return np.array(found, dtype=float).reshape(-1, 4) * frame / SIDE


def by_number(manifest):
    return sorted(manifest, key=lambda record: int(re.search(r"\d+", record.image_id)[0]))


def test_shenzhen(tmp_path):
    truths = cases("shenzhen")
    write_shenzhen(truths, tmp_path)
    records = list(index_dataset("shenzhen", tmp_path))
    assert [r.labels == [1] for r in records] == [case.has(INFILTRATION) for case in truths]
    assert [r.sex for r in records] == [case.sex for case in truths]
    assert [r.age_years for r in records] == [case.age for case in truths]
    missing = 0
    for record, case in zip(records, truths, strict=True):
        assert np.array_equal(read_pixels(tmp_path / record.image_path), case.image)
        if record.masks:
            assert np.array_equal(rasterise(record.masks[0], record, tmp_path), case.lungs[0] | case.lungs[1])
        else:
            assert record.masks_annotated == []
            missing += 1
    assert missing == 2


@pytest.mark.parametrize("source", ["json", "xml"])
def test_tbx11k(tmp_path, source):
    truths = cases("tbx11k")
    write_tbx11k(truths, tmp_path)
    if source == "xml":
        (tmp_path / "TBX11K" / "annotations" / "json" / "TBX11K_trainval.json").unlink()
    records = by_number(index_dataset("tbx11k", tmp_path))
    assert [np.isnan(r.labels[0]) for r in records] == [n == 10 for n in range(12)]
    unboxed = 0
    for record, case in zip(records, truths, strict=True):
        if record.split == "test":
            assert record.boxes_annotated == []
            continue
        ill = case.has(INFILTRATION)
        assert record.labels == [not case.lesions, bool(case.lesions) and not ill, ill]
        if ill and not record.boxes:
            unboxed += 1
            assert record.boxes_annotated == []
            continue
        assert record.boxes_annotated == [0, 1]
        np.testing.assert_allclose(corners(record), truth(case, INFILTRATION, 512), atol=0.5)
        assert {b.class_index for b in record.boxes} <= {int(case.plan.number % 3 == 0)}
    assert unboxed == 1


def test_node21(tmp_path):
    truths = cases("node21")
    write_node21(truths, tmp_path)
    for record, case in zip(by_number(index_dataset("node21", tmp_path)), truths, strict=True):
        assert record.labels == [float(case.has(NODULE))]
        assert np.array_equal(corners(record), truth(case, NODULE, SIDE))
        pixels = read_pixels(tmp_path / record.image_path)
        assert np.abs(to_uint8(pixels) * (case.image.max() / 255) - case.image).max() < 2


def test_candid_ptx(tmp_path):
    truths = cases("candid_ptx")
    write_candid_ptx(truths, tmp_path)
    records = {r.study_id: r for r in index_dataset("candid_ptx", tmp_path)}
    assert len(records) == len(truths)
    masked = 0
    for record in records.values():
        # found again by its pixels
        case = next(c for c in truths if np.array_equal(_image(record, tmp_path), _stretched(c.image)))
        whole = [to_frame(lesion.mask) for lesion in case.lesions if lesion.name == PNEUMOTHORAX]
        assert record.labels[1:] == [0, 0]
        if says_nothing(case):
            assert np.isnan(record.labels[0])
            assert record.masks_annotated == [1, 2]
            continue
        assert record.labels[0] == bool(whole)
        assert record.masks_annotated == [0, 1, 2]
        assert len(record.masks) == len(whole[:1])
        if whole:
            masked += 1
            assert np.array_equal(decode_coco_rle(json.loads(record.masks[0].data)), np.maximum.reduce(whole))
            union = corners(record)[:, :2].min(0).tolist() + corners(record)[:, 2:].max(0).tolist()
            assert union == list(bounds(np.maximum.reduce(whole)))
    assert masked > 1
    patients = [r.patient_id for r in records.values()]
    assert len(set(patients)) == len(truths) // 2


def _image(record, root):
    return to_uint8(read_pixels(root / record.image_path))


def _stretched(image):
    values = (image.astype(np.float32) - image.min()) / (int(image.max()) - int(image.min()))
    return ((values * 65535 + 0.5).astype(np.uint16) >> 8).astype(np.uint8)


def test_jsrt(tmp_path):
    truths = cases("jsrt", count=5)
    write_jsrt(truths, tmp_path)
    found = {r.image_id: r for r in index_dataset("jsrt", tmp_path)}
    counts = {"CLN": 0, "CNN": 0}
    for case in truths:
        kind = "CLN" if case.has(NODULE) else "CNN"
        counts[kind] += 1
        record = found[f"JP{kind}{counts[kind]:03d}"]
        expected = truth(case, NODULE, 2048)
        assert len(record.boxes) == len(expected)
        for box, other in zip(corners(record), expected, strict=True):
            # a square around the same centre, of the longer side to a millimetre
            assert np.abs((box[:2] + box[2:] - other[:2] - other[2:]) / 2).max() <= 1
            assert abs(box[2] - box[0] - max(other[2] - other[0], other[3] - other[1])) <= 0.51 / 0.175
        for mask, organ in zip(record.masks, (*case.lungs, case.heart), strict=True):
            assert np.array_equal(rasterise(mask, record, tmp_path), to_frame(organ))
        small = to_uint8(read_pixels(tmp_path / record.image_path))[10::21, 10::21]
        # the largest value of a file becomes the largest of the range
        assert small.mean() * case.image.max() / 255 == pytest.approx(case.image.mean(), rel=0.02)
    assert min(counts.values()) > 0
    assert jsrt_raw.size(tmp_path / found["JPCLN001"].image_path) == (2048, 2048)


def test_every_set_has_a_plan_with_findings_and_a_site():
    for name, plans in plan_cohort(60, 0, tuple(WRITERS)).items():
        assert len(plans) >= 10, name
        assert {plan.dataset for plan in plans} <= PREVALENCE.keys() & SITES.keys()

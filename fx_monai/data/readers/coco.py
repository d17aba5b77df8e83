"""Any folder with a COCO JSON: boxes, polygons, run-length masks. Also the two public COVID-era lung datasets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fx_monai.data.manifest import Box, Classes, Mask, Record
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import age_years, files_by_name, find_file, read_json, sex, view
from fx_monai.errors import DataError
from fx_monai.ops.masks import polygons_to_coco, uncompressed_to_coco

OPTIONS = ("annotations", "images", "ignore_classes", "namespace", "dataset")

_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the file.

    Options: ``annotations`` (path of the JSON, several alternatives separated by ``|``; default: the only JSON
    below the root), ``images`` (folder), ``ignore_classes`` (comma-separated), ``namespace`` (of patient ids; default:
    the dataset's name). An image entry's width and height are the annotation frame; the file may be a scaled copy.
    Every image of the file counts as looked at for every class of the kinds (boxes, masks) the file has.
    """
    path = find_file(root, options.get("annotations", "*.json").split("|"), what="COCO annotation file")
    content = read_json(path)
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(
                where=path.name,
                problem=f"there is no list '{key}'",
                expected="a COCO file with images, annotations and categories",
                remedy="Name the right file with the option annotations=FILE",
            )
    ignored = set(filter(None, options.get("ignore_classes", "").split(",")))
    categories = [c for c in sorted(content["categories"], key=lambda c: c["id"]) if c["name"] not in ignored]
    index = {c["id"]: i for i, c in enumerate(categories)}
    skipped = {c["id"] for c in content["categories"]} - set(index)
    names = tuple(c["name"] for c in categories)

    result = ReadResult([])
    by_image: dict[Any, list[dict[str, Any]]] = {}
    for annotation in content["annotations"]:
        category = annotation.get("category_id")
        if category in skipped or annotation.get("iscrowd"):
            continue
        if category not in index:
            result.notes.append(f"{path.name}: annotation {annotation.get('id')} has no known category; left out")
            continue
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    segmented = [a for found in by_image.values() for a in found if a.get("segmentation")]
    boxed = not segmented or any(a.get("bbox") and not a.get("segmentation") for f in by_image.values() for a in f)
    result.classes = Classes(boxes=names, masks=names if segmented else ())
    everything = list(range(len(names)))
    if not boxed:
        result.notes.append(f"{path.name}: boxes are the bounds of the masks")

    tags = {t["id"]: t["name"] for t in content.get("tag_categories", [])}
    files = files_by_name(root, (options.get("images", "images"),), _SUFFIXES)
    for image in content["images"]:
        file = Path(image["file_name"]).name
        if file not in files:
            result.missing.append(file)
            continue
        width, height = int(image["width"]), int(image["height"])
        record = Record(
            dataset=name,
            image_id=file,
            image_path=str(files[file].relative_to(root)),
            width=width,
            height=height,
            boxes_annotated=everything,
            masks_annotated=everything if segmented else [],
            **_about(image, tags, options.get("namespace", name)),
        )
        for annotation in by_image.get(image["id"], []):
            where = f"{path.name}, annotation {annotation.get('id')}"
            box = _box(annotation, index, width, height)
            if box is not None:
                record.boxes.append(box)
            if annotation.get("segmentation"):
                record.masks.append(
                    Mask(index[annotation["category_id"]], "coco_rle", _rle(annotation, width, height, where))
                )
        result.records.append(record)
    return result


def _about(image: Mapping[str, Any], tags: Mapping[int, str], namespace: str) -> dict[str, Any]:
    """Return what the entry tells about the patient: metadata, patient_id, or tags such as ``PatientID:169``."""
    metadata = image.get("metadata") or {}
    for tag in image.get("tag_ids", []):
        key, _, value = tags.get(tag, "").replace("/", ":", 1).partition(":")
        metadata = {key.lower(): value, **metadata}
    patient = metadata.get("patientid") or image.get("patient_id")
    return {
        "patient_id": f"{namespace}:{patient}" if patient else f"{namespace}:image:{image['file_name']}",
        "view": view(str(metadata.get("view", ""))),
        "sex": sex(str(metadata.get("sex", ""))),
        "age_years": age_years(str(metadata.get("age", ""))),
    }


def _box(annotation: Mapping[str, Any], index: Mapping[int, int], width: int, height: int) -> Box | None:
    if not annotation.get("bbox"):
        return None
    x, y, w, h = (float(value) for value in annotation["bbox"])
    x1, y1 = (0.0 if -1 <= value < 0 else value for value in (x, y))
    x2 = width if width < x + w <= width + 1 else x + w
    y2 = height if height < y + h <= height + 1 else y + h
    return Box(x1, y1, x2, y2, index[annotation["category_id"]])


def _rle(annotation: Mapping[str, Any], width: int, height: int, where: str) -> str:
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, str):
        segmentation = json.loads(segmentation)
    if isinstance(segmentation, dict):
        if isinstance(segmentation["counts"], list):
            return json.dumps(uncompressed_to_coco(segmentation, where=where))
        return json.dumps(segmentation)
    polygons = segmentation if segmentation and isinstance(segmentation[0], list) else [segmentation]
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise DataError(
                where=where,
                problem=f"a polygon of {len(polygon)} numbers",
                expected="x, y pairs of at least 3 points",
                remedy="Correct the annotation or leave it out",
            )
    return json.dumps(polygons_to_coco(polygons, height=height, width=width))

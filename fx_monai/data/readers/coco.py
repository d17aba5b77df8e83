"""Any folder with a COCO JSON or V7 Darwin JSON: boxes, polygons, run-length masks. Two public lung sets are such."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fx_monai.data.manifest import Box, Classes, Mask, Record
from fx_monai.data.readers.coco_file import bad, checked_coco
from fx_monai.data.readers.coco_segmentation import parse_segmentation
from fx_monai.data.readers.darwin import find_darwin_files, read_darwin
from fx_monai.data.readers.files import ImageFolder, find_file, find_only, find_optional, read_json
from fx_monai.data.readers.frame import frame_box
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import age_years, sex, view, words
from fx_monai.data.spec import DatasetSpec
from fx_monai.types import Kind

SPECS = (
    DatasetSpec(
        name="generalblockchain_lungs",
        title="GeneralBlockchain COVID-19 chest X-ray lung boxes",
        kinds=(Kind.LOCALIZATION,),
        licence="annotations CC BY 4.0, images each their own",
        url="https://github.com/GeneralBlockchain/covid-19-chest-xray-lung-bounding-boxes-dataset",
        citation="GeneralBlockchain, 2020",
        laterality=(("Left Lung", "Right Lung"),),
        options=(
            ("annotations", "lung_boxes_generalblockchain_coco.json|annotations.json"),
            ("namespace", "covidcxr"),
            ("source", "covid_chestxray"),
        ),
    ),
    DatasetSpec(
        name="v7_lungs",
        title="V7 Labs COVID-19 X-ray lung polygons",
        kinds=(Kind.SEGMENTATION,),
        licence="annotations CC BY 4.0, images each their own",
        url="https://github.com/v7labs/covid-19-xray-dataset",
        citation="V7 Labs, 2020",
        options=(
            ("annotations", "v7_lung_polygons_coco.json|output_coco.json|v7_darwin|annotations"),
            ("namespace", "covidcxr"),
            ("source", "covid_chestxray"),
            ("ignore_classes", "Ignore"),
        ),
    ),
    DatasetSpec(
        name="coco",
        title="any folder with a COCO JSON",
        kinds=(Kind.LOCALIZATION, Kind.SEGMENTATION),
        licence="yours",
        url="",
        citation="",
    ),
)

OPTIONS = ("annotations", "images", "ignore_classes", "namespace", "source")


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the file.

    An image entry's width and height are the annotation frame; the file may be a scaled copy. A class that has boxes
    (masks) anywhere in the file was looked for in every image, except where one of its annotations lacks the box
    (mask) or is a crowd region, or where an annotation without a known category was left out: there it is unknown.

    Options: ``annotations`` (path of the JSON, or a folder of Darwin JSON with one file per image; alternatives
    separated by ``|``; default: the only JSON in the root), ``images`` (folder; default ``images`` if there is one,
    else the root with all sub-folders), ``ignore_classes`` (separated by ``|`` or ``,``), ``namespace`` (of patient
    ids; default: the dataset's name), ``source`` (dataset whose images these are, under the same file names).
    """
    path, content = _annotations_below(root, options.get("annotations", ""))
    ignored = words(options.get("ignore_classes", ""))
    categories = [c for c in sorted(content["categories"], key=lambda c: c["id"]) if c["name"] not in ignored]
    names = tuple(str(category["name"]) for category in categories)
    result = ReadResult([])
    by_image, doubtful = _by_image(content, {c["id"]: i for i, c in enumerate(categories)}, path, result.notes)
    kept = [item for items in by_image.values() for item in items]
    kinds = _Kinds(
        boxes=frozenset(item.class_index for item in kept if item.box),
        masks=frozenset(item.class_index for item in kept if item.segmentation),
    )
    result.classes = Classes(boxes=names if kinds.boxes else (), masks=names if kinds.masks else ())
    tags = {tag["id"]: str(tag["name"]) for tag in content["tag_categories"]}
    folder = ImageFolder(root, options.get("images", ""))
    strangers = 0
    for image in content["images"]:
        where = f"{path.name}, image {image['id']}"
        file = folder.find(image["file_name"], where=where)
        image_id = folder.image_id(file)
        if not folder.holds(file):
            result.missing.append(image_id)
        known = _metadata(image, tags)
        strangers += not known["patientid"]
        patient = known["patientid"] or f"image:{image_id}"
        frame = _frame(image, where)
        result.records.append(
            Record(
                dataset=name,
                image_id=image_id,
                image_path=str(file.relative_to(root)),
                width=frame[0],
                height=frame[1],
                patient_id=f"{options.get('namespace', name)}:{patient}",
                source_image=f"{options['source']}/{file.stem}" if "source" in options else "",
                view=view(known.get("view", "")),
                sex=sex(known.get("sex", "")),
                age_years=age_years(known.get("age", "")),
                **_annotations(by_image.get(image["id"], []), frame, kinds, doubtful.get(image["id"], frozenset())),
            )
        )
    if strangers:
        result.notes.append(f"{path.name}: {strangers} images tell no patient; each counts as a patient of its own")
    return result


@dataclass(frozen=True)
class _Item:
    class_index: int
    box: Sequence[Any]
    segmentation: Any
    where: str


@dataclass(frozen=True)
class _Kinds:
    """Which classes have boxes, and which have masks, anywhere in the file."""

    boxes: frozenset[int]
    masks: frozenset[int]


def _annotations_below(root: Path, option: str) -> tuple[Path, dict[str, Any]]:
    """Return what was read (for messages) and its content as that of a COCO file."""
    for name in option.split("|") if option else ():
        darwin = find_darwin_files(root / name) if (root / name).is_dir() else []
        if darwin:
            return root / name, checked_coco(read_darwin(darwin), root / name)
        if find_optional(root, (name,)):
            break
    if option:
        path = find_file(root, option.split("|"), what="COCO annotation file, or folder of Darwin JSON")
    else:
        path = find_only(root, "*.json", what="COCO annotation file", option="annotations")
    return path, checked_coco(read_json(path), path)


def _by_image(
    content: Mapping[str, Any], index: Mapping[Any, int], path: Path, notes: list[str]
) -> tuple[dict[Any, list[_Item]], dict[Any, frozenset[int]]]:
    """Return the annotations of each image that count, and the classes that those left out make unknown there."""
    ignored = {category["id"] for category in content["categories"]} - set(index)
    images = {image["id"] for image in content["images"]}
    by_image: dict[Any, list[_Item]] = defaultdict(list)
    doubtful: dict[Any, frozenset[int]] = defaultdict(frozenset)
    crowds = 0
    for annotation in content["annotations"]:
        number, category = annotation.get("id"), annotation.get("category_id")
        if category in ignored:
            continue
        if category not in index:
            notes.append(f"{path.name}: annotation {number} has no known category; left out")
            doubtful[annotation["image_id"]] |= frozenset(index.values())
        elif annotation["image_id"] not in images:
            notes.append(f"{path.name}: annotation {number} belongs to no image of the file; left out")
        elif annotation.get("iscrowd"):
            crowds += 1
            doubtful[annotation["image_id"]] |= {index[category]}
        else:
            where = f"{path.name}, annotation {number}"
            segmentation = parse_segmentation(annotation.get("segmentation"), where)
            by_image[annotation["image_id"]].append(
                _Item(index[category], annotation.get("bbox") or (), segmentation, where)
            )
    if crowds:
        notes.append(f"{path.name}: {crowds} crowd regions were left out")
    return by_image, doubtful


def _annotations(
    items: Sequence[_Item], frame: tuple[int, int], kinds: _Kinds, doubtful: frozenset[int]
) -> dict[str, Any]:
    without_box = doubtful | {item.class_index for item in items if not item.box}
    without_mask = doubtful | {item.class_index for item in items if not item.segmentation}
    return {
        "boxes": [_box(item, frame) for item in items if item.box],
        "boxes_annotated": sorted(kinds.boxes - without_box),
        "masks": [
            Mask(item.class_index, "coco_rle", item.segmentation.to_coco_rle(frame))
            for item in items
            if item.segmentation
        ],
        "masks_annotated": sorted(kinds.masks - without_mask),
    }


def _box(item: _Item, frame: tuple[int, int]) -> Box:
    try:
        x, y, w, h = (float(value) for value in item.box)
    except (TypeError, ValueError):
        raise bad(item.where, f"bbox {item.box}", "four numbers x, y, width, height") from None
    return frame_box((x, y, x + w, y + h), item.class_index, frame, where=item.where)


def _frame(image: Mapping[str, Any], where: str) -> tuple[int, int]:
    sizes = (image["width"], image["height"])
    if not all(isinstance(size, (int, float)) and size >= 1 for size in sizes):
        raise bad(where, f"width and height are {sizes[0]} and {sizes[1]}", "pixels of the annotation frame")
    return int(sizes[0]), int(sizes[1])


def _metadata(image: Mapping[str, Any], tags: Mapping[Any, str]) -> dict[str, str]:
    """Return what the entry tells: ``metadata``, ``patient_id``, or tags such as ``PatientID:169`` and ``View/AP``."""
    known: dict[str, str] = {}
    for tag in image.get("tag_ids") or []:
        key, _, value = tags.get(tag, "").replace("/", ":", 1).partition(":")
        known.setdefault(key.lower(), value)
    known.update({str(key).lower(): str(value) for key, value in (image.get("metadata") or {}).items()})
    for key in ("patient_id", "patientid"):
        known["patientid"] = known.get("patientid") or str(image.get(key, known.get(key, "")))
    return known

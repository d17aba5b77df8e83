"""Indexing: a native dataset tree becomes a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fx_monai.data.catalog import READERS, find_dataset
from fx_monai.data.gate import screen
from fx_monai.data.manifest import Manifest
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.sides import swapped_sides_note
from fx_monai.data.table import leave_out
from fx_monai.errors import ConfigError, DataError, did_you_mean


def index_dataset(
    name: str,
    root: Path,
    *,
    allow_missing_images: bool = False,
    annotations_only: bool = False,
    options: Mapping[str, str] | None = None,
) -> Manifest:
    """Read a native tree; nothing about labels or resolutions is decided.

    Args:
        name: see ``fx-monai datasets``; any name when the option ``dataset`` says what it is.
        root: folder as downloaded.
        allow_missing_images: leave out images that are annotated but not there (they are counted in the notes).
        annotations_only: keep images that are not there; such a manifest serves counts and audits, not training.
        options: options of the reader, see its module; ``dataset``: catalogue name, for several in-house folders;
            ``gate=leave_out``: read every image and leave out what is no frontal chest radiograph.

    Raises:
        ConfigError: unknown dataset or option.
        DataError: a folder, file, column or image is missing, or an annotation breaks the format.
    """
    given = dict(options or {})
    spec = find_dataset(given.pop("dataset", name))
    gated = _gate(given.pop("gate", "off"), name, annotations_only=annotations_only)
    if not root.is_dir():
        raise DataError(
            where=f"{name}, root",
            problem=f"'{root}' is not a folder",
            expected=f"the folder of {spec.title} as downloaded",
            remedy="Correct the path",
        )
    reader = READERS[spec.name]
    merged = {**dict(spec.options), **given}
    for key in merged:
        if key not in reader.OPTIONS:
            raise ConfigError(
                where=f"{name}, reader options",
                problem=f"there is no option '{key}'. {did_you_mean(key, reader.OPTIONS)}".rstrip(),
                expected=", ".join(reader.OPTIONS) or "no options",
                remedy="Correct the name",
            )
    result = reader.read(root, name=name, options=merged)
    if not annotations_only:
        _leave_out_missing(result, name, root, allowed=allow_missing_images)
    classes = result.classes or spec.classes
    result.notes += filter(None, [swapped_sides_note(result.records, classes, spec.laterality, root)])
    if result.table is not None:
        table = result.table.sort_by("image_id")
        manifest = Manifest(table, dataset=name, classes=classes, root=root, notes=tuple(result.notes))
    else:
        records = sorted(result.records, key=lambda record: record.image_id)
        manifest = Manifest.from_records(records, dataset=name, classes=classes, root=root, notes=result.notes)
    if not len(manifest):
        raise DataError(
            where=f"{name}, {root}",
            problem="no image was found",
            expected="the images beside the annotation files",
            remedy="Give the folder as it was downloaded and unpacked",
        )
    return screen(manifest) if gated else manifest


def _gate(option: str, name: str, *, annotations_only: bool) -> bool:
    if option not in ("off", "leave_out") or (option != "off" and annotations_only):
        raise ConfigError(
            where=f"{name}, option gate",
            problem=f"'{option}'" + (" without images" if annotations_only else ""),
            expected="leave_out (what is no frontal chest radiograph) or off; the images have to be there",
            remedy="Correct the option",
        )
    return option == "leave_out"


def _leave_out_missing(result: ReadResult, name: str, root: Path, *, allowed: bool) -> None:
    """Drop the records whose image isn't there, with a note.

    Raises:
        DataError: files are missing and that isn't allowed.
    """
    files = [*result.missing, *result.incomplete]
    if not files:
        return
    counts = {"images": len(result.missing), "masks": len(result.incomplete)}
    number = " and ".join(f"{count} annotated {what}" for what, count in counts.items() if count)
    shown = ", ".join(sorted(files)[:5]) + (", ..." if len(files) > 5 else "")
    if not allowed:
        raise DataError(
            where=f"{name}, {root}",
            problem=f"{number} are not there ({shown})",
            expected="every annotated image below the root",
            remedy="Complete the download, or leave them out with --allow-missing-images",
        )
    missing = set(result.missing)
    if result.table is not None:
        result.table = leave_out(result.table, missing)
    result.records = [record for record in result.records if record.image_id not in missing]
    result.notes.append(f"{name}: {number} are not there and were left out ({shown})")

"""What prepares data: the demo cohort, datasets, manifests, image stores."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fx_monai.errors import ConfigError
from fx_monai.key_values import key_values
from fx_monai.verbs.common import bar, say


def demo(out: str, *, images: int = 600, seed: int = 0, workers: int = 2) -> None:
    """Write the demo cohort: generated radiograph-like phantoms in the native formats of five datasets.

    Example: fx-monai demo runs/demo-cohort

    Args:
        out: folder to write.
        images: about so many images, at least 50; each dataset has 10 or more.
        seed: same seed, same files.
        workers: processes.
    """
    from fx_monai.demo.cohort import write_demo_cohort

    progress = bar("demo cohort")
    summary = write_demo_cohort(Path(out), num_images=images, seed=seed, workers=workers, progress=progress)
    say(f"{summary}")


def datasets(*names: str, as_json: bool = False) -> None:
    """List the supported datasets with their tasks, licence, reader options and where to get them.

    Example: fx-monai datasets chexmask

    Args:
        names: some of them, to see what their folders hold, how they are read and what the options mean.
        as_json: print JSON instead of a table.
    """
    from fx_monai.data.catalog import CATALOG, READERS, find_dataset

    specs = [find_dataset(name) for name in names] or list(CATALOG.values())
    rows = [
        {
            "name": s.name,
            "tasks": [k.value for k in s.kinds],
            "title": s.title,
            "licence": s.licence,
            "url": s.url,
            "citation": s.citation,
            "options": list(READERS[s.name].OPTIONS),
        }
        for s in specs
    ]
    if as_json:
        say(json.dumps(rows, indent=2))
        return
    for row, spec in zip(rows, specs, strict=True):
        say(f"{row['name']:26s}{', '.join(row['tasks']):46s}{row['title']}")
        say(f"{'':26s}{row['licence']}  {row['url']}")
        if row["options"]:
            say(f"{'':26s}options: {', '.join(row['options'])}")
        if names:
            reader = READERS[spec.name]
            say(f"{'':26s}cite: {spec.citation or '-'}\n")
            say(f"{inspect.getdoc(reader)}\n\n{inspect.getdoc(reader.read)}\n".replace("``", ""))


def index(
    name: str,
    root: str,
    out: str,
    *,
    allow_missing_images: bool = False,
    annotations_only: bool = False,
    options: str = "",
) -> None:
    """Read a native dataset tree and write its manifest.

    Example: fx-monai index nih_chestxray14 /data/nih nih.parquet

    Args:
        name: dataset, see `fx-monai datasets`.
        root: folder of the native tree, as downloaded.
        out: manifest file to write (.parquet).
        allow_missing_images: leave out images that are named but not there, instead of refusing.
        annotations_only: don't look for the images; such a manifest serves counts and audits, not training.
        options: options of the reader, key=value, separated by commas (gate=leave_out: only frontal chest radiographs).
    """
    from fx_monai.data.index import index_dataset

    manifest = index_dataset(
        name,
        Path(root),
        allow_missing_images=allow_missing_images,
        annotations_only=annotations_only,
        options=key_values(options, "--options"),
    )
    manifest.write(Path(out))
    boxes = sum(len(row) for row in manifest.column("boxes"))
    masks = sum(len(row) for row in manifest.column("masks"))
    say(f"{out}: {len(manifest)} images, {boxes} boxes, {masks} masks")
    for note in manifest.notes:
        say(f"note: {note}")


def cache(
    *manifests: str,
    size: int = 224,
    bits: int = 8,
    workers: int = 0,
    folder: str = "",
    verify: bool = False,
    repair: bool = False,
    as_json: bool = False,
) -> int:
    """Decode the images of manifests once, at training size, into memory-mapped image stores.

    Example: fx-monai cache nih.parquet --size 512

    An interrupted build goes on where it stopped. Exit code 1 when an image can't be used or is damaged.

    Args:
        manifests: files written by `fx-monai index`.
        size: side in pixels, the recipe's model.image_size.
        bits: 8 or 16 per pixel, the recipe's data.bits.
        workers: decoding processes; 0 = one per core.
        folder: where stores are kept; default: the variable FX_MONAI_CACHE, else ~/.cache/fx_monai.
        verify: build nothing; compare every stored image with its checksum.
        repair: the same, and decode damaged images again.
        as_json: print JSON.
    """
    from fx_monai.apps.cache import cache_manifests
    from fx_monai.data.store import cache_folder

    stores = cache_manifests(
        [Path(name) for name in manifests],
        size=size,
        folder=cache_folder(Path(folder) if folder else None),
        bits=bits,
        workers=workers or None,
        verify=verify,
        repair=repair,
        report=lambda line: sys.stderr.write(line + "\n"),
    )
    lines = [json.dumps([store.as_dict() for store in stores], indent=2)] if as_json else []
    for line in lines or [line for store in stores for line in store.lines()]:
        say(line)
    return 1 if any(store.unreadable or store.damaged for store in stores) else 0


def show(manifest: str, *, out: str = "", images: int = 12, as_json: bool = False) -> int:
    """Count what was indexed, per class, view, sex, age and split, and draw a contact sheet with every annotation.

    Example: fx-monai show nih.parquet --out shown

    Args:
        manifest: file written by `fx-monai index`.
        out: folder for the contact sheet (PNG) and the counts (JSON); default: only print.
        images: number of images on the sheet.
        as_json: print the counts as JSON.
    """
    from fx_monai.apps.dataset_statistics import statistics_lines
    from fx_monai.apps.show import show_manifest

    (indexed,) = _read_manifests([manifest], "show")
    found = show_manifest(indexed, Path(out) if out else None, images=images)
    say(json.dumps(found.statistics, indent=2) if as_json else "\n".join(statistics_lines(found.statistics)))
    for image, reason in found.unreadable:
        sys.stderr.write(f"left out: image {image}: {reason}\n")
    if found.written and not as_json:
        say(f"written: {', '.join(str(path) for path in found.written)}")
    return 1 if found.unreadable else 0


def audit(
    *manifests: str,
    out: str = "",
    split: str = "shared",
    annotations_only: bool = False,
    workers: int = 2,
    as_json: bool = False,
) -> None:
    """Find images and patients behind several rows: leaks between splits, duplicates, labels that contradict.

    Example: fx-monai audit nih.parquet rsna.parquet --out audit

    Images are compared by declared origin, file, exact pixels and looks (resized, re-encoded, cropped, inverted or
    mirrored copies). With --out, exclude.csv and links.csv are what a recipe's data.exclude and data.links take.

    Args:
        manifests: files written by `fx-monai index`.
        out: folder for audit.json, matches.csv, conflicts.csv, exclude.csv and links.csv; default: only print.
        split: shared (what a recipe of these datasets gets) or official (the datasets' own).
        annotations_only: don't read the images; compare declared origins, files and patients alone.
        workers: decoding threads.
        as_json: print JSON.
    """
    from fx_monai.apps.audit import run_audit, write_audit
    from fx_monai.data.store import cache_folder

    found = run_audit(
        _read_manifests(manifests, "audit"),
        cache=cache_folder(),
        split=split,
        pixels=not annotations_only,
        workers=workers,
        progress=not as_json,
    )
    say(json.dumps(found.summary(), indent=2) if as_json else "\n".join(found.lines()))
    written = write_audit(found, Path(out)) if out else []
    if written and not as_json:
        say(f"written: {', '.join(str(path) for path in written)}")


def _read_manifests(paths: Sequence[str], name: str) -> list[Any]:
    from fx_monai.data.manifest import Manifest

    if not paths:
        raise ConfigError(
            where=f"fx-monai {name}",
            problem="no manifest is named",
            expected="files written by `fx-monai index`",
            remedy="Add the path of a manifest",
        )
    return [Manifest.read(Path(path)) for path in paths]

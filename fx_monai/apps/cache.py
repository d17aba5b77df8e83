"""Building, checking and repairing image stores ahead of training: what ``fx-monai cache`` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fx_monai.data import store_build
from fx_monai.data.manifest import Manifest
from fx_monai.data.store import ImageStore, usable_cores
from fx_monai.errors import ConfigError, DataError
from fx_monai.progress import progress_bar

Report = Callable[[str], object]

MIN_SIZE, MAX_SIZE = 32, 8192


@dataclass(frozen=True)
class CacheSummary:
    """One store.

    Args:
        dataset: name.
        folder: of the store.
        images: number of images, unreadable ones included.
        size: side in pixels.
        bits: per pixel.
        gigabytes: of pixels on disk.
        seconds: that this call took.
        unreadable: image id and reason of every image that can't be used.
        damaged: image ids whose pixels are not what was written (and could not be repaired, if that was asked for).
    """

    dataset: str
    folder: str
    images: int
    size: int
    bits: int
    gigabytes: float
    seconds: float
    unreadable: list[tuple[str, str]]
    damaged: list[str]

    def lines(self) -> list[str]:
        """Return what a person wants to read."""
        about = f"{self.images} images, {self.size} px, {self.bits} bit, {self.gigabytes:.2f} GB"
        lines = [f"{self.dataset}: {about}, {self.seconds:.0f} s, {self.folder}"]
        if self.unreadable:
            lines.append(f"{self.dataset}: {len(self.unreadable)} images can't be used:")
            lines += [f"  {image}: {reason}" for image, reason in self.unreadable]
        if self.damaged:
            lines.append(f"{self.dataset}: {len(self.damaged)} images are damaged in the store:")
            lines += [f"  {image}" for image in self.damaged]
            lines.append(
                "Decode them again with `fx-monai cache ... --repair`; if that fails, remove the folder above."
            )
        return lines

    def as_dict(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self)


def cache_manifests(
    paths: Sequence[Path],
    *,
    size: int,
    folder: Path,
    bits: int = 8,
    workers: int | None = None,
    verify: bool = False,
    repair: bool = False,
    report: Report = print,
) -> list[CacheSummary]:
    """Build the image stores of manifests, or check and repair those that are there.

    Args:
        paths: manifest files.
        size: side in pixels; a recipe finds the store under its ``model.image_size``.
        folder: where stores are kept.
        bits: 8 or 16 per pixel.
        workers: decoding processes; None = one per core.
        verify: build nothing; compare every image with its checksum.
        repair: the same, and decode damaged images again.
        report: receives a line when an interrupted build goes on later.

    Raises:
        ConfigError: no manifest, or a size or number of workers out of range.
        DataError: not a manifest, no space, no store to verify, or a store whose tables are damaged.
    """
    _check(paths, size, workers)
    manifests = [Manifest.read(path) for path in paths]
    summaries = []
    for manifest in manifests:
        started, damaged = time.monotonic(), []
        if verify or repair:
            store = ImageStore.open(manifest, size=size, folder=folder, bits=bits)
            damaged = _damaged(manifest, store, (workers or usable_cores()) if repair else 0)
        else:
            try:
                store = ImageStore.open_or_build(
                    manifest,
                    size=size,
                    folder=folder,
                    bits=bits,
                    workers=workers,
                    skip_unreadable=True,
                    progress=progress_bar(f"decoding {manifest.dataset}"),
                )
            except KeyboardInterrupt:
                report(f"{manifest.dataset}: what is decoded is kept; the same command goes on where it stopped")
                raise
        summaries.append(_summary(manifest, store, damaged, time.monotonic() - started))
    return summaries


def _damaged(manifest: Manifest, store: ImageStore, repair_workers: int) -> list[int]:
    tables = store.damaged_tables()
    if tables:
        raise DataError(
            where=str(store.folder),
            problem=f"damaged: {', '.join(tables)}",
            expected="the content that was written",
            remedy="Remove the folder and build it again with `fx-monai cache`",
        )
    rows = store.damaged_rows(progress_bar(f"checking {manifest.dataset}"))
    if rows and repair_workers:
        bar = progress_bar(f"repairing {manifest.dataset}")
        return store_build.repair(manifest, store.folder, rows, workers=repair_workers, progress=bar)
    return rows


def _summary(manifest: Manifest, store: ImageStore, damaged: Sequence[int], seconds: float) -> CacheSummary:
    return CacheSummary(
        dataset=manifest.dataset,
        folder=str(store.folder),
        images=len(store),
        size=store.size,
        bits=store.bits,
        gigabytes=store.num_bytes / 1e9,
        seconds=seconds,
        unreadable=store.unreadable,
        damaged=[manifest[row].image_id for row in damaged],
    )


def _check(paths: Sequence[Path], size: int, workers: int | None) -> None:
    rules = (
        ("fx-monai cache", f"{len(paths)} manifests", bool(paths), "at least 1", "Name manifests of `fx-monai index`"),
        ("--size", f"{size}", MIN_SIZE <= size <= MAX_SIZE, f"{MIN_SIZE} to {MAX_SIZE}", "Correct the value"),
        ("--workers", f"{workers}", workers is None or workers >= 1, "at least 1", "Correct the value"),
    )
    for where, problem, holds, expected, remedy in rules:
        if not holds:
            raise ConfigError(where=where, problem=problem, expected=expected, remedy=remedy)

"""What a reader is and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from fx_monai.data.manifest import Classes, Record
from fx_monai.data.spec import DatasetSpec


@dataclass
class ReadResult:
    """Records of a native tree.

    Args:
        records: one per annotated image, also when its file isn't there; its path is then where it is expected.
        table: the same as rows in the manifest's schema, for sets too large for a record per image.
        classes: class names, when they stand in the files; None = those of the catalogue.
        missing: ids of the images whose file isn't there.
        incomplete: mask files that belong to an image and are not there.
        notes: what was left out or looked odd, one sentence each.
    """

    records: list[Record] = field(default_factory=list)
    table: pa.Table | None = None
    classes: Classes | None = None
    missing: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Reader(Protocol):
    """A module that reads the native trees of one or several datasets."""

    @property
    def SPECS(self) -> tuple[DatasetSpec, ...]:  # noqa: N802
        """The datasets it reads."""

    @property
    def OPTIONS(self) -> tuple[str, ...]:  # noqa: N802
        """Names of its options."""

    def read(self, root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
        """Read a tree; ``name`` is the manifest's dataset, ``options`` holds names of ``OPTIONS`` only.

        Raises:
            DataError: a folder, file or column is missing, or an annotation breaks the format.
        """

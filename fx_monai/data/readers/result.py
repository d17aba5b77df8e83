"""What a reader returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from fx_monai.data.manifest import Classes, Record


@dataclass
class ReadResult:
    """Records of a native tree.

    Args:
        records: one per annotated image, also when its file isn't there; its path is then where it is expected.
        classes: class names, when they stand in the files; None = those of the catalogue.
        missing: ids of the images whose file isn't there.
        incomplete: mask files that belong to an image and are not there.
        notes: what was left out or looked odd, one sentence each.
    """

    records: list[Record]
    classes: Classes | None = None
    missing: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

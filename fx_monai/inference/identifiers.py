"""What results are called, and what may tell a patient.

A file's name may be a patient's name or number, and so may its folder's. So results are named after the image's bytes:
the first 16 hexadecimal digits of the file's SHA-256 (``sha256sum FILE``), the same in every run and on every machine.
"""

from __future__ import annotations

from typing import Any

from fx_monai.inference.source import Source

DIGITS = 16
_TOLD = ("PatientID", "PatientName", "AccessionNumber", "StudyDate", "StudyInstanceUID", "SOPInstanceUID")


class Names:
    """Gives every image a name of its own; the same file twice, or two files of one name, get a number.

    Args:
        keep_identifiers: name results after the files.
    """

    def __init__(self, keep_identifiers: bool) -> None:
        self.keep_identifiers = keep_identifiers
        self._taken: set[str] = set()

    def name(self, source: Source) -> str:
        """Return the name for the next image."""
        wanted = (source.facts.sha256 or "image")[:DIGITS]
        if self.keep_identifiers and source.path is not None:
            wanted = source.path.stem
        name, number = wanted, 2
        while name.lower() in self._taken:
            name, number = f"{wanted}_{number}", number + 1
        # file systems that don't tell upper from lower case
        self._taken.add(name.lower())
        return name


def identifiers_of(source: Source) -> dict[str, Any]:
    """Return the path and, of DICOM files, what identifies patient and study."""
    header = source.header
    told = {} if header is None else {name: str(header[name].value or "") for name in _TOLD if name in header}
    return {"path": str(source.path) if source.path else None, **told}

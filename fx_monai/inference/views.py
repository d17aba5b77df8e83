"""Several images of one patient: whose findings are combined, and the file that says so."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict
from enum import StrEnum
from pathlib import Path

from fx_monai.errors import ConfigError, did_you_mean
from fx_monai.files import write_text
from fx_monai.inference.identifiers import DIGITS
from fx_monai.inference.plain import SCHEMA_VERSION, finding_to_plain, model_to_plain
from fx_monai.inference.result import Prediction
from fx_monai.inference.source import Source
from fx_monai.inference.test_time import combine_views


class Together(StrEnum):
    """Which images belong together."""

    NONE = "none"
    STUDY = "study"
    """The same Study Instance UID; files that aren't DICOM stay alone."""
    PATIENT = "patient"
    """The same Patient ID (and its issuer); files that aren't DICOM stay alone."""
    FOLDER = "folder"
    """The same folder."""


class Views:
    """Gathers the results of images that belong together; may be told by several threads.

    Args:
        together: which do.
    """

    def __init__(self, together: Together) -> None:
        self.together = together
        self._groups: dict[str, list[tuple[str, Prediction]]] = defaultdict(list)
        self._lock = threading.Lock()

    def add(self, source: Source, name: str, prediction: Prediction) -> None:
        """Take the result of one image."""
        key = _key(source, self.together)
        if key:
            with self._lock:
                self._groups[key].append((name, prediction))

    def write(self, folder: Path) -> list[str]:
        """Write ``<together>_<digits>.json`` for each group of two or more images; return the names.

        The digits are a hash of the images' names, so that they tell no patient.
        """
        written = []
        for own in self._groups.values():
            if len(own) < 2:
                continue
            own.sort(key=lambda pair: pair[0])
            digits = hashlib.sha256(" ".join(name for name, _ in own).encode()).hexdigest()[:DIGITS]
            name = f"{self.together.value}_{digits}"
            first = own[0][1]
            told = dict.fromkeys(text for _, prediction in own for text in prediction.warnings)
            content = {
                "schema_version": SCHEMA_VERSION,
                "note": first.note,
                "warnings": [
                    f"means over {len(own)} images of one {self.together.value}",
                    "thresholds were fitted on single images",
                    *told,
                ],
                "together": self.together.value,
                "images": [name for name, _ in own],
                "model": model_to_plain(first.model),
                "findings": [finding_to_plain(item) for item in combine_views([value for _, value in own])],
            }
            with write_text(folder / f"{name}.json") as file:
                file.write(json.dumps(content, indent=2) + "\n")
            written.append(name)
        return sorted(written)


def parse_together(word: str) -> Together:
    """Read whose findings are combined.

    Raises:
        ConfigError: no such word.
    """
    if word not in list(Together):
        raise ConfigError(
            where="--together",
            problem=f"there is no '{word}'. {did_you_mean(word, list(Together))}".rstrip(),
            expected=f"one of {', '.join(Together)}",
            remedy="Correct the word",
        )
    return Together(word)


def _key(source: Source, together: Together) -> str:
    if together is Together.NONE:
        return ""
    if together is Together.FOLDER:
        return str(source.path.resolve().parent) if source.path else ""
    if source.header is None:
        return ""
    if together is Together.STUDY:
        return str(source.header.get("StudyInstanceUID") or "")
    patient = str(source.header.get("PatientID") or "")
    return f"{patient}\n{source.header.get('IssuerOfPatientID') or ''}" if patient else ""

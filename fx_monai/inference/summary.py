"""What became of a batch of files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fx_monai.data.gate import Verdict
from fx_monai.inference.dicom_files import DicomFiles
from fx_monai.inference.result import Prediction
from fx_monai.models.card import RESEARCH_ONLY


@dataclass(frozen=True)
class Done:
    """One image that was predicted and written.

    Args:
        name: of its files.
        prediction: the result.
        dicom: what became of SEG and SR.
    """

    name: str
    prediction: Prediction
    dicom: DicomFiles


@dataclass
class Summary:
    """What became of a batch of files.

    Args:
        folder: where the results are.
        written: names of the images that were predicted.
        failed: path and message of those that were not.
        uncertain: name and warnings of those whose results need a look.
        notes: what wasn't due -> number of images.
        problems: name and reason of SEG and SR that couldn't be made.
        groups: names of combined results.
        note: of the weights.
        seconds: that it took; 0 = not measured.
        keep_identifiers: results are named after their files.
    """

    folder: Path
    written: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    uncertain: list[tuple[str, str]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    problems: list[tuple[str, str]] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    note: str = RESEARCH_ONLY
    seconds: float = 0.0
    keep_identifiers: bool = True

    @property
    def complete(self) -> bool:
        """Return whether everything that was asked for was done."""
        return not self.failed and not self.problems

    def add(self, done: Done) -> None:
        """Take an image that was predicted and written."""
        self.written.append(done.name)
        self.note = done.prediction.note
        self.notes.update(done.dicom.notes)
        self.problems += [(done.name, problem) for problem in done.dicom.problems]
        if done.prediction.image.verdict is not Verdict.ACCEPTED:
            self.uncertain.append((done.name, "; ".join(done.prediction.warnings)))

    def lines(self, done: str = "predicted") -> list[str]:
        """Return the summary for the user; ``done`` is what was done to the images."""
        count = len(self.written)
        speed = f" in {self.seconds:.1f} s ({count / self.seconds:.1f} a second)" if self.seconds and count else ""
        lines = [f"{count} images {done}{speed}, results in {self.folder} ({self.note})"]
        if not self.keep_identifiers and count:
            lines.append("Results are named after their image's bytes: the first digits of `sha256sum FILE`.")
        if self.groups:
            lines.append(f"{len(self.groups)} combined results: {', '.join(self.groups)}")
        lines += [f"{number} images: {note}" for note, number in self.notes.items()]
        if self.problems:
            lines += [f"  {name}: {problem}" for name, problem in self.problems]
        if self.uncertain:
            lines.append(f"{len(self.uncertain)} images are uncertain:")
            lines += [f"  {name}: {warnings}" for name, warnings in self.uncertain]
        if self.failed:
            lines.append(f"{len(self.failed)} images were left out:")
            lines += [f"  {message}" for _, message in self.failed]
        return lines

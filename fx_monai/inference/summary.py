"""What became of a batch of files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fx_monai.models.card import RESEARCH_ONLY


@dataclass
class Summary:
    """What became of a batch of files.

    Args:
        folder: where the results are.
        written: names of the images that were predicted.
        failed: name and message of those that were not.
    """

    folder: Path
    written: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def lines(self, done: str = "predicted") -> list[str]:
        """Return the summary for the user; ``done`` is what was done to the images."""
        lines = [f"{len(self.written)} images {done}, results in {self.folder} ({RESEARCH_ONLY})"]
        if self.failed:
            lines.append(f"{len(self.failed)} images were left out:")
            lines += [f"  {message}" for _, message in self.failed]
        return lines

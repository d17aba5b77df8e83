"""The harmonised vocabulary: which finding a dataset's label means, and how findings relate.

The tables ``configs/vocabulary/findings.tsv`` and ``labels.tsv`` hold it. Findings form an is-a hierarchy: a positive
child makes its parents positive, a negative parent makes its children negative, nothing follows the other way.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from fx_monai.errors import ConfigError, DataError, did_you_mean
from fx_monai.shipped import shipped_folder
from fx_monai.types import Kind

CATEGORIES = ("status", "finding", "device", "anatomy")
SIDES = ("", "left", "right", "both")


class Relation(StrEnum):
    """How a label stands to its finding."""

    SAME = "="
    NARROWER = "<"
    BROADER = ">"
    CLOSE = "~"
    NONE = "-"


@dataclass(frozen=True)
class Finding:
    """One concept.

    Args:
        id: harmonised id.
        parents: ids of the broader concepts it is one of.
        category: one of :data:`CATEGORIES`.
        code: coding scheme and value as in DICOM (``SCT 36118008``), "" where no code means just this.
        note: what it includes and where the same word means something else.
    """

    id: str
    parents: tuple[str, ...]
    category: str
    code: str = ""
    note: str = ""


@dataclass(frozen=True)
class Label:
    """What a dataset's own string means.

    Args:
        dataset: name in the catalogue.
        label: the dataset's own string.
        kinds: the annotations that carry it.
        finding: id of the finding; "" when the label is known to name none.
        relation: of the label to the finding.
        side: patient's side: ``left``, ``right``, ``both`` or "".
        note: what to know about it.
    """

    dataset: str
    label: str
    kinds: tuple[Kind, ...]
    finding: str
    relation: Relation
    side: str = ""
    note: str = ""


class Vocabulary:
    """Findings and labels, checked.

    Args:
        findings: all findings.
        labels: all labels; spellings that differ in case, underscores, hyphens and blanks count as one.

    Raises:
        DataError: a finding or label stands twice, a parent or finding doesn't exist, or the parents form a circle.
    """

    def __init__(self, findings: Sequence[Finding], labels: Sequence[Label]) -> None:
        self.findings = {finding.id: finding for finding in findings}
        self.labels = tuple(labels)
        self._by_name = {(item.dataset, _normalise(item.label)): item for item in labels}
        if len(self.findings) != len(findings) or len(self._by_name) != len(labels):
            raise _wrong("findings.tsv or labels.tsv", "a finding or a label stands twice", "one row each")
        for finding in findings:
            self._check_known(finding.parents, f"findings.tsv, {finding.id}")
        for item in labels:
            named = (item.finding,) if item.relation is not Relation.NONE else ()
            self._check_known(named, f"labels.tsv, {item.dataset}, {item.label}")
        try:
            order = TopologicalSorter({finding.id: finding.parents for finding in findings}).static_order()
            self._order = tuple(order)
        except CycleError as error:
            raise _wrong("findings.tsv", f"a circle of parents: {', '.join(error.args[1])}", "no circle") from error

    def meaning(self, dataset: str, label: str) -> Label | None:
        """Return what a label means; None for strings the tables don't know (in-house datasets)."""
        return self._by_name.get((dataset, _normalise(label)))

    def finding_of(self, dataset: str, label: str) -> str:
        """Return the finding's id; "" when the label names none or isn't known."""
        found = self.meaning(dataset, label)
        return found.finding if found else ""

    def ancestors(self, finding: str) -> tuple[str, ...]:
        """Return all broader findings, the broadest first.

        Raises:
            ConfigError: no such finding.
        """
        reached = set(self._finding(finding).parents)
        for name in reversed(self._order):
            if name in reached:
                reached.update(self.findings[name].parents)
        return tuple(name for name in self._order if name in reached)

    def descendants(self, finding: str) -> tuple[str, ...]:
        """Return all narrower findings, children before their children.

        Raises:
            ConfigError: no such finding.
        """
        self._finding(finding)
        reached = {finding}
        for name in self._order:
            if reached.intersection(self.findings[name].parents):
                reached.add(name)
        return tuple(name for name in self._order if name in reached and name != finding)

    def labels_of(self, finding: str, *, kind: Kind | None = None, with_children: bool = True) -> tuple[Label, ...]:
        """Return the labels of all datasets that carry a finding: its own and, if wanted, those of its children.

        Labels that are only close to the finding are left out.

        Raises:
            ConfigError: no such finding.
        """
        names = {self._finding(finding).id, *(self.descendants(finding) if with_children else ())}
        carried = (item for item in self.labels if item.relation in (Relation.SAME, Relation.NARROWER))
        return tuple(item for item in carried if item.finding in names and (kind is None or kind in item.kinds))

    def _finding(self, name: str) -> Finding:
        if name not in self.findings:
            raise ConfigError(
                where=f"finding '{name}'",
                problem=f"there is no such finding. {did_you_mean(name, self.findings)}".rstrip(),
                expected="an id of configs/vocabulary/findings.tsv",
                remedy="Correct the name",
            )
        return self.findings[name]

    def _check_known(self, names: Sequence[str], where: str) -> None:
        for name in names:
            if name not in self.findings:
                hint = did_you_mean(name, self.findings)
                raise _wrong(where, f"there is no finding '{name}'. {hint}".rstrip(), "an id of findings.tsv")


def read_vocabulary(folder: Path) -> Vocabulary:
    """Read ``findings.tsv`` and ``labels.tsv`` of a folder.

    Raises:
        DataError: a file is missing or a value isn't one of its column's.
    """
    findings = [
        Finding(
            row["finding"],
            tuple(row["parents"].split()),
            _one_of(row["category"], CATEGORIES, where),
            row["code"],
            row["note"],
        )
        for where, row in _rows(folder / "findings.tsv")
    ]
    labels = [
        Label(
            row["dataset"],
            row["label"],
            tuple(Kind(_one_of(word, tuple(Kind), where)) for word in row["kinds"].split()),
            row["finding"],
            Relation(_one_of(row["relation"], tuple(Relation), where)),
            _one_of(row["side"], SIDES, where),
            row["note"],
        )
        for where, row in _rows(folder / "labels.tsv")
    ]
    return Vocabulary(findings, labels)


@cache
def vocabulary() -> Vocabulary:
    """Return the vocabulary that comes with the package."""
    return read_vocabulary(shipped_folder("configs") / "vocabulary")


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise _wrong(str(path), f"can't be read ({error.strerror})", "the table that comes with fx_monai") from error
    for number, row in enumerate(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE), start=2):
        where = f"{path.name}, line {number}"
        if None in row or None in row.values():
            raise _wrong(where, "the row has another number of columns than the header", "one value per column")
        yield where, row


def _one_of(value: str, choices: Sequence[str], where: str) -> str:
    if value not in choices:
        raise _wrong(where, f"'{value}'", f"one of {', '.join(choice or 'nothing' for choice in choices)}")
    return value


def _normalise(label: str) -> str:
    return re.sub(r"[\s_/-]+", " ", label).strip().lower()


def _wrong(where: str, problem: str, expected: str) -> DataError:
    return DataError(where=where, problem=problem, expected=expected, remedy="Correct the table")

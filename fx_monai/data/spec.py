"""What is known about a dataset before its files are read; every reader tells it of the datasets it reads."""

from __future__ import annotations

from dataclasses import dataclass, field

from fx_monai.data.manifest import Classes
from fx_monai.types import Kind


@dataclass(frozen=True)
class DatasetSpec:
    """What is known about a dataset before its files are read.

    Args:
        name: as in recipes and on the command line.
        title: full name.
        kinds: tasks its annotations allow.
        licence: terms in a few words.
        url: where to get it.
        citation: what to cite.
        classes: class names; empty when they stand in the files.
        laterality: pairs of classes that a mirror image swaps.
        options: options the reader is always called with.
    """

    name: str
    title: str
    kinds: tuple[Kind, ...]
    licence: str
    url: str
    citation: str
    classes: Classes = field(default_factory=Classes)
    laterality: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, str], ...] = ()

"""Classes with a side: which class a mirror image turns which into, by the catalogue or by the names themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence

_MIRRORED = {"left": "right", "l": "r", "lt": "rt"}
_MIRRORED |= {right: left for left, right in _MIRRORED.items()}
# words of "left lung", "left_lung", "LeftLung" and "L1"; "bright" has no side
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_JOINED = re.compile(r"^(?:left|right)(?=.)|(?<=.)(?:left|right)$")


def mirror_swaps(classes: Sequence[str], pairs: Sequence[tuple[str, str]] = ()) -> dict[int, int]:
    """Return class index -> index of the class that its mirror image shows, for classes with a side.

    Beside the pairs that are told, two classes are a pair when their names differ in nothing but the side:
    ``left lung`` and ``right lung``, ``L1`` and ``R1``, ``lung_lt`` and ``lung_rt``.

    Args:
        classes: names.
        pairs: of names that belong together; those not among ``classes`` are passed over.
    """
    told: dict[int, int] = {}
    for pair in pairs:
        if all(name in classes for name in pair):
            a, b = (classes.index(name) for name in pair)
            told |= {a: b, b: a}
    swaps = dict(told)
    spelt = [_words(name) for name in classes]
    for index, own in enumerate(spelt):
        partners = [other for other, words in enumerate(spelt) if words == _mirrored(own) and words != own]
        if len(partners) == 1 and spelt.count(own) == 1 and not told.keys() & {index, *partners}:
            swaps[index] = partners[0]
    return swaps


def has_side(name: str) -> bool:
    """Return whether a name has the word left or right in it; single letters don't tell by themselves."""
    return bool({"left", "right"} & set(_words(name)))


def _words(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(name))


def _mirrored(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_MIRRORED.get(word) or _JOINED.sub(lambda side: _MIRRORED[side[0]], word) for word in words)

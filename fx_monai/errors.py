"""Errors a user can cause, in one form: where, what is wrong, what is expected, what to do.

Messages name ids, row numbers, keys and paths; never anything that tells about a patient.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class FxError(Exception):
    """A problem that the user can mend; the command line prints it without a traceback.

    Args:
        where: file, row, recipe key or flag that is concerned.
        problem: what is wrong, with the offending value.
        expected: the rule or the valid choices.
        remedy: one thing to do.
    """

    def __init__(self, *, where: str, problem: str, expected: str, remedy: str) -> None:
        self.where = where
        self.problem = problem
        self.expected = expected
        self.remedy = remedy
        super().__init__(f"{where}: {_sentence(problem)} Expected {_sentence(expected)} {_sentence(remedy)}")

    def __reduce__(self) -> tuple[object, ...]:
        """Let the error cross process borders (data loader workers) although it takes keywords only."""
        return _rebuild, (type(self), self.where, self.problem, self.expected, self.remedy)


class DataError(FxError):
    """A file, a row or an annotation is not what its format says."""


class ConfigError(FxError):
    """A recipe, a flag or a bundle override is not valid."""


class OutputError(FxError):
    """Results can't be written: no permission, no space."""


class CheckpointError(FxError):
    """A checkpoint is damaged, foreign, or does not fit the network."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return ``"Did you mean 'x'?"`` for the closest choice, or an empty string when none is close."""
    close = get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f"Did you mean '{close[0]}'?" if close else ""


def check_choice(word: str, choices: Iterable[str], *, where: str, remedy: str = "Correct the value") -> None:
    """Refuse a word that is none of the choices.

    Raises:
        ConfigError: with the closest choice.
    """
    known = list(choices)
    if word not in known:
        raise ConfigError(
            where=where,
            problem=f"'{word}'. {did_you_mean(word, known)}".rstrip(),
            expected=f"one of {', '.join(known)}",
            remedy=remedy,
        )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else text + "."


def _rebuild(kind: type[FxError], where: str, problem: str, expected: str, remedy: str) -> FxError:
    return kind(where=where, problem=problem, expected=expected, remedy=remedy)

"""Lists and pairs ``key=value`` on the command line."""

from __future__ import annotations

import re
from typing import Any

from fx_monai.errors import ConfigError


def key_values(text: str, where: str) -> dict[str, str]:
    """Return ``key=value`` pairs that are separated by commas, as text.

    Args:
        text: what the user wrote.
        where: place for messages, e.g. ``--options``.

    Raises:
        ConfigError: a pair without ``=``.
    """
    pairs = {}
    # commas inside brackets belong to the value
    for item in filter(None, re.split(r",(?![^\[\]{}]*[\]}])", text)):
        key, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(
                where=where, problem=f"'{item}' has no '='", expected="key=value, separated by commas", remedy="Add it"
            )
        pairs[key.strip()] = value.strip()
    return pairs


def listed(text: str) -> list[str]:
    """Return what is separated by commas."""
    return [item.strip() for item in text.split(",") if item.strip()]


def numbers(text: str, where: str, *, whole: bool = False) -> list[float]:
    """Return numbers that are separated by commas.

    Raises:
        ConfigError: one that is none, or not a whole one where those are asked for.
    """
    found = []
    for item in listed(text):
        try:
            found.append(float(int(item) if whole else float(item)))
        except ValueError:
            raise ConfigError(
                where=where,
                problem=f"'{item}'",
                expected=f"{'whole numbers' if whole else 'numbers'}, separated by commas",
                remedy="Correct the value",
            ) from None
    return found


def recipe_values(text: str) -> dict[str, Any]:
    """Return the recipe values of ``--set``: such pairs with values as in YAML.

    Raises:
        ConfigError: no pair, or a value that is no YAML.
    """
    import yaml

    values = {}
    for key, value in key_values(text, "--set").items():
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(
                where="--set",
                problem=f"the value of '{key}' is '{value}'",
                expected="a YAML value, such as 3, 0.1, demo or [a, b]",
                remedy="Close the brackets and quotes",
            ) from None
    return values

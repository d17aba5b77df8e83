"""Rules that say for every key of a foreign file where its tensor goes, or why it isn't used."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from timm.layers import resize_rel_pos_bias_table
from torch import Tensor

from fx_monai.errors import CheckpointError


@dataclass(frozen=True)
class Rule:
    r"""What becomes of the keys that a pattern matches as a whole.

    Args:
        pattern: regular expression.
        target: template of the own key (``\1`` etc.), or a function of the match; None: the tensor isn't used.
        reason: why it isn't used.
    """

    pattern: str
    target: str | Callable[[re.Match[str]], str] | None
    reason: str = ""


@dataclass(frozen=True)
class KeyReport:
    """What became of every key.

    Args:
        used: foreign key -> own key.
        unused: foreign key -> why.
        missing: own key -> where its value comes from instead.
        notes: what a user has to know about the file.
    """

    used: Mapping[str, str] = field(default_factory=dict)
    unused: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def lines(self) -> list[str]:
        """Return a summary: counts, and the keys of every reason shortened to their beginning."""
        lines = [f"used: {len(self.used)} tensors"]
        for title, reasons in (("not used", self.unused), ("not in the file", self.missing)):
            lines += [f"{title}: {len(keys)} ({reason}): {_abbreviate(keys)}" for reason, keys in _by_reason(reasons)]
        return lines + [f"note: {note}" for note in self.notes]

    def table(self) -> str:
        """Return one tab-separated row per key: used, not used or missing; key; own key or reason."""
        rows = [("used", key, own) for key, own in self.used.items()]
        rows += [("not used", key, reason) for key, reason in self.unused.items()]
        rows += [("missing", key, reason) for key, reason in self.missing.items()]
        return "\n".join("\t".join(row) for row in rows) + "\n"


def apply_rules(
    state: Mapping[str, Tensor], rules: Sequence[Rule], own: Mapping[str, Tensor], *, where: str
) -> tuple[dict[str, Tensor], KeyReport]:
    """Return the tensors under their own keys, and the report.

    Args:
        state: the foreign tensors.
        rules: the first that matches a key counts.
        own: the tensors of the network that is to be filled; those that no key fills are reported as missing.
        where: file, for messages.

    Raises:
        CheckpointError: a key that no rule knows, a tensor without a place or of another shape, or two tensors that
            should be one and differ.
    """
    filled: dict[str, Tensor] = {}
    used, unused = {}, {}
    for key, value in state.items():
        target, reason = _target(key, rules, where)
        if target is None:
            unused[key] = reason
            continue
        if target not in own:
            raise _misfit(where, f"the network has no place for '{key}'", "a file of the same architecture")
        if target in filled and not torch.equal(filled[target], value):
            raise _misfit(where, f"'{key}' differs from what it shares its place with", "one tensor under both names")
        filled[target] = _fit(value, own[target], key, where)
        used[key] = target
    missing = dict.fromkeys(own.keys() - filled.keys(), "initial value")
    return filled, KeyReport(used, unused, missing)


def _target(key: str, rules: Sequence[Rule], where: str) -> tuple[str | None, str]:
    for rule in rules:
        match = re.fullmatch(rule.pattern, key)
        if match:
            target = rule.target(match) if callable(rule.target) else rule.target and match.expand(rule.target)
            return target, rule.reason
    raise _misfit(where, f"nobody knows the key '{key}'", "only keys of the published architecture")


def _fit(value: Tensor, own: Tensor, key: str, where: str) -> Tensor:
    if value.shape == own.shape:
        return value
    if key.endswith("relative_position_bias_table") and value.shape[1:] == own.shape[1:]:
        side = (round(own.shape[0] ** 0.5) + 1) // 2
        return resize_rel_pos_bias_table(value, new_window_size=(side, side), new_bias_shape=tuple(own.shape))
    raise _misfit(where, f"'{key}' has shape {tuple(value.shape)}", f"{tuple(own.shape)}")


def _misfit(where: str, problem: str, expected: str) -> CheckpointError:
    return CheckpointError(
        where=where,
        problem=problem,
        expected=expected,
        remedy="Take the file that belongs to this network, or report the file's origin to the developers",
    )


def _by_reason(reasons: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    grouped: dict[str, list[str]] = {}
    for key, reason in reasons.items():
        grouped.setdefault(reason, []).append(key)
    return list(grouped.items())


def _abbreviate(keys: Iterable[str]) -> str:
    starts = list(dict.fromkeys(re.split(r"\.\d", key)[0] for key in keys))
    return ", ".join(starts[:4]) + (f" and {len(starts) - 4} more" if len(starts) > 4 else "")

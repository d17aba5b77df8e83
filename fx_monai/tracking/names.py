"""Names and values as MLflow takes them: allowed characters, lengths, flat parameters."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

MAX_NAME = 250
MAX_VALUE = 6000
"""MLflow's limits (``mlflow.utils.validation``)."""

_FORBIDDEN = re.compile(r"[^/\w\-. :]")


def entry_name(text: str) -> str:
    """Return a name for a metric or parameter, part by part between slashes.

    ``@`` becomes ``_`` (``ap@0.4``). A name that loses anything else gets a hash of the whole behind it, so that two
    classes never share a curve.
    """
    text = text.replace("@", "_")
    parts = [part.strip() for part in _FORBIDDEN.sub("_", text).split("/")]
    name = "/".join(part for part in parts if part.strip("."))
    if name == text and len(name) <= MAX_NAME:
        return name
    mark = hashlib.sha256(text.encode()).hexdigest()[:6]
    return f"{name[: MAX_NAME - 7]}_{mark}"


def flat_parameters(values: Mapping[str, Any]) -> dict[str, str]:
    """Return nested values as parameters: keys joined by dots, lists as JSON, long values cut with an ellipsis."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= {entry_name(f"{key}.{name}"): text for name, text in flat_parameters(value).items()}
        else:
            text = json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple | Mapping) else str(value)
            flat[entry_name(str(key))] = text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"
    return flat

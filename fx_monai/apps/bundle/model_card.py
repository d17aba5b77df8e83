"""The bundle's README, a model card in the Model Zoo's form: its tables are made from weights, metadata and results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from fx_monai.apps.tables import fill_tables, interval_table, markdown
from fx_monai.apps.weight_keeper import PHANTOM_NOTE
from fx_monai.data.catalog import CATALOG

NO_WEIGHTS = (
    "The bundle as it stands in the source code has no weights; the results below are of a run of the demo recipe."
)
NO_RESULTS = "*The weights were packed without the results of their run.*"


def fill_model_card(
    page: str, metadata: Mapping[str, Any], results: Mapping[str, Any] | None, *, megabytes: float | None = None
) -> str:
    """Return the README with its tables ``weights``, ``outputs`` and ``performance`` made anew.

    Args:
        page: the README.
        metadata: of the bundle.
        results: ``results.json`` of the run that the weights are from.
        megabytes: size of the weights.
    """
    return fill_tables(
        page,
        {
            "weights": lambda: weights_table(metadata, megabytes),
            "outputs": lambda: outputs_table(metadata["network_data_format"]["outputs"]),
            "performance": lambda: performance_table(results) if results else NO_RESULTS,
        },
    )


def weights_table(metadata: Mapping[str, Any], megabytes: float | None) -> str:
    """Return where the weights come from."""
    weights = metadata.get("weights")
    if not weights:
        return NO_WEIGHTS
    model = {"teacher": "the teacher's trunk with the student's heads", "student": "the student"}.get(weights["model"])
    lines = [
        [
            "trained with",
            f"fx_monai {weights['fx_monai_version']}, recipe `{weights['recipe']}`, seed {weights['seed']}",
        ],
        ["kept", f"{model or 'the network'} after cycle {weights['cycle']}, selected on validation"],
        ["note", weights["note"] or "none"],
        ["file", f"`models/model.pt`, {megabytes:.0f} MB" if megabytes else "`models/model.pt`"],
        ["SHA-256", f"`{weights['sha256']}`"],
    ]
    return markdown(["weights", ""], lines)


def data_terms(datasets: Iterable[str], note: str, origin: str) -> str:
    """Return whose terms the weights carry, for ``docs/data_license.txt``.

    Args:
        datasets: that the weights have heads of.
        note: of the weights' card.
        origin: what their backbone began with.
    """
    if PHANTOM_NOTE in note:
        lines = [
            "The weights of this bundle were trained on phantoms (generated images) and carry no terms of a dataset."
        ]
    else:
        lines = ["The weights of this bundle carry the terms of the data they were trained on. They have heads of:"]
        for name in sorted(set(datasets)):
            spec = CATALOG.get(name)
            lines.append(f"- {spec.title} ({name}): {spec.licence}; {spec.url}" if spec else f"- {name}: ask its owner")
    lines.append(f"Terms of the weights that the backbone began with apply too: {origin}.")
    return "\n".join(lines) + "\n"


def outputs_table(outputs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return one line per output: name, shape, what its channels are."""
    lines = []
    for name, output in outputs.items():
        shape = ", ".join(map(str, ("B", output["num_channels"], *output["spatial_shape"])))
        classes = output.get("columns", output["channel_def"])
        lines.append([f"`{name}`", f"({shape})", ", ".join(classes.values())])
    return markdown(["output", "shape", "channels, of boxes the columns"], lines)


def performance_table(results: Mapping[str, Any]) -> str:
    """Return the test scores of the selected weights with 95 % intervals."""
    rows = [row for row in results["rows"] if row["model"] == "selected" and "@" not in row["metric"]]
    bounded = any(not math.isnan(row.get("low", math.nan)) for row in rows)
    note = results["selected"]["note"]
    about = [
        f"Test split of recipe `{results['recipe']['name']}`, seed {results['seed']}"
        + (", 95 % intervals by bootstrap over patients" if bounded else ""),
        *([note] if note else []),
    ]
    return f"{'; '.join(about)}.\n\n{interval_table(rows)}"

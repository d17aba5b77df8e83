"""The folder that a recipe's roots are relative to."""

from __future__ import annotations

import os
from pathlib import Path

from fx_monai.engine.processes import is_writer, wait_for_all
from fx_monai.errors import ConfigError
from fx_monai.recipe import Recipe


def prepare_data_root(recipe: Recipe, data_root: str | Path) -> Path:
    """Return the data root; for a recipe on phantoms, write the demo cohort when it isn't there."""
    if not str(data_root):
        raise no_data_root(recipe, "it is not given")
    root = Path(data_root)
    if recipe.demo_cohort and not root.exists() and is_writer():
        from fx_monai.demo.cohort import write_demo_cohort
        from fx_monai.progress import progress_bar

        workers = os.cpu_count() or 1
        write_demo_cohort(
            root, num_images=recipe.demo_cohort, seed=0, workers=workers, progress=progress_bar("demo cohort")
        )
    wait_for_all()
    return root


def no_data_root(recipe: Recipe, problem: str) -> ConfigError:
    """Return the refusal of a data root, with the folders that the recipe looks for."""
    roots = dict.fromkeys(section.root for section in recipe.datasets.values())
    return ConfigError(
        where="data root",
        problem=problem,
        expected=f"the folder that holds {', '.join(roots)}",
        remedy="Give it with --data-root or the variable FX_MONAI_DATA_ROOT",
    )

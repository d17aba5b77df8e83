"""Transfer to a held-out site: features of the multi-task network against ImageNet's and random ones.

    python -m fx_monai.apps.transfer --runs runs --out docs/results/transfer.json --curve docs/images/transfer.png

The demo recipe is trained on five sites of phantoms (finished trainings are taken as they are); a sixth site, whose
images look different, gives the target: five findings, linear probe and fine-tuning on growing parts of its training
patients. A second call goes on where the first was stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fx_monai import __version__
from fx_monai.apps.few_shot import Study
from fx_monai.apps.few_shot_tables import few_shot_curve, value_of
from fx_monai.apps.fine_tuning import RECIPE, FineTuning
from fx_monai.apps.starting_point import StartingPoint, starting_point
from fx_monai.apps.tables import markdown, mean_and_spread, number, write_json
from fx_monai.apps.train import train_to_the_end
from fx_monai.data.subsets import Subset
from fx_monai.demo.cohort import write_demo_cohort
from fx_monai.errors import CheckpointError
from fx_monai.progress import progress_bar

Row = dict[str, Any]

SITE = "padchest"
# a tenth of a cohort this large is the site's
COHORT = 4000
TARGET: dict[str, Any] = {
    "name": "transfer",
    "datasets": {
        SITE: {
            "root": SITE,
            "tasks": ["classification"],
            "classes": {
                "classification": ["cardiomegaly", "consolidation", "nodule", "pleural effusion", "pneumothorax"]
            },
        }
    },
    # a large test set: what is asked is how well few images teach
    "data.split": {"train": 0.5, "val": 0.1, "test": 0.4},
    "schedule.cycles": 6,
    "schedule.batch_size": 6,
    "schedule.min_batches": {"classification": 8},
    "evaluation.resamples": 0,
}
MULTI_TASK = "multi-task"
RIVALS = ("imagenet", "random")
SHOTS = (3, 6, 12, 15, 20, 24)
WHOLE = Subset(percent=100)
# what is learnt from which parts, in how many draws
PLANS: dict[FineTuning, tuple[tuple[Subset, ...], int]] = {
    FineTuning.PROBE: ((*(Subset(shots=n) for n in SHOTS), WHOLE), 5),
    FineTuning.HEAD_FIRST: ((Subset(shots=24),), 1),
}
# two looks at validation are enough for 84 steps
OF_MODE: dict[FineTuning, dict[str, Any]] = {FineTuning.HEAD_FIRST: {"evaluation.every_cycles": 3}}
BAR = 0.05
KEPT = (
    "start", "mode", "subset", "draw", "training_patients", "training_images",
    "dataset", "kind", "metric", "value", "images",
)  # fmt: skip


def multi_task_start(runs: Path, seed: int, device: str) -> StartingPoint | None:
    """Return the weights of the demo recipe with a seed, trained first where they are missing; None when stopped.

    Raises:
        CheckpointError: the weights know the site.
    """
    folder = runs / f"demo-seed{seed}"
    if not (folder / "results.json").is_file():
        values = {"seed": seed}
        if not train_to_the_end("demo", data_root=runs / "demo-cohort", folder=folder, device=device, overrides=values):
            return None
    start = starting_point(str(folder / "model.pt"))
    known = [task for task in start.trained_on if task.startswith(f"{SITE}/")]
    if known:
        raise CheckpointError(
            where=str(folder / "model.pt"),
            problem=f"the weights were trained on {known[0]}",
            expected="weights that have never seen the site",
            remedy="Train the recipe demo anew in another folder",
        )
    return replace(start, name=MULTI_TASK)


def study_of_seed(start: StartingPoint, mode: FineTuning, runs: Path, seed: int, device: str) -> Study:
    """Return the study of one training seed and mode."""
    subsets, draws = PLANS[mode]
    starts = [start, *(starting_point(word, like=start) for word in RIVALS)]
    folder = runs / "transfer" / f"seed{seed}"
    # seeds lie far apart, so that no draw of one is a draw of another
    overrides = {**TARGET, **OF_MODE.get(mode, {}), "seed": 100 * seed}
    return Study(RECIPE, overrides, starts, (mode,), subsets, draws, str(runs / "held-out-site"), folder, device)


def run_transfer(runs: Path, *, seeds: Sequence[int], out: Path, device: str = "") -> bool:
    """Compute what is missing and write the scores; return False when a stop signal came."""
    bar = progress_bar("held-out site")
    write_demo_cohort(runs / "held-out-site", num_images=COHORT, datasets=[SITE], progress=bar)
    rows: list[Row] = []
    # the cheap part first, so that an early stop leaves it for all seeds
    for mode in PLANS:
        for seed in seeds:
            start = multi_task_start(runs, seed, device)
            found = study_of_seed(start, mode, runs, seed, device).run() if start is not None else None
            if found is None:
                return False
            rows += [{"seed": seed, **{key: row[key] for key in KEPT}} for row in found if row["metric"] == "auc_macro"]
            about = {"recipe": RECIPE, "site": SITE, "target": TARGET, "fx_monai": __version__, "split": "test"}
            write_json({**about, "rows": rows}, out)
    return True


def transfer_tables(rows: Sequence[Row]) -> str:
    """Return the curve as a table, and for each seed whether the multi-task features beat random ones by the bar."""
    return f"{_curve(rows)}\n\n{_claim(rows)}"


def transfer_curve(rows: Sequence[Row]) -> Figure:
    """Return the linear probe's curve; a seed, the mean of its draws, is one measurement."""
    found: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        if row["mode"] == FineTuning.PROBE:
            found.setdefault((row["start"], row["subset"], row["seed"]), []).append(row)
    return few_shot_curve(
        [
            {
                **own[0],
                "draw": seed,
                "value": sum(map(value_of, own)) / len(own),
                "training_patients": sum(row["training_patients"] for row in own) / len(own),
                "low": None,
                "high": None,
            }
            for (_, _, seed), own in found.items()
        ]
    )


def _curve(rows: Sequence[Row]) -> str:
    starts = list(dict.fromkeys(row["start"] for row in rows))
    lines = []
    for mode, subset in dict.fromkeys((row["mode"], row["subset"]) for row in rows):
        own = [row for row in rows if (row["mode"], row["subset"]) == (mode, subset)]
        patients = sum(row["training_patients"] for row in own) / len(own)
        lines.append([mode, subset, f"{patients:.0f}", *(mean_and_spread(_by_seed(own, start)) for start in starts)])
    return markdown(["mode", "trained on", "patients", *starts], lines)


def _claim(rows: Sequence[Row]) -> str:
    parts: dict[str, Callable[[Row], bool]] = {
        "linear probe, all training images": lambda row: row["mode"] == "probe" and row["subset"] == str(WHOLE),
        "few-shot linear probe, mean": lambda row: row["mode"] == "probe" and row["subset"] != str(WHOLE),
        "few-shot fine-tuning (24 shots)": lambda row: row["mode"] == "head-first",
    }
    lines = []
    for title, belongs in parts.items():
        own = [row for row in rows if belongs(row)]
        for place, seed in enumerate(dict.fromkeys(row["seed"] for row in own)):
            multi, *rivals = (_by_seed(own, start)[place] for start in (MULTI_TASK, *RIVALS))
            gains = [multi - rival for rival in rivals]
            reached = "yes" if gains[-1] >= BAR else "no"
            lines.append([title, str(seed), *map(number, (multi, *rivals)), *(f"{g:+.3f}" for g in gains), reached])
    header = ["AUC", "seed", MULTI_TASK, *RIVALS, *(f"gain over {rival}" for rival in RIVALS)]
    return markdown([*header, f"{BAR} over random"], lines)


def _by_seed(rows: Sequence[Mapping[str, Any]], start: str) -> list[float]:
    """Return the mean over subsets and draws of every seed."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row["start"] == start:
            found.setdefault(row["seed"], []).append(value_of(row))
    return [sum(values) / len(values) for values in found.values()]


def main() -> int:
    """Run the study from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder for data and results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device", default="")
    parser.add_argument("--out", type=Path, required=True, help="JSON file with the scores")
    parser.add_argument("--curve", type=Path, help="PNG of the linear probe")
    words = parser.parse_args()
    if run_transfer(words.runs, seeds=words.seeds, out=words.out, device=words.device):
        rows = json.loads(words.out.read_text(encoding="utf-8"))["rows"]
        sys.stdout.write(f"\n{transfer_tables(rows)}\n")
        if words.curve:
            transfer_curve(rows).savefig(words.curve, dpi=110)
    return 0


if __name__ == "__main__":
    sys.exit(main())

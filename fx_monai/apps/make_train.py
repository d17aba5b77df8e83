"""``make train``: demo cohort, training through the bundle, result table, where everything is.

    python -m fx_monai.apps.make_train --runs runs

A second call reuses what exists: a finished run is shown again, an interrupted one goes on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from fx_monai.shipped import shipped_folder


def main() -> int:
    """Run the bundle's training in a process of its own, as a user would; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder for data and results")
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    arguments = parser.parse_args()
    runs = arguments.runs.resolve()
    output = runs / f"demo-seed{arguments.seed}"
    if (output / "results.md").is_file():
        sys.stdout.write((output / "results.md").read_text(encoding="utf-8"))
        sys.stdout.write(f"\nalready trained: {output}; delete it to train again\n")
        return 0
    bundle = shipped_folder("bundle")
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", "configs/train.json"]
    command += ["--dataset_dir", str(runs / "demo-cohort"), "--output_dir", str(output), "--ckpt_dir", str(output)]
    command += ["--seed", str(arguments.seed), "--resume", str((output / "checkpoint.pt").is_file())]
    sys.stdout.write(f"in {bundle}: {' '.join(['python', *command[1:]])}\n")
    sys.stdout.flush()
    return subprocess.run(command, cwd=bundle, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

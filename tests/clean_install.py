"""Build the wheel, install it into a new virtual environment, and run the bundle's commands there as a user would.

    python tests/clean_install.py runs/demo-seed0/model.pt                          # needs the package index
    python tests/clean_install.py runs/demo-seed0/model.pt --environment FOLDER     # in an environment made before

Prints one line per command with its seconds; exit code 1 when one doesn't do what it should.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FEW = "{'demo_cohort': 60, 'schedule.cycles': 1, 'schedule.min_batches': {}, 'evaluation.resamples': 20}"
TRAIN = ["--config_file", "configs/train.json", "--overrides", FEW]
EVALUATE = ["--config_file", "['configs/train.json','configs/evaluate.json']", "--overrides", FEW]
INFER = ["--config_file", "configs/inference.json"]
META = ["--meta_file", "configs/metadata.json"]
# name, arguments of monai.bundle, a word that has to be printed, exit code
COMMANDS: list[tuple[str, list[str], str, int]] = [
    ("verify_metadata", ["verify_metadata", *META, "--filepath", "docs/metadata_schema.json"], "verified", 0),
    ("verify_net_in_out", ["verify_net_in_out", "network_def", *META, *INFER], "verified", 0),
    ("run inferring", ["run", "inferring", *INFER], "2 images predicted", 0),
    ("ckpt_export, traced", ["ckpt_export", "network_def", "--filepath", "models/traced.ts", *INFER,
                             "--use_trace", "True", "--input_shape", "[1,1,160,160]"], "exported", 0),
    ("ckpt_export", ["ckpt_export", "network_def", "--filepath", "models/model.ts", *INFER], "exported", 0),
    ("onnx_export", ["onnx_export", "network_def", "--filepath", "models/model.onnx", "--ckpt_file", "models/model.pt",
                     *META, *INFER], "exported", 0),
    ("run evaluating", ["run", "evaluating", *EVALUATE], "test split", 0),
    ("run training", ["run", "training", *TRAIN], "test split", 0),
    ("run trainig (misspelt)", ["run", "trainig", *TRAIN], "Did you mean 'training'?", 1),
    ("--recpie (misspelt)", ["run", "training", *TRAIN, "--recpie", "demo"], "Did you mean 'recipe'?", 1),
    ("no weights", ["run", "inferring", *INFER, "--weights", "models/none.pt"], "has no weights", 1),
]  # fmt: skip


def main() -> int:
    """Run everything; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--environment", type=Path, help="virtual environment with the wheel and its extra 'export'")
    parser.add_argument("--code", action="store_true", help="the bundle that has the code inside, without the package")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fx_monai-") as temporary:
        work = Path(temporary)
        environment = arguments.environment or install(work)
        python = str(environment / "bin" / "python")
        pack = [python, "-m", "fx_monai", "bundle", str(arguments.weights.resolve()), "--out", "dist"]
        failed = call("fx-monai bundle", [*pack, *(["--code"] if arguments.code else [])], work, "SHA-256", 0)
        with zipfile.ZipFile(next((work / "dist").glob("*.zip"))) as archive:
            archive.extractall(work)
        bundle = work / "fx_monai_bundle"
        search = hide_package(work / "hidden") if arguments.code else ""
        for name, words, expected, code in COMMANDS:
            failed += call(name, [python, "-m", "monai.bundle", *words], bundle, expected, code, search)
        elsewhere = ["run", "inferring", "--bundle_root", str(bundle), "--config_file"]
        elsewhere += [str(bundle / "configs" / "inference.json")]
        command = [python, "-m", "monai.bundle", *elsewhere]
        failed += call("from another folder", command, work, "2 images predicted", 0, search)
    return int(failed > 0)


def install(work: Path) -> Path:
    """Return a new virtual environment with the wheel."""
    environment = work / "environment"
    call("wheel", [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(work), str(ROOT)], work, "", 0)
    call("environment", [sys.executable, "-m", "venv", str(environment)], work, "", 0)
    wheel = f"{next(work.glob('*.whl'))}[demo,export]"
    call("install", [str(environment / "bin" / "python"), "-m", "pip", "install", "-q", wheel], work, "", 0)
    return environment


def hide_package(folder: Path) -> str:
    """Return a folder to search first, so that Python takes the installed package for missing."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys\n\nsys.modules['fx_monai'] = None\n", encoding="utf-8")
    return str(folder)


def call(name: str, command: Sequence[str], folder: Path, expected: str, code: int, search: str = "") -> int:
    """Run a command, print what became of it, return 1 when it isn't what it should be."""
    started = time.monotonic()
    own = {**os.environ, "PYTHONPATH": search}
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=own, check=False)
    said = result.stdout + result.stderr
    right = result.returncode == code and expected in said and (code == 0 or "Traceback" not in said)
    sys.stdout.write(f"{'right' if right else 'WRONG':6s}{time.monotonic() - started:7.0f} s  {name}\n")
    if not right:
        sys.stdout.write(f"exit code {result.returncode}, expected {code} and '{expected}'\n{said[-3000:]}\n")
    sys.stdout.flush()
    return int(not right)


if __name__ == "__main__":
    sys.exit(main())

"""What the Model Zoo's verification and its reviewers ask of a bundle, as far as files tell; nothing is downloaded.

Source: Model Zoo, ``ci/verify_bundle.py``, CONTRIBUTING and pull request template; MONAI bundle specification. Checks
that run the network (``verify_net_in_out``, ``ckpt_export``) are MONAI's own and not repeated here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

FILES = (
    "LICENSE",
    "configs/metadata.json",
    "configs/train.json",
    "configs/evaluate.json",
    "configs/inference.json",
    "configs/multi_gpu_train.json",
    "configs/logging.conf",
    "docs/README.md",
    "docs/data_license.txt",
    "docs/metadata_schema.json",
)
WEIGHTS = "models/model.pt"
LARGE_FILES = "large_files.yml"
LARGE_BYTES = 25_000_000
SECTIONS = (
    "Model Overview", "Intended Use", "Data", "Training Configuration", "Input", "Output", "Performance", "Limitations",
    "Ethical Considerations", "MONAI Bundle Commands", "References", "License",
)  # fmt: skip
KEYS = {
    "train.json": (
        "bundle_root", "device", "dataset_dir", "output_dir", "network_def", "train#trainer#max_epochs",
        "train#dataset#data", "train#inferer", "train#handlers", "validate#evaluator", "validate#handlers",
        "validate#dataset#data", "initialize", "run", "training",
    ),
    "evaluate.json": ("initialize", "run", "evaluating"),
    "inference.json": (
        "bundle_root", "device", "dataset_dir", "output_dir", "network_def", "dataset", "inferer", "evaluator",
        "handlers", "initialize", "run", "inferring",
    ),
}  # fmt: skip
_TEXT = (".json", ".md", ".txt", ".conf", ".yml", ".yaml", ".py", ".tsv")
_ABSOLUTE = re.compile(
    r"(?<![\w.:/<])/(?:home|root|Users|mnt|data|tmp|work|opt|var|scratch|media|srv|workspace)/|\b[A-Za-z]:\\[A-Za-z]"
)
# how a configuration says where something is in the bundle, or in a folder that is named there
_BELOW_ROOT = re.compile(r"@\w+ \+ '[^']*'")
_JUNK = re.compile(r"(^|/)(__pycache__|\.[^/]+|eval|mlruns)(/|$)|\.(pyc|part|log|bak)$|~$")
_EXACT = re.compile(r"\d+(\.\d+)+([a-z0-9.]*)$")


def zoo_problems(bundle: Path, *, weights: bool = True) -> list[str]:
    """Return what the Model Zoo would refuse, one sentence each; empty = nothing.

    Args:
        bundle: the bundle's folder.
        weights: it has weights; without them it is the form in the source code.
    """
    names = [path.relative_to(bundle).as_posix() for path in sorted(bundle.rglob("*")) if path.is_file()]
    wanted = (*FILES, WEIGHTS) if weights else FILES
    problems = [f"{name}: there is no such file" for name in wanted if name not in names]
    if problems:
        return problems
    metadata = json.loads((bundle / "configs/metadata.json").read_text(encoding="utf-8"))
    schema = json.loads((bundle / "docs/metadata_schema.json").read_text(encoding="utf-8"))
    return [
        *_metadata(metadata, schema),
        *_configurations(bundle / "configs"),
        *_model_card((bundle / "docs/README.md").read_text(encoding="utf-8")),
        *(f"{name}: does not belong into a bundle" for name in names if _JUNK.search(name)),
        *(problem for name in names if name.endswith(_TEXT) for problem in _absolute_paths(bundle / name, name)),
    ]


def large_file_problems(bundle: Path) -> list[str]:
    """Return the files above 25 MB that ``large_files.yml`` doesn't name with address and hash.

    They can be in the zip that users get; a pull request to the Model Zoo may not hold them.
    """
    file = bundle / LARGE_FILES
    entries = yaml.safe_load(file.read_text(encoding="utf-8"))["large_files"] if file.is_file() else []
    named = {
        entry["path"] for entry in entries if entry.get("url") and entry.get("hash_val") and entry.get("hash_type")
    }
    large = [path for path in sorted(bundle.rglob("*")) if path.is_file() and path.stat().st_size > LARGE_BYTES]
    names = [path.relative_to(bundle).as_posix() for path in large]
    problem = f"above {LARGE_BYTES // 1_000_000} MB, and no address for it in {LARGE_FILES}"
    return [f"{name}: {problem}" for name in names if name not in named]


def _metadata(metadata: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    for error in jsonschema.Draft202012Validator(schema).iter_errors(metadata):
        yield f"configs/metadata.json: {'.'.join(map(str, error.absolute_path)) or 'top level'}: {error.message}"
    if metadata.get("version") not in metadata.get("changelog", {}):
        yield f"configs/metadata.json: version {metadata.get('version')} is not in the changelog"
    pins = {name: metadata.get(f"{name}_version", "") for name in ("monai", "pytorch", "numpy")}
    for name, pin in {**pins, **metadata.get("required_packages_version", {})}.items():
        if not _EXACT.fullmatch(str(pin)):
            yield f"configs/metadata.json: the version of {name} is '{pin}', not an exact one"
    form = metadata.get("network_data_format", {})
    if next(iter(form.get("inputs", {})), "") != "image" or next(iter(form.get("outputs", {})), "") != "pred":
        yield "configs/metadata.json: the first input has to be 'image', the first output 'pred'"


def _configurations(folder: Path) -> Iterator[str]:
    for file in sorted(folder.glob("*.json")):
        text = file.read_text(encoding="utf-8")
        content = json.loads(text)
        # of equal keys the last one wins silently
        yield from (f"configs/{file.name}: the key '{key}' stands twice" for key in _doubled_keys(text))
        if text != json.dumps(content, indent=4, ensure_ascii=False) + "\n":
            yield f"configs/{file.name}: not formatted with four spaces"
        for key in KEYS.get(file.name, ()):
            node: Any = content
            for part in key.split("#"):
                node = node.get(part) if isinstance(node, Mapping) else None
            if node is None:
                yield f"configs/{file.name}: there is no {key}"


def _doubled_keys(text: str) -> list[str]:
    doubled: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        doubled.extend(sorted({key for key in keys if keys.count(key) > 1}))
        return dict(pairs)

    json.loads(text, object_pairs_hook=collect)
    return doubled


def _model_card(page: str) -> Iterator[str]:
    found = re.findall(r"^## (.+)$", page, flags=re.MULTILINE)
    yield from (f"docs/README.md: there is no section '{name}'" for name in SECTIONS if name not in found)
    if [name for name in found if name in SECTIONS] != [name for name in SECTIONS if name in found]:
        yield f"docs/README.md: the sections' order is not {', '.join(SECTIONS)}"
    if not page.startswith("# "):
        yield "docs/README.md: does not begin with a title"
    for word in ("TorchScript", "TensorRT", "esearch use only"):
        if word not in page:
            yield f"docs/README.md: says nothing about '{word}'"


def _absolute_paths(path: Path, name: str) -> Iterator[str]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if _ABSOLUTE.search(_BELOW_ROOT.sub("", line)):
            yield f"{name}, line {number}: an absolute path"

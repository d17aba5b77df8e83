"""The package as the bundle's own code: ``scripts/``, importable as ``scripts``, for hosts that install nothing else.

The Model Zoo's checks run in an environment of the packages that the metadata pins, all from PyPI. A bundle that needs
a package from elsewhere has to bring the code along.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path
from typing import Any

from fx_monai.apps.bundle.metadata import write_json
from fx_monai.shipped import package_folder, shipped_folder

SCRIPTS = "scripts"
_PACKAGE = "fx_monai"
# the command line has no place in a bundle
_LEFT_OUT = {"cli.py", "__main__.py", "verbs", "bundle", "configs"}
_CODE = (".py", ".jinja", ".css")
_DATA = (".yaml", ".tsv", ".npz")


def add_source_code(bundle: Path) -> None:
    """Copy package and recipes into ``<bundle>/scripts``, and let code and configurations name them so."""
    package = package_folder()
    for path in sorted(path for path in package.rglob("*") if path.suffix in _CODE):
        name = path.relative_to(package)
        if name.parts[0] not in _LEFT_OUT:
            text = path.read_text(encoding="utf-8")
            target = bundle / SCRIPTS / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(renamed_imports(text) if path.suffix == ".py" else text, encoding="utf-8")
    configs = shipped_folder("configs")
    for path in sorted(configs.rglob("*")):
        if path.suffix in _DATA:
            target = bundle / SCRIPTS / "configs" / path.relative_to(configs)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    for file in sorted((bundle / "configs").glob("*.json")):
        if file.name != "metadata.json":
            write_json(_with_own_code(json.loads(file.read_text(encoding="utf-8"))), file)


def renamed_imports(source: str) -> str:
    """Return Python source whose import statements name ``scripts`` in place of the package; strings stay."""
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = re.sub(rf"\b(from|import) {_PACKAGE}\b", rf"\1 {SCRIPTS}", lines[number])
    return "".join(lines)


def _with_own_code(config: dict[str, Any]) -> dict[str, Any]:
    renamed = _renamed_targets(config)
    if "initialize" in renamed:
        # MONAI makes the bundle's code importable only after it has initialised
        search = {"_target_": "site.addsitedir", "sitedir": "@bundle_root"}
        renamed["initialize"] = [search, *renamed["initialize"]]
    return renamed


def _renamed_targets(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _renamed_targets(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_renamed_targets(value) for value in node]
    own = isinstance(node, str) and node.startswith(f"{_PACKAGE}.")
    return SCRIPTS + node.removeprefix(_PACKAGE) if own else node

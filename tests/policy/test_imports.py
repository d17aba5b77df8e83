"""Imports go one way; nothing reaches for what stands above it."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "fx_monai"
ORDER = [
    {"errors", "types", "keys", "shipped", "progress", "files", "key_values", "signals"},
    {"ops"},
    {"data"},
    {"demo"},
    {"models"},
    {"losses", "metrics"},
    {"recipe", "recipe_sections"},
    {"engine"},
    {"inference"},
    {"tracking"},
    {"apps"},
    {"verbs", "cli", "__main__"},
]
LEVEL = {name: number for number, names in enumerate(ORDER) for name in names}
PURE = ["ops", "losses", "metrics", "engine/schedule.py"]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def part(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_imports_go_one_way():
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        if path.name == "__init__.py" and path.parent == PACKAGE:
            continue
        for name in imports(path):
            words = name.split(".")
            if words[0] == "fx_monai" and len(words) > 1 and LEVEL[words[1]] > LEVEL[part(path)]:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not wrong


def test_every_part_has_a_level():
    parts = {part(p) for p in PACKAGE.rglob("*.py")} - {"__init__"}
    assert parts == set(LEVEL)


def test_pure_parts_touch_no_files_and_no_global_random_state():
    wrong = []
    for name in PURE:
        root = PACKAGE / name
        for path in [root] if root.is_file() else root.rglob("*.py"):
            found = set(imports(path)) & {"os", "pathlib", "random", "logging", "shutil", "time"}
            wrong += [f"{path.relative_to(PACKAGE)} imports {module}" for module in sorted(found)]
    assert not wrong

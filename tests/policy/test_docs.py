"""What the docs say is there, is there; tables in the docs are those of the stored result files."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOP = {
    "bundle", "fx_monai", "configs", "tests", "docs", "setup.py", "pyproject.toml", "Makefile", "README.md",
    "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "NOTICE", ".gitignore", ".ci",
}  # fmt: skip


def results_page():
    spec = importlib.util.spec_from_file_location("make_results", ROOT / "docs" / "make_results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_result_tables_match_the_stored_files():
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert results_page().render(page) == page


def test_model_card_of_the_bundle_matches_the_stored_files():
    page = (ROOT / "bundle" / "docs" / "README.md").read_text(encoding="utf-8")
    assert results_page().render_model_card(page) == page
    assert "| AUC" in page


def test_every_table_of_the_page_has_numbers_or_says_that_it_was_not_run():
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    tables = re.findall(r"<!-- table: ([\w ]+) -->\n(.*?)<!-- end -->", page, flags=re.DOTALL)
    assert {name for name, _ in tables} == set(results_page().TABLES)
    assert all(re.search(r"\d\.\d{3}", text) or text.strip() == results_page().NOT_YET for _, text in tables)


def test_readme_names_only_what_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target
    tree = text.split("```text")[1].split("```")[0]
    folder = "fx_monai"
    for line in tree.splitlines():
        words = line.split("  ")[0].split() if not line.startswith(" ") else line.strip().split("  ")[0].split()
        for word in words:
            if word.startswith("/"):
                folder = "fx_monai" if line.startswith("        /") else folder
                part = word.strip("/")
                if line.startswith("        /"):
                    base = ROOT / "fx_monai" / part
                    folder = f"fx_monai/{part.split('/')[0]}" if "/" in part or base.is_dir() else "fx_monai"
                    assert base.exists(), line
                else:
                    assert (ROOT / folder / part).exists(), line
            elif word.endswith((".py", "/")) and "/" not in word.rstrip("/"):
                assert any((ROOT / place / word).exists() for place in (".", "fx_monai", folder)), line


def test_top_level_is_the_agreed_one():
    import subprocess

    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        assert {name.split("/")[0] for name in listed.stdout.splitlines()} <= TOP

"""The example in docs/data.md runs."""

import re
from pathlib import Path

import torch

from tests.builders import tiny_manifest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data.md"


def test_the_example_for_monai_runs(tmp_path):
    tiny_manifest(tmp_path).write(tmp_path / "tiny.parquet")
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = {"path": tmp_path / "tiny.parquet"}
    exec(compile(code, "docs/data.md", "exec"), found)
    batch = found["batch"]
    assert batch["image"].shape == batch["teacher_image"].shape == (2, 1, 224, 224)
    assert batch["image"].dtype == torch.uint8
    assert batch["masks"].shape == (2, 1, 224, 224)
    assert batch["masks_annotated"].all()

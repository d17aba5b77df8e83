"""Every dataset with a native tree goes the whole way to a manifest and back."""

import pytest

from fx_monai.data.catalog import CATALOG
from fx_monai.data.index import index_dataset
from fx_monai.data.manifest import Manifest
from fx_monai.types import Kind
from tests.native_trees import OPTIONS, TREES


@pytest.mark.parametrize("name", sorted(TREES))
def test_tree_to_manifest_and_back(name, tmp_path):
    root = TREES[name](tmp_path / "tree")
    manifest = index_dataset(name, root, options=OPTIONS.get(name))
    manifest.write(tmp_path / "manifest.parquet")
    read = Manifest.read(tmp_path / "manifest.parquet")
    assert str(list(read)) == str(list(manifest))
    assert (read.classes, read.notes) == (manifest.classes, manifest.notes)
    assert len(read) > 1
    assert all((root / path).is_file() for path in read.column("image_path"))
    assert all(":" in patient for patient in read.column("patient_id"))
    assert min(read.column("width")) > 0
    for kind, column in (
        (Kind.CLASSIFICATION, "labels"),
        (Kind.LOCALIZATION, "boxes"),
        (Kind.SEGMENTATION, "masks"),
    ):
        assert any(read.column(column)) == (kind in CATALOG[name].kinds), kind

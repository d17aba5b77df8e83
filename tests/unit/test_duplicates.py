"""Copies are found among random fields; the sieve against a plain loop; hashes by hand."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from fx_monai.data.duplicates import hashes as hashes_module
from fx_monai.data.duplicates import sieve
from fx_monai.data.duplicates.hashes import hash_images
from fx_monai.data.duplicates.search import find_copies
from fx_monai.data.duplicates.thumbnail import is_blank, pixel_hash, rank_thumbnail
from tests.benchmarks.audit import CHANGES
from tests.builders import tiny_manifest


def fields(count, seed=0, side=160):
    """Return smooth random images; no two of them are alike."""
    generator = np.random.default_rng(seed)
    noise = sum(gaussian_filter(generator.normal(size=(count, side, side)), (0, s, s)) * s for s in (2, 8, 24))
    low, high = noise.min(axis=(1, 2), keepdims=True), noise.max(axis=(1, 2), keepdims=True)
    return ((noise - low) / (high - low) * 255).astype(np.uint8)


@pytest.mark.parametrize("name", CHANGES)
def test_changed_copies_are_found_and_nothing_else(name):
    images, generator = fields(6), np.random.default_rng(1)
    copies = [CHANGES[name](image, generator) for image in images]
    found = find_copies(np.stack([rank_thumbnail(np.ascontiguousarray(image)) for image in [*images, *copies]]))
    assert list(zip(found.first, found.second, strict=True)) == [(i, i + 6) for i in range(6)]
    assert set(found.mirrored) == {name == "mirrored"}
    assert set(found.inverted) == {name == "inverted"}


def test_the_sieve_finds_what_a_loop_finds(monkeypatch):
    monkeypatch.setattr(sieve, "ROWS", 7)
    monkeypatch.setattr(sieve, "COLUMNS", 11)
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(40, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    odd = np.array([False, True, False, True, True, False])
    flip = np.where(odd, -1, 1)
    expected = {
        (i, j, mirrored)
        for i in range(40)
        for j in range(i + 1, 40)
        for mirrored in (0, 1)
        if vectors[i] @ (vectors[j] * (flip if mirrored else 1)) >= 0.6
    }
    done = []
    found = list(sieve.candidates(vectors, odd, threshold=0.6, progress=lambda *numbers: done.append(numbers)))
    assert {tuple(row) for row in np.concatenate(found).tolist()} == expected
    assert sum(map(len, found)) == len(expected)
    assert done[-1] == (820, 820)


def test_shipped_weights_keep_mirror_images_apart():
    weights = sieve.projection()
    odd = sieve.odd_frequencies()
    assert (weights.matrix[odd][:, ~weights.odd] == 0).all()
    assert (weights.matrix[~odd][:, weights.odd] == 0).all()
    assert (weights.mean[odd] == 0).all()


def test_pixel_hash_sees_every_pixel_but_not_the_bit_depth():
    image = fields(1, side=40)[0]
    other = image.copy()
    other[3, 5] ^= 1
    assert pixel_hash(image) == pixel_hash(image.astype(np.uint16) * 257)
    assert len({pixel_hash(image), pixel_hash(other), pixel_hash(image.T), pixel_hash(image.reshape(20, 80))}) == 4


def test_thumbnails_don_t_change_with_gamma_and_blank_ones_are_known():
    image = fields(1, side=64)[0].astype(np.uint16) * 200
    plain = rank_thumbnail(image).astype(int)
    assert abs(plain - rank_thumbnail((np.sqrt(image / 65535) * 65535).astype(np.uint16))).max() <= 8
    assert is_blank(np.stack([plain.astype(np.uint8), np.zeros((64, 64), np.uint8)])).tolist() == [False, True]
    blank = np.zeros((3, 64, 64), np.uint8)
    assert len(find_copies(blank)) == 0


def test_hashes_are_kept_until_a_file_changes(tmp_path, monkeypatch):
    manifest = tiny_manifest(tmp_path / "data", count=5)
    read, paths = hashes_module.read_pixels, []

    def counted(path):
        paths.append(path.name)
        return read(path)

    monkeypatch.setattr(hashes_module, "read_pixels", counted)
    monkeypatch.setattr(hashes_module, "CHUNK", 2)
    first = hash_images(manifest, tmp_path / "cache")
    assert sorted(paths) == [f"{n:03d}.png" for n in range(5)]
    again = hash_images(manifest, tmp_path / "cache")
    assert len(paths) == 5
    assert again.pixels.to_pylist() == first.pixels.to_pylist()
    assert (again.thumbnails == first.thumbnails).all()
    (tmp_path / "data" / "images" / "003.png").write_bytes(b"damaged")
    # a part that can't be read is computed again
    next((tmp_path / "cache").rglob("000000.parquet")).write_bytes(b"cut")
    changed = hash_images(manifest, tmp_path / "cache")
    assert sorted(paths[5:]) == ["000.png", "001.png", "003.png"]
    assert [row for row, _ in changed.problems] == [3]
    assert changed.pixels.to_pylist()[:3] == first.pixels.to_pylist()[:3]
    assert (changed.thumbnails[[0, 1, 2, 4]] == first.thumbnails[[0, 1, 2, 4]]).all()

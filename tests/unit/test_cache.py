"""`fx-monai cache`: builds, checks, repairs; interruptions, a full disk and damage are survived and told."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fx_monai.cli import main
from fx_monai.data import store_build, store_decode
from fx_monai.data.manifest import Manifest
from fx_monai.data.store import ImageStore
from tests.builders import tiny_manifest


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "tiny.parquet"
    tiny_manifest(tmp_path).write(path)
    return path


def cache(capsys, *words):
    code = main(["cache", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def flip_a_bit(folder, row):
    pixels = np.load(folder / "images.npy", mmap_mode="r+")
    pixels[row, 5, 5] ^= 1
    pixels.flush()


def test_a_store_is_built_where_training_looks_for_it(capsys, tmp_path, manifest):
    code, out, _ = cache(capsys, manifest, "--size", "32", "--json", "--workers", "2")
    (about,) = json.loads(out)
    assert code == 0
    assert (about["images"], about["size"], about["bits"], about["unreadable"]) == (12, 32, 8, [])
    decoded = []
    store = ImageStore.open_or_build(
        Manifest.read(manifest), size=32, folder=tmp_path / "cache", progress=lambda *at: decoded.append(at)
    )
    assert str(store.folder) == about["folder"]
    assert not decoded


@pytest.mark.parametrize("bits", [8, 16])
def test_processes_write_what_one_process_writes(tmp_path, monkeypatch, manifest, bits):
    monkeypatch.setattr(store_decode, "FEW", 0)
    stores = [
        ImageStore.open_or_build(Manifest.read(manifest), size=48, folder=tmp_path / str(n), bits=bits, workers=n)
        for n in (1, 3)
    ]
    assert stores[0].bits == bits
    for name in ("images.npy", "masks.parquet", "frames.npy", "checksums.npy", "store.json"):
        assert (stores[0].folder / name).read_bytes() == (stores[1].folder / name).read_bytes(), name


def test_every_image_that_cannot_be_used_is_listed(capsys, tmp_path, manifest):
    (tmp_path / "images/001.png").write_bytes(b"")
    Image.new("L", (64, 32)).save(tmp_path / "images/003.png")
    code, out, _ = cache(capsys, manifest, "--size", "32")
    assert code == 1
    assert "2 images can't be used" in out
    assert "001: 001.png: the file is empty" in out
    assert "003: 003.png: the image is 64 x 32, the annotations are for 64 x 64" in out


def test_damage_is_found_told_and_repaired(capsys, manifest):
    _, out, _ = cache(capsys, manifest, "--size", "32", "--json")
    folder = json.loads(out)[0]["folder"]
    assert cache(capsys, manifest, "--size", "32", "--verify")[0] == 0
    flip_a_bit(store_build.Path(folder), 7)
    code, out, _ = cache(capsys, manifest, "--size", "32", "--verify")
    assert code == 1
    assert "1 images are damaged in the store:\n  007\n" in out
    assert "--repair" in out
    assert cache(capsys, manifest, "--size", "32", "--repair")[0] == 0
    assert cache(capsys, manifest, "--size", "32", "--verify")[0] == 0


@pytest.mark.parametrize("name", ["masks.parquet", "frames.npy", "checksums.npy"])
@pytest.mark.parametrize("cut", [True, False])
def test_damaged_tables_are_told(capsys, manifest, name, cut):
    _, out, _ = cache(capsys, manifest, "--size", "32", "--json")
    path = store_build.Path(json.loads(out)[0]["folder"]) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content[:20] if cut else content)
    code, _, err = cache(capsys, manifest, "--size", "32", "--verify")
    assert code == 1
    assert "damaged" in err
    assert "Remove the folder" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "0 manifests"),
        (["MANIFEST", "--size", "0"], "--size: 0. Expected 32 to 8192"),
        (["MANIFEST", "--workers", "-1"], "--workers: -1. Expected at least 1"),
        (["MANIFEST", "--bits", "12"], "bits: 12. Expected 8 or 16"),
        (["MANIFEST", "--verify"], "no image store of 224 pixels and 8 bits is there"),
        (["none.parquet"], "none.parquet: there is no such file"),
    ],
)
def test_mistakes(capsys, manifest, words, message):
    code, out, err = cache(capsys, *(manifest if word == "MANIFEST" else word for word in words))
    assert (code, out) == (1, "")
    assert message in err


def test_a_disk_without_space_is_refused_before_anything_is_decoded(capsys, monkeypatch, tmp_path, manifest):
    monkeypatch.setattr(store_build.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    code, _, err = cache(capsys, manifest, "--size", "32")
    assert code == 1
    assert "the images need 0.00 GB, 0.00 GB are free" in err
    assert not list((tmp_path / "cache").glob("*.part/images.npy"))


def test_space_is_taken_at_the_start_so_that_a_full_disk_cannot_strike_later(tmp_path):
    path = tmp_path / "images.npy"
    store_build.reserve(path, (40, 64, 64), np.uint8)
    assert path.stat().st_blocks * 512 >= 40 * 64 * 64
    np.load(path, mmap_mode="r+")[3] = 7
    store_build.reserve(path, (40, 64, 64), np.uint8)
    assert (np.load(path)[3] == 7).all()


@pytest.fixture
def slow_manifest(tmp_path):
    """Return a manifest of 60 images that take a while to decode: all the same file of noise."""
    tiny_manifest(tmp_path, count=60).write(tmp_path / "slow.parquet")
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png", compress_level=1)
    for path in (tmp_path / "images").iterdir():
        path.unlink()
        os.link(tmp_path / "noise.png", path)
    return tmp_path / "slow.parquet"


def start(manifest):
    code = (
        "import signal, sys; from fx_monai import cli; from fx_monai.data import store_build; store_build.CHUNK = 4; "
    )
    # a shell lets its background jobs ignore Ctrl-C, tests among them
    code += "signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "sys.exit(cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "cache", str(manifest), "--size", "32", "--workers", "2"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)


def wait_until(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within 30 s")


def has_ended(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL]
)
def test_a_stopped_build_goes_on_and_leaves_no_process(tmp_path, slow_manifest, number, monkeypatch):
    build = start(slow_manifest)
    chunks = tmp_path / "cache"
    wait_until(lambda: len(list(chunks.glob("*.part/chunks/*.parquet"))) >= 2 or build.poll() is not None)
    # Ctrl-C reaches every process of a terminal
    (os.killpg if number == signal.SIGINT else os.kill)(build.pid, number)
    _, err = build.communicate(timeout=30)
    if number == signal.SIGKILL:
        assert build.returncode == -9
    else:
        assert build.returncode == 1, err
        assert "the same command goes on where it stopped" in err
        assert "Traceback" not in err
    wait_until(lambda: has_ended(build.pid))
    done = 4 * len(list(chunks.glob("*.part/chunks/*.parquet")))
    assert 8 <= done < 60
    decoded = []
    read = store_decode.read_pixels
    monkeypatch.setattr(store_decode, "read_pixels", lambda path: decoded.append(path.stem) or read(path))
    monkeypatch.setattr(store_build, "CHUNK", 4)
    manifest = Manifest.read(slow_manifest)
    store = ImageStore.open_or_build(manifest, size=32, folder=chunks, workers=1)
    assert decoded == [f"{row:03d}" for row in range(done, 60)]
    assert store.damaged_rows() == []
    assert all(np.array_equal(store.image(row), store.image(59)) for row in range(60))
    assert store.image(0).any()

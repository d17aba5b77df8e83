"""The store's promises beside geometry: what counts as complete, what it refuses, what it costs to pass on."""

import json
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from fx_monai.data import store_build, store_decode
from fx_monai.data.manifest import Classes, Manifest, Mask, Record
from fx_monai.data.store import ImageStore
from fx_monai.errors import ConfigError
from fx_monai.ops.masks import encode_coco_rle
from tests.builders import tiny_manifest


def with_masks(root, *masks, frame=(64, 64)):
    Image.new("L", frame, 90).save(root / "a.png")
    record = Record("d", "a", "a.png", *frame, masks=list(masks), masks_annotated=[0])
    return Manifest.from_records([record], dataset="d", classes=Classes(masks=("x", "y")), root=root)


def rle(mask):
    return json.dumps(encode_coco_rle(mask))


def block(x1, y1, x2, y2, side=64):
    mask = np.zeros((side, side), np.uint8)
    mask[y1:y2, x1:x2] = 1
    return mask


def crop(**changes):
    return json.dumps({"path": "m.png", "left": 0, "top": 0, "width": 20, "height": 10, **changes})


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (Mask(0, "file", "m.png"), "m.png: the mask is 20 x 10, the annotations are for 64 x 64"),
        (Mask(0, "file", "none.png"), "none.png"),
        (Mask(0, "file_crop", crop(left=50)), r"20 x 10 pixels at \(50, 0\) leave the frame"),
        (Mask(0, "file_crop", crop(top=-1)), r"at \(0, -1\) leave the frame"),
        (Mask(0, "file_crop", crop(width=40, height=20)), "the file is 20 x 10"),
        (Mask(0, "file_crop", '{"path": "m.png"}'), r"damaged data \(KeyError\)"),
        (Mask(0, "polygon", "[[1, 2"), r"damaged data \(JSONDecodeError\)"),
        (Mask(0, "coco_rle", rle(np.ones((10, 20), np.uint8))), "it is 20 x 10"),
        (Mask(0, "coco_rle", '{"size": [64, 64], "counts": "1"}'), "runs add up to 1"),
        (Mask(0, "bitmap", ""), "an unknown encoding"),
    ],
)
def test_bad_masks_are_listed(tmp_path, mask, reason):
    Image.new("L", (20, 10), 255).save(tmp_path / "m.png")
    store = ImageStore.open_or_build(with_masks(tmp_path, mask), size=32, folder=tmp_path / "s", skip_unreadable=True)
    ((image, found),) = store.unreadable
    assert image == "a"
    assert re.search(reason, found), found
    assert not store.valid.any()
    assert store.masks(0) == []


def test_pieces_of_a_class_are_one_mask(tmp_path):
    pieces = block(10, 10, 20, 30), block(30, 10, 44, 30)
    masks = [Mask(0, "coco_rle", rle(pieces[0])), Mask(1, "coco_rle", rle(block(0, 0, 8, 8)))]
    manifest = with_masks(tmp_path, *masks, Mask(0, "coco_rle", rle(pieces[1])))
    found = dict(ImageStore.open_or_build(manifest, size=64, folder=tmp_path / "s").masks(0))
    assert np.array_equal(found[0], pieces[0] | pieces[1])
    assert np.array_equal(found[1], block(0, 0, 8, 8))


def test_masks_belong_to_their_rows(tmp_path):
    manifest = tiny_manifest(tmp_path)
    store = ImageStore.open_or_build(manifest, size=64, folder=tmp_path / "s")
    for row in range(len(manifest)):
        expected = [(0, json.loads(mask.data)) for mask in manifest[row].masks]
        assert [(index, encode_coco_rle(mask)) for index, mask in store.masks(row)] == expected


def test_pickle_carries_no_pixels(tmp_path):
    store = ImageStore.open_or_build(tiny_manifest(tmp_path), size=512, folder=tmp_path / "s")
    sent = pickle.dumps(store)
    assert len(sent) < 12 * 512 * 512 / 10
    again = pickle.loads(sent)
    assert np.array_equal(again.image(3), store.image(3))
    assert np.array_equal(again.masks(0)[0][1], store.masks(0)[0][1])


def images(root, number):
    """Return a manifest of images that differ."""
    for i in range(number):
        Image.new("L", (32, 32), i + 1).save(root / f"{i:03d}.png")
    records = [Record("d", f"{i:03d}", f"{i:03d}.png", 32, 32) for i in range(number)]
    return Manifest.from_records(records, dataset="d", classes=Classes(), root=root)


def test_an_interrupted_build_goes_on_where_it_stopped(tmp_path, monkeypatch):
    def stop(done, total):
        if done > 10:
            raise KeyboardInterrupt

    monkeypatch.setattr(store_build, "CHUNK", 4)
    manifest, folder = images(tmp_path, 20), tmp_path / "s"
    with pytest.raises(KeyboardInterrupt):
        ImageStore.open_or_build(manifest, size=32, folder=folder, progress=stop)
    assert not list(folder.glob("*/store.json"))
    decoded = []
    real = store_decode.read_pixels
    monkeypatch.setattr(store_decode, "read_pixels", lambda path: decoded.append(path.stem) or real(path))
    store = ImageStore.open_or_build(manifest, size=32, folder=folder, workers=1)
    assert sorted(decoded) == [f"{i:03d}" for i in range(8, 20)]
    assert [int(store.image(row)[0, 0]) for row in range(20)] == list(range(1, 21))
    assert sorted(path.name for path in store.folder.iterdir()) == [
        "checksums.npy",
        "frames.npy",
        "images.npy",
        "masks.parquet",
        "store.json",
    ]


def test_a_chunk_whose_pixels_were_lost_is_decoded_again(tmp_path, monkeypatch):
    def stop(done, total):
        if done > 10:
            raise KeyboardInterrupt

    monkeypatch.setattr(store_build, "CHUNK", 4)
    manifest, folder = images(tmp_path, 20), tmp_path / "s"
    with pytest.raises(KeyboardInterrupt):
        ImageStore.open_or_build(manifest, size=32, folder=folder, progress=stop)
    (part,) = folder.glob("*.part")
    (part / "chunks/000000.parquet").write_bytes(b"cut")
    pixels = np.load(part / "images.npy", mmap_mode="r+")
    pixels[5] = 0
    pixels.flush()
    store = ImageStore.open_or_build(manifest, size=32, folder=folder)
    assert [int(store.image(row)[0, 0]) for row in range(20)] == list(range(1, 21))


def test_checksums_find_damaged_pixels(tmp_path):
    store = ImageStore.open_or_build(images(tmp_path, 5), size=32, folder=tmp_path / "s")
    assert store.damaged_rows() == []
    pixels = np.load(store.folder / "images.npy", mmap_mode="r+")
    pixels[3, 7, 7] ^= 1
    pixels.flush()
    assert ImageStore(store.folder).damaged_rows() == [3]


def test_sixteen_bits_keep_what_eight_lose(tmp_path):
    ramp = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    manifest = Manifest.from_records([Record("d", "a", "a.png", 32, 32)], dataset="d", classes=Classes(), root=tmp_path)
    fine = ImageStore.open_or_build(manifest, size=32, folder=tmp_path / "s", bits=16)
    coarse = ImageStore.open_or_build(manifest, size=32, folder=tmp_path / "s")
    assert np.array_equal(fine.image(0), ramp)
    assert np.array_equal(coarse.image(0), ramp >> 8)
    with pytest.raises(ConfigError, match=r"bits: 12\. Expected 8 or 16"):
        ImageStore.open_or_build(manifest, size=32, folder=tmp_path / "s", bits=12)


def test_another_builder_is_waited_for(tmp_path, monkeypatch):
    manifest, built = images(tmp_path, 6), []
    real = store_build._StoreBuild.run
    monkeypatch.setattr(store_build._StoreBuild, "run", lambda self, *a: built.append(1) or real(self, *a))
    with ThreadPoolExecutor(3) as pool:
        stores = list(pool.map(lambda _: ImageStore.open_or_build(manifest, size=32, folder=tmp_path / "s"), range(3)))
    assert len(built) == 1
    assert {store.folder for store in stores} == {stores[0].folder}


def test_store_of_another_fingerprint_is_rebuilt(tmp_path):
    manifest = tiny_manifest(tmp_path)
    folder = ImageStore.open_or_build(manifest, size=32, folder=tmp_path / "s").folder
    about = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps({**about, "fingerprint": "0"}))
    calls = []
    ImageStore.open_or_build(manifest, size=32, folder=tmp_path / "s", progress=lambda *at: calls.append(at))
    assert calls[-1] == (12, 12)
    assert json.loads((folder / "store.json").read_text()) == about


def test_a_changed_annotation_rebuilds(tmp_path):
    first, second = (with_masks(tmp_path, Mask(0, "coco_rle", rle(block(0, 0, n, n)))) for n in (8, 16))
    stores = [ImageStore.open_or_build(m, size=64, folder=tmp_path / "s") for m in (first, second)]
    assert [int(store.masks(0)[0][1].sum()) for store in stores] == [64, 256]

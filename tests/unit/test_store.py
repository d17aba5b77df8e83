"""The store's promises beside geometry: what counts as complete, what it refuses, what it costs to pass on."""

import json
import pickle
import re

import numpy as np
import pytest
from PIL import Image

from fx_monai.data.manifest import Classes, Manifest, Mask, Record
from fx_monai.data.store import ImageStore
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


def test_interrupted_build_leaves_nothing(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    manifest = tiny_manifest(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        ImageStore.open_or_build(manifest, size=32, folder=tmp_path / "s", progress=stop)
    assert list((tmp_path / "s").iterdir()) == []


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

"""Store, transforms, samples and loaders: geometry, unknown values, reproducibility."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from fx_monai.data.annotations import annotated_rows
from fx_monai.data.dataset import TaskDataset, collate, to_device
from fx_monai.data.letterbox import letterbox
from fx_monai.data.loader import TaskLoader, evaluation_batches
from fx_monai.data.manifest import Box, Classes, Manifest, Mask, Record
from fx_monai.data.store import ImageStore
from fx_monai.data.transforms import Augmentation, RandomGeometryd, RandomIntensity
from fx_monai.errors import ConfigError, DataError
from fx_monai.keys import BOX_LABELS, BOXES, IMAGE, MASKS, ROW, TEACHER_IMAGE
from fx_monai.ops.affine import letterbox_matrix
from fx_monai.ops.masks import encode_coco_rle
from fx_monai.types import Kind, Task, TaskSpec
from tests.builders import tiny_manifest

NO_ROWS = np.zeros(0, np.int64)
SPEC = {kind: TaskSpec(Task("tiny", kind), ("square",)) for kind in Kind}


@pytest.fixture
def tiny(tmp_path):
    manifest = tiny_manifest(tmp_path)
    return manifest, ImageStore.open_or_build(manifest, size=64, folder=tmp_path / "store")


def dataset(tiny, kind, **options):
    manifest, store = tiny
    return TaskDataset(manifest, store, SPEC[kind], annotated_rows(manifest, SPEC[kind]), **options)


def one_image(tmp_path, *, frame, file, box=None, masks=(), mask_files=()):
    """Return manifest and store of one bright rectangle in an image file of another size than the frame."""
    width, height = frame
    x1, y1, x2, y2 = box
    full = np.zeros((height, width), np.uint8)
    full[y1:y2, x1:x2] = 255
    Image.fromarray(full).resize(file, Image.Resampling.BOX).save(tmp_path / "a.png")
    record = Record(
        "d",
        "a",
        "a.png",
        width,
        height,
        boxes=[Box(x1, y1, x2, y2, 0)],
        boxes_annotated=[0],
        masks=list(masks),
        masks_annotated=[0],
    )
    manifest = Manifest.from_records(
        [record], dataset="d", classes=Classes(boxes=("square",), masks=("square",)), root=tmp_path
    )
    return manifest, ImageStore.open_or_build(manifest, size=64, folder=tmp_path / "s")


def bounds(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


@pytest.mark.parametrize("frame", [(200, 100), (100, 200), (128, 128), (1000, 900)])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_image_box_and_masks_agree_in_the_letterbox(tmp_path, frame, scale):
    width, height = frame
    box = (width // 4, height // 4, width // 2, 3 * height // 4)
    full = np.zeros((height, width), np.uint8)
    full[box[1] : box[3], box[0] : box[2]] = 1
    polygon = [[box[0], box[1], box[2], box[1], box[2], box[3], box[0], box[3]]]
    Image.fromarray(full * 255).save(tmp_path / "m.png")
    inner = full[box[1] : box[3], box[0] : box[2]] * 255
    Image.fromarray(inner).save(tmp_path / "c.png")
    crop = {"path": "c.png", "left": box[0], "top": box[1], "width": inner.shape[1], "height": inner.shape[0]}
    encodings = [
        ("coco_rle", json.dumps(encode_coco_rle(full))),
        ("polygon", json.dumps(polygon)),
        ("file", "m.png"),
        ("file_crop", json.dumps(crop)),
    ]
    file = (round(width * scale), round(height * scale))
    expected = np.array(box) * 64 / max(frame) + np.tile([(64 - 64 * s / max(frame)) / 2 for s in frame], 2)
    for name, data in encodings:
        folder = tmp_path / name
        folder.mkdir()
        for source in ("m.png", "c.png"):
            (folder / source).write_bytes((tmp_path / source).read_bytes())
        manifest, store = one_image(folder, frame=frame, file=file, box=box, masks=[Mask(0, name, data)])
        np.testing.assert_allclose(bounds(store.image(0) > 127), expected, atol=1)
        np.testing.assert_allclose(bounds(store.masks(0)[0][1]), expected, atol=1)
        spec = TaskSpec(Task("d", Kind.LOCALIZATION), ("square",))
        sample = TaskDataset(manifest, store, spec, np.array([0]))[0]
        np.testing.assert_allclose(sample[BOXES][0].numpy(), expected, atol=0.01)


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(rotation_deg=0, scale=0.3, translate=0.2),
        Augmentation(rotation_deg=0, scale=0, translate=0, flip=True),
        Augmentation(rotation_deg=4, scale=0.1, translate=0.1),
    ],
)
def test_one_warp_moves_image_box_and_mask_together(augmentation):
    image = np.zeros((64, 64), np.uint8)
    image[20:40, 12:30] = 255
    data = {
        IMAGE: image,
        BOXES: np.array([[12, 20, 30, 40]], np.float32),
        BOX_LABELS: np.array([0]),
        MASKS: (image > 0).astype(np.uint8)[None],
    }
    transform = RandomGeometryd(augmentation)
    for seed in range(8):
        out = transform.set_random_state(seed=seed)(data)
        seen = bounds(out[IMAGE] > 127)
        # the box of a turned square is the hull of its inscribed ellipse: a little smaller than the corners' hull
        np.testing.assert_allclose(bounds(out[MASKS][0]), seen, atol=1)
        np.testing.assert_allclose(out[BOXES][0], seen, atol=1 if augmentation.rotation_deg == 0 else 2.5)


def test_mirror_swaps_sides():
    transform = RandomGeometryd(Augmentation(flip=True), swap_boxes={0: 1, 1: 0}, swap_masks={0: 1, 1: 0})
    masks = np.zeros((2, 64, 64), np.uint8)
    masks[0, 10:50, 4:20] = 1
    data = {IMAGE: masks[0], MASKS: masks, BOXES: np.array([[4, 10, 20, 50]], np.float32), BOX_LABELS: np.array([0])}
    mirrored = [transform.set_random_state(seed=s)(data) for s in range(9)]
    assert {int(out[BOX_LABELS][0]) for out in mirrored} == {0, 1}
    for out in mirrored:
        label = int(out[BOX_LABELS][0])
        assert out[MASKS][label].any()
        assert not out[MASKS][1 - label].any()
        # class 1 lies at the right
        assert (out[BOXES][0, 0] > 30) == (label == 1)


def test_flip_is_refused_for_a_side_whose_mirror_image_is_no_class(tmp_path):
    manifest = Manifest.from_records([], dataset="d", classes=Classes(masks=("left lung", "lung r")), root=tmp_path)
    spec = TaskSpec(Task("d", Kind.SEGMENTATION), ("left lung", "lung r"))
    with pytest.raises(ConfigError, match="the class 'left lung' has a side"):
        TaskDataset(manifest, None, spec, NO_ROWS, augmentation=Augmentation(flip=True))
    pairs = (("left lung", "lung r"),)
    TaskDataset(manifest, None, spec, NO_ROWS, augmentation=Augmentation(flip=True), laterality=pairs)


def test_both_views_share_geometry_and_differ_in_intensity(tiny):
    sample = dataset(tiny, Kind.SEGMENTATION, augmentation=Augmentation(noise=0)).sample(0, 3)
    a, b = sample[IMAGE][0].numpy(), sample[TEACHER_IMAGE][0].numpy()
    assert not np.array_equal(a, b)
    # one grey value of one view is one grey value of the other: only a table lies between them
    inside = (a > 5) & (a < 250)
    assert max(np.ptp(b[inside & (a == v)].astype(int)) for v in np.unique(a[inside])) <= 6


def test_no_augmentation_strength_changes_nothing():
    image = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    off = Augmentation(rotation_deg=0, scale=0, translate=0, brightness=0, contrast=0, gamma=0, noise=0)
    assert np.array_equal(RandomIntensity(off)(image), image)
    assert np.array_equal(RandomGeometryd(off)({IMAGE: image})[IMAGE], image)


def test_rows_that_nobody_annotated_are_left_out(tmp_path):
    records = [
        Record("d", "0", "0.png", 9, 9, labels=[float("nan")], boxes_annotated=[]),
        Record("d", "1", "1.png", 9, 9, labels=[0.0], boxes_annotated=[0]),
        Record("d", "2", "2.png", 9, 9),
    ]
    classes = Classes(labels=("square",), boxes=("square",), masks=("square",))
    manifest = Manifest.from_records(records, dataset="d", classes=classes, root=tmp_path)
    found = {kind: annotated_rows(manifest, SPEC[kind]).tolist() for kind in Kind}
    assert found == {Kind.CLASSIFICATION: [1], Kind.LOCALIZATION: [1], Kind.SEGMENTATION: []}
    with pytest.raises(ConfigError, match=r"there is no class 'squares'\. Did you mean 'square'"):
        annotated_rows(manifest, TaskSpec(Task("d", Kind.LOCALIZATION), ("squares",)))


def test_batches_are_a_pure_function_of_seed_and_phase(tiny):
    data = dataset(tiny, Kind.LOCALIZATION, augmentation=Augmentation(), seed=5)
    loader = TaskLoader(data, batch_size=5, seed=5)
    again = TaskLoader(data, batch_size=5, seed=5, num_workers=1)
    assert loader.num_batches == 3
    whole = list(loader.batches(7, 5))
    for other in (list(again.batches(7, 5)), [*whole[:2], *loader.batches(7, 5, start=2)]):
        for a, b in zip(whole, other, strict=True):
            assert torch.equal(a[IMAGE], b[IMAGE])
            assert torch.equal(a[TEACHER_IMAGE], b[TEACHER_IMAGE])
            assert torch.equal(a[ROW], b[ROW])
            assert all(torch.equal(x, y) for x, y in zip(a[BOXES], b[BOXES], strict=True))
    rows = [row for batch in whole[:3] for row in batch[ROW].tolist()]
    assert sorted(rows) == list(range(12))
    other_phase = next(iter(loader.batches(8, 1)))
    assert not torch.equal(other_phase[IMAGE], whole[0][IMAGE])


def test_positive_fraction(tiny):
    loader = TaskLoader(dataset(tiny, Kind.LOCALIZATION), batch_size=4, seed=0, positive_fraction=0.75)
    rows = [row for batch in loader.batches(0, 3) for row in batch[ROW].tolist()]
    assert len(rows) == 12
    assert sum(row % 2 == 0 for row in rows) == 9


def test_evaluation_order_and_conversion(tiny):
    batches = list(evaluation_batches(dataset(tiny, Kind.CLASSIFICATION), 5))
    assert [b[ROW].tolist() for b in batches] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]
    assert batches[0][IMAGE].dtype == torch.uint8
    moved = to_device(batches[0], torch.device("cpu"))
    assert moved[IMAGE].dtype == torch.float32
    assert 0 <= moved[IMAGE].min() < moved[IMAGE].max() <= 1
    assert TEACHER_IMAGE not in moved


def test_collate_keeps_empty_boxes(tiny):
    data = dataset(tiny, Kind.LOCALIZATION)
    batch = collate([data[0], data[1]])
    assert [tuple(b.shape) for b in batch[BOXES]] == [(1, 4), (0, 4)]


def test_store_is_reused_until_something_changes(tmp_path):
    manifest = tiny_manifest(tmp_path)
    calls = []
    options = {"size": 32, "folder": tmp_path / "s", "progress": lambda done, total: calls.append(done)}
    ImageStore.open_or_build(manifest, **options)
    assert calls == list(range(1, 13))
    ImageStore.open_or_build(manifest, **options)
    assert len(calls) == 12
    Image.new("L", (64, 64), 7).save(tmp_path / "images" / "000.png")
    changed = ImageStore.open_or_build(manifest, **options)
    assert len(calls) == 24
    assert (changed.image(0) == 7).all()
    assert not list((tmp_path / "s").glob("*.part*"))


def test_unreadable_images_are_all_listed(tmp_path):
    manifest = tiny_manifest(tmp_path)
    (tmp_path / "images" / "001.png").write_bytes(b"")
    (tmp_path / "images" / "002.png").unlink()
    Image.new("L", (64, 32)).save(tmp_path / "images" / "003.png")
    with pytest.raises(DataError) as error:
        ImageStore.open_or_build(manifest, size=32, folder=tmp_path / "s")
    assert "3 of 12 can't be used" in str(error.value)
    assert "the image is 64 x 32, the annotations are for 64 x 64" in str(error.value)
    store = ImageStore.open_or_build(manifest, size=32, folder=tmp_path / "s", skip_unreadable=True)
    assert np.flatnonzero(~store.valid).tolist() == [1, 2, 3]


def test_letterbox_keeps_the_mean_of_fine_patterns():
    checker = (np.indices((512, 512)).sum(0) % 2 * 255).astype(np.uint8)
    assert abs(letterbox(checker, 64).mean() - 127.5) < 1
    np.testing.assert_allclose(letterbox_matrix(200, 100, 50), [[0.25, 0, 0], [0, 0.25, 12.5]])


@pytest.mark.parametrize("field", ["rotation_deg", "scale", "noise"])
def test_augmentation_limits(field):
    with pytest.raises(ConfigError, match=f"augmentation.{field}: -1"):
        Augmentation(**{field: -1})

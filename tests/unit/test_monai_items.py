"""A manifest in MONAI's own datasets and transforms gives what the image store and its loader give."""

import json

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, LoadImaged
from PIL import Image

from fx_monai.data.dataset import TaskDataset
from fx_monai.data.items import ManifestItems
from fx_monai.data.manifest import Box, Classes, Manifest, Mask, Record
from fx_monai.data.policies import Policies
from fx_monai.data.store import ImageStore
from fx_monai.data.transforms import (
    Augmentation,
    Letterboxd,
    RadiographReader,
    RandomGeometryd,
    RasteriseMasksd,
    TwoViewsd,
)
from fx_monai.errors import DataError
from fx_monai.keys import (
    BOX_LABELS,
    BOXES,
    BOXES_ANNOTATED,
    FRAME,
    IMAGE,
    IMAGE_ID,
    LABELS,
    MASKS,
    MASKS_ANNOTATED,
    ROW,
)
from fx_monai.ops.masks import encode_coco_rle
from fx_monai.types import Kind, Task, TaskSpec
from tests.dicom_builder import dicom_file

SIDE = 64
POLYGON = "[[5, 5, 60, 5, 60, 70, 5, 70]]"
KEYS = {
    Kind.CLASSIFICATION: {LABELS},
    Kind.LOCALIZATION: {BOXES, BOX_LABELS, BOXES_ANNOTATED},
    Kind.SEGMENTATION: {MASKS, MASKS_ANNOTATED},
}


def spec(kind):
    return TaskSpec(Task("d", kind), ("b", "a"))


@pytest.fixture
def manifest(tmp_path):
    """Return a wide image, a scaled copy of a tall one, and a lateral view; uncertain labels; classes out of order."""
    generator = np.random.default_rng(0)
    records = []
    for number, ((width, height), scale, view) in enumerate(
        [((160, 96), 1, "PA"), ((100, 200), 0.5, ""), ((80, 80), 1, "LATERAL")]
    ):
        pixels = generator.integers(0, 256, (int(height * scale), int(width * scale))).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        mask = np.zeros((height, width), np.uint8)
        mask[20:60, 10:50] = 1
        encoded = [
            Mask(0, "coco_rle", json.dumps(encode_coco_rle(mask))),
            Mask(1, "polygon", "[[5, 5, 60, 5, 60, 70, 5, 70]]"),
        ]
        records.append(
            Record("d", str(number), f"{number}.png", width, height, view=view, labels=[1.0, -1.0],
                   boxes=[Box(10, 20, 50, 60, 0), Box(5, 5, 60, 70, 1)], boxes_annotated=[0, 1],
                   masks=encoded, masks_annotated=[0, 1])
        )  # fmt: skip
    names = ("a", "b")
    return Manifest.from_records(records, dataset="d", classes=Classes(names, names, names), root=tmp_path)


def load(*more, bits=8):
    dtype = np.uint8 if bits == 8 else np.float32
    return [LoadImaged(IMAGE, reader=RadiographReader(bits), dtype=dtype, ensure_channel_first=True), *more]


@pytest.mark.parametrize("kind", list(Kind))
def test_the_chain_of_transforms_equals_the_store(tmp_path, manifest, kind):
    policies = Policies(uncertain="ones")
    items = ManifestItems(manifest, spec(kind), policies=policies)
    # the lateral view isn't used
    assert items.rows.tolist() == [0, 1]
    store = ImageStore.open_or_build(manifest, size=SIDE, folder=tmp_path / "store")
    reference = TaskDataset(manifest, store, spec(kind), items.rows, policies=policies)
    rasterise = [RasteriseMasksd(manifest.root)] if kind is Kind.SEGMENTATION else []
    found = Dataset(items, Compose(load(*rasterise, Letterboxd(SIDE))))
    for position in range(2):
        sample, expected = found[position], reference[position]
        assert sample.keys() == expected.keys() | {IMAGE_ID}
        assert isinstance(sample[IMAGE], MetaTensor)
        for key in KEYS[kind] | {IMAGE, ROW}:
            np.testing.assert_array_equal(np.asarray(sample[key]), expected[key].numpy(), err_msg=key)


def test_augmented_samples_equal_those_of_the_loader(tmp_path, manifest):
    store = ImageStore.open_or_build(manifest, size=SIDE, folder=tmp_path / "store")
    augmentation = Augmentation()
    own = TaskDataset(manifest, store, spec(Kind.LOCALIZATION), np.arange(2), augmentation=augmentation, seed=5)
    geometry, views = RandomGeometryd(augmentation), TwoViewsd(augmentation)
    chain = Compose(load(Letterboxd(SIDE), geometry, views))
    items = ManifestItems(manifest, spec(Kind.LOCALIZATION))
    for position in range(2):
        seeds = np.random.SeedSequence([5, 7, position]).generate_state(2)
        geometry.set_random_state(seed=int(seeds[0]))
        views.set_random_state(seed=int(seeds[1]))
        sample, expected = chain(items[position]), own.sample(position, 7)
        for key in expected:
            np.testing.assert_array_equal(np.asarray(sample[key]), expected[key].numpy(), err_msg=key)


def test_monai_loads_batches_and_caches(manifest):
    items = ManifestItems(manifest, spec(Kind.SEGMENTATION))
    chain = load(
        RasteriseMasksd(manifest.root), Letterboxd(SIDE), RandomGeometryd(Augmentation()), TwoViewsd(Augmentation())
    )
    for dataset in (Dataset(items, Compose(chain)), CacheDataset(items, Compose(chain), progress=False)):
        (batch,) = DataLoader(dataset, batch_size=2)
        assert batch[IMAGE].shape == (2, 1, SIDE, SIDE)
        assert batch[IMAGE].dtype == batch[MASKS].dtype == torch.uint8
        assert batch[MASKS].flatten(2).any(-1).all()


def test_items_are_made_when_asked_for_and_slice(manifest):
    items = ManifestItems(manifest, spec(Kind.LOCALIZATION))
    assert [item[IMAGE_ID] for item in items[:]] == ["0", "1"]
    assert items[-1][FRAME] == (100, 200)
    # classes in the order of the task, corners in pixels of the frame
    assert items[0][BOX_LABELS].tolist() == [1, 0]
    assert items[0][BOXES].tolist() == [[10, 20, 50, 60], [5, 5, 60, 70]]
    with pytest.raises(IndexError):
        items[2]


@pytest.mark.parametrize(("bits", "highest"), [(8, 255), (16, 65535)])
def test_dicom_is_read_upright_with_its_spacing(tmp_path, bits, highest):
    ramp = np.tile(np.linspace(0, 4095, 40).astype(np.uint16), (20, 1))
    dicom_file(tmp_path / "a.dcm", ramp, PixelSpacing=[0.2, 0.1])
    image = Compose(load(bits=bits))({IMAGE: str(tmp_path / "a.dcm")})[IMAGE]
    assert image.shape == (1, 20, 40)
    assert (int(image.min()), int(image.max())) == (0, highest)
    assert np.diag(image.affine).tolist()[:2] == [0.2, 0.1]
    # 40 pixels of 0.1 mm become 10 of 0.4 mm
    small = Letterboxd(10)({IMAGE: image})[IMAGE]
    assert small.shape == (1, 10, 10)
    np.testing.assert_allclose(np.abs(np.diag(small.affine))[:2], [0.8, 0.4])


def test_several_files_for_one_image_are_refused(manifest):
    with pytest.raises(DataError, match="2 files for one image"):
        RadiographReader().read(["a.png", "b.png"])

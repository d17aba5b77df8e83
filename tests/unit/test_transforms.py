"""The transforms as MONAI transforms, and what a mirror image does to classes."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from scipy.ndimage import center_of_mass
from scipy.stats import kurtosis

from fx_monai.data.transforms import Augmentation, RandomGeometryd, RandomIntensity, TwoViewsd
from fx_monai.errors import ConfigError
from fx_monai.keys import BOX_LABELS, BOXES, BOXES_ANNOTATED, IMAGE, LABELS, MASKS, MASKS_ANNOTATED, TEACHER_IMAGE

SWAP = {0: 1, 1: 0}
NOISY = Augmentation(noise=0.1)
IMAGE_64 = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)


def test_compose_seeds_every_draw():
    def run(seed):
        chain = Compose([RandomGeometryd(Augmentation()), TwoViewsd(Augmentation())])
        return chain.set_random_state(seed=seed)({IMAGE: IMAGE_64})

    first, again, other = run(3), run(3), run(4)
    for key in (IMAGE, TEACHER_IMAGE):
        assert np.array_equal(first[key], again[key])
        assert not np.array_equal(first[key], other[key])


def test_inputs_are_left_alone():
    data = {IMAGE: IMAGE_64.copy(), MASKS: np.ones((1, 64, 64), np.uint8), LABELS: np.array([1.0, 0.0])}
    chain = Compose([RandomGeometryd(Augmentation(flip=True), swap_labels=SWAP), TwoViewsd(Augmentation())])
    for seed in range(4):
        chain.set_random_state(seed=seed)(data)
    assert np.array_equal(data[IMAGE], IMAGE_64)
    assert data[MASKS].all()
    assert data[LABELS].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("mirrored", [False, True])
def test_mirror_swaps_labels_and_what_was_looked_for(mirrored):
    # only the left class is known: in the mirror image only the right one is, or the empty left one would be a negative
    transform = RandomGeometryd(Augmentation(flip=True), swap_boxes=SWAP, swap_masks=SWAP, swap_labels=SWAP)
    left = np.zeros((3, 64, 64), np.uint8)
    left[0, 10:50, 4:20] = 1
    data = {
        IMAGE: IMAGE_64,
        LABELS: np.array([1.0, np.nan, 0.25]),
        BOXES: np.array([[4, 10, 20, 50]], np.float32),
        BOX_LABELS: np.array([0]),
        BOXES_ANNOTATED: np.array([True, False, True]),
        MASKS: left,
        MASKS_ANNOTATED: np.array([True, False, False]),
    }
    seeds = [s for s in range(20) if transform.set_random_state(seed=s)(data) and transform.mirrored is mirrored]
    out = transform.set_random_state(seed=seeds[0])(data)
    known, unknown = (1, 0) if mirrored else (0, 1)
    assert out[LABELS][known] == 1
    assert np.isnan(out[LABELS][unknown])
    assert out[LABELS][2] == 0.25
    assert out[BOX_LABELS].tolist() == [known]
    assert out[BOXES_ANNOTATED][[known, unknown, 2]].tolist() == [True, False, True]
    assert out[MASKS_ANNOTATED][[known, unknown, 2]].tolist() == [True, False, False]
    assert out[MASKS][known].any()
    assert not out[MASKS][unknown].any()


def as_types(array):
    return {"numpy": array, "torch": torch.from_numpy(array.copy()), "meta": MetaTensor(array.copy(), meta={"id": 7})}


@pytest.mark.parametrize("kind", ["torch", "meta"])
def test_tensors_give_what_arrays_give_in_their_own_type(kind):
    masks = (IMAGE_64[None] > 99).astype(np.uint8)
    boxes, labels = np.array([[4, 10, 20, 50], [0, 0, 2, 2]], np.float32), np.array([0, 1])
    arrays = {IMAGE: IMAGE_64[None], MASKS: masks, BOXES: boxes, BOX_LABELS: labels, LABELS: np.array([1.0, np.nan])}
    chain = Compose([RandomGeometryd(Augmentation(flip=True), swap_boxes=SWAP, swap_labels=SWAP), TwoViewsd(NOISY)])
    for seed in range(4):
        expected = chain.set_random_state(seed=seed)(arrays)
        found = chain.set_random_state(seed=seed)({key: as_types(value)[kind] for key, value in arrays.items()})
        for key, value in expected.items():
            assert type(found[key]) is (MetaTensor if kind == "meta" else torch.Tensor), key
            assert found[key].dtype == torch.from_numpy(value).dtype
            np.testing.assert_array_equal(found[key].numpy(), value, err_msg=key)
    if kind == "meta":
        assert found[IMAGE].meta["id"] == 7


@pytest.mark.parametrize("size", [3, 4])
def test_the_affine_of_a_metatensor_follows_the_image(size):
    # a dot: its place in the world stays where it was
    image = np.zeros((1, 64, 64), np.float32)
    image[0, 20:23, 40:43] = 1
    affine = torch.eye(size, dtype=torch.float64)
    affine[0, 0], affine[1, 1], affine[0, -1] = 0.2, 0.3, 5
    for seed in range(5):
        chain = RandomGeometryd(Augmentation(flip=True, rotation_deg=20)).set_random_state(seed=seed)
        out = chain({IMAGE: MetaTensor(image, affine=affine)})[IMAGE]
        place = np.zeros(size)
        place[-1] = 1
        place[:2] = center_of_mass(out[0].numpy())
        np.testing.assert_allclose((out.affine.numpy() @ place)[:2], [21 * 0.2 + 5, 41 * 0.3], atol=0.02)


@pytest.mark.parametrize(("dtype", "highest"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_noise_is_normal_independent_and_unbiased(dtype, highest):
    grey = np.full((2, 256, 256), 0.5 * highest).astype(dtype)
    transform = RandomIntensity(Augmentation(brightness=0, contrast=0, gamma=0, noise=0.1)).set_random_state(seed=0)
    noise = (transform(grey).astype(np.float64) - grey) / highest
    assert transform.noise > 0.02
    assert abs(noise.std() / transform.noise - 1) < 0.01
    assert abs(noise.mean()) < 4 * transform.noise / np.sqrt(noise.size)
    assert abs(kurtosis(noise.ravel())) < 0.25
    beside = [np.corrcoef(noise[0].ravel(), np.roll(noise[0], 1, axis).ravel())[0, 1] for axis in (0, 1)]
    assert np.abs([*beside, np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]]).max() < 0.02


def test_all_depths_are_varied_alike():
    images = {np.uint8: IMAGE_64, np.uint16: IMAGE_64.astype(np.uint16) * 257, np.float32: IMAGE_64.astype("f4") / 255}
    results = []
    for dtype, image in images.items():
        varied = RandomIntensity(NOISY).set_random_state(seed=3)(image)
        assert varied.dtype == dtype
        results.append(varied / (1 if dtype == np.float32 else np.iinfo(dtype).max))
    np.testing.assert_allclose(results[0], results[2], atol=0.005)
    np.testing.assert_allclose(results[1], results[2], atol=0.0001)


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"RandomGeometryd, 'image': the image is 20 x 10.*Letterboxd"):
        RandomGeometryd(Augmentation())({IMAGE: np.zeros((10, 20), np.uint8)})
    with pytest.raises(ConfigError, match="the image is int32"):
        RandomIntensity(Augmentation())(np.zeros((4, 4), np.int32))

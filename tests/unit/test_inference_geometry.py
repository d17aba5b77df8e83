"""Masks lie on what they mark, in every format: an asymmetric image, compared in mm with an independent reader."""

import cv2
import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from fx_monai.inference.interpret import mask_in
from fx_monai.inference.output_kinds import Output
from fx_monai.inference.outputs import write_outputs
from fx_monai.inference.source import read_source
from fx_monai.ops.affine import letterbox_matrix, warp
from tests.builders import metaimage
from tests.inference_builders import Threshold, corner, network, radiograph


@pytest.fixture(scope="module")
def predictor():
    return Threshold(network())


def nifti(path, affine):
    nib.save(nib.Nifti1Image(corner().T[..., None], affine), path)
    return path


def png(path):
    Image.fromarray(corner()).save(path)
    return path


OBLIQUE = np.array([[0.0, -0.5, 0, 10], [0.3, 0, 0, -20], [0, 0, 2.0, 30], [0, 0, 0, 1]])
SOURCES = {
    "png": png,
    "dicom": lambda path: radiograph(path, ImagerPixelSpacing=[0.2, 0.3]),
    "dicom without spacing": radiograph,
    "nifti": lambda path: nifti(path, np.diag([-0.3, -0.2, 1, 1])),
    "oblique nifti": lambda path: nifti(path, OBLIQUE),
    "metaimage": lambda path: (
        metaimage(
            path,
            corner()[None],
            NDims=3,
            DimSize="64 48 1",
            ElementSpacing="0.3 0.2 1",
            Offset="5 -7 2",
            TransformMatrix="0 1 0 -1 0 0 0 0 1",
        )
        or path
    ),
}
SUFFIX = {"png": ".png", "dicom": ".dcm", "nifti": ".nii.gz", "metaimage": ".mha"}


@pytest.mark.parametrize("kind", list(SOURCES))
def test_the_mask_marks_the_bright_corner(predictor, tmp_path, kind):
    path = tmp_path / f"image{SUFFIX[kind.split()[0 if 'oblique' not in kind else 1]]}"
    SOURCES[kind](path)
    source = read_source(path, any_image=True)
    prediction = predictor.predict_batch([source])[0]
    write_outputs(prediction, source, name="x", folder=tmp_path, outputs=(Output.MASKS, Output.NIFTI))
    # stretching a 16-bit image may move the threshold, not the place
    bright = corner() > 120
    with Image.open(tmp_path / "x_mask_montgomery_left-lung.png") as mask:
        assert np.mean((np.asarray(mask) > 0) != bright) < 0.03
    mask = SimpleITK.ReadImage(str(tmp_path / "x_mask_montgomery_left-lung.nii.gz"))
    image = SimpleITK.ReadImage(str(path))
    if image.GetDimension() == 2:
        image = SimpleITK.JoinSeries(image)
    values = SimpleITK.GetArrayFromImage(mask)[0]
    assert np.mean((values > 0) != bright) < 0.03
    # the same index is the same place
    for index in ((0, 0, 0), (60, 3, 0), (5, 40, 0)):
        np.testing.assert_allclose(
            mask.TransformIndexToPhysicalPoint(index), image.TransformIndexToPhysicalPoint(index), atol=1e-4
        )


def test_box_and_area_are_in_pixels_and_mm_of_the_source(predictor, tmp_path):
    prediction = predictor.predict(radiograph(tmp_path / "x.dcm", PixelSpacing=[0.2, 0.3]), any_image=True)
    (box,) = prediction.boxes
    # the left half of the 64 x 48 image
    assert (box.x1, box.y1, box.x2, box.y2) == (0, 0, 32, 48)
    assert (box.width_mm, box.height_mm) == pytest.approx((9.6, 9.6))
    left = prediction.masks[0]
    assert left.area_px == pytest.approx(16 * 24, rel=0.1)
    assert left.area_mm2 == pytest.approx(left.area_px * 0.06)


@pytest.mark.parametrize("seed", range(6))
def test_resampling_a_part_of_the_mask_gives_what_the_whole_gives(seed):
    generator = np.random.default_rng(seed)
    width, height = generator.integers(20, 90, 2).tolist()
    probabilities = np.zeros((32, 32), np.float32)
    x, y = generator.integers(0, 28, 2)
    probabilities[y : y + generator.integers(1, 9), x : x + generator.integers(1, 9)] = generator.uniform(0.4, 1)
    to_source = cv2.invertAffineTransform(letterbox_matrix(width, height, 32))
    whole = warp(probabilities, to_source, (width, height)) > 0.5
    np.testing.assert_array_equal(mask_in(probabilities, to_source, width, height), whole)

"""Formats of single data sets: MetaImage, NIfTI, JSRT raw, GIF, and what pictures hide."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from fx_monai.data.pixels import image_size, is_image_name, read_pixels
from fx_monai.errors import DataError
from tests.builders import metaimage

RAMP = np.arange(6 * 10, dtype=np.uint16).reshape(6, 10) * 50


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
def test_metaimage_agrees_with_simpleitk(tmp_path, compressed, dtype):
    sitk = pytest.importorskip("SimpleITK")
    values = (RAMP // 20).astype(dtype)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "a.mha"), compressed)
    pixels = read_pixels(tmp_path / "a.mha")
    assert image_size(tmp_path / "a.mha") == (10, 6)
    expected = values if dtype == "u1" else np.round(values.astype(float) * 65535 / values.max())
    assert np.array_equal(pixels, expected)


def test_metaimage_header_variants(tmp_path):
    plain = read_pixels(metaimage(tmp_path / "a.mha", RAMP))
    big = metaimage(tmp_path / "b.mha", RAMP.astype(">u2"), BinaryDataByteOrderMSB=True)
    assert np.array_equal(read_pixels(big), plain)
    slice_of_one = metaimage(tmp_path / "c.mha", RAMP, NDims=3, DimSize="10 6 1")
    assert np.array_equal(read_pixels(slice_of_one), plain)
    head, data = (tmp_path / "a.mha").read_bytes().split(b"LOCAL\n")
    (tmp_path / "d.mhd").write_bytes(head + b"d.raw\n")
    (tmp_path / "d.raw").write_bytes(data)
    assert np.array_equal(read_pixels(tmp_path / "d.mhd"), plain)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"DimSize": "10 6 2", "NDims": 3}, "the size is '10 6 2', not one slice"),
        ({"ElementNumberOfChannels": 3}, "3 channels"),
        ({"ElementType": "MET_STRING"}, "type 'MET_STRING'"),
        ({"DimSize": "10 7"}, "120 bytes of pixels instead of 140"),
        ({"DimSize": "10"}, "not one slice"),
        ({"DimSize": "30000 30000"}, "30000 x 30000 pixels. Expected at most 200 megapixels"),
    ],
)
def test_metaimages_that_are_no_grey_picture_are_told(tmp_path, fields, message):
    with pytest.raises(DataError, match=message):
        read_pixels(metaimage(tmp_path / "a.mha", RAMP, **fields))


def test_damaged_metaimages_are_told(tmp_path):
    path = metaimage(tmp_path / "a.mha", RAMP, compressed=True)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"a.mha: \d+ bytes of pixels instead of 120"):
        read_pixels(path)
    path.write_bytes(b"\x00" * 500)
    with pytest.raises(DataError, match="the header has no ElementDataFile"):
        read_pixels(path)
    path.write_bytes(whole.replace(b"LOCAL", b"../other.raw"))
    with pytest.raises(DataError, match="one file beside it"):
        read_pixels(path)
    # unpacks to far more than its header says
    big = metaimage(tmp_path / "b.mha", np.zeros((500, 500), np.uint16), compressed=True, DimSize="10 6")
    with pytest.raises(DataError, match="121 bytes of pixels instead of 120"):
        read_pixels(big)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_rows_are_the_second_axis(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    nib.save(nib.Nifti1Image(RAMP.T[..., None], np.diag([-1, -1, 1, 1])), path)
    assert image_size(path) == (10, 6)
    assert np.array_equal(read_pixels(path), np.round(RAMP.astype(float) * 65535 / RAMP.max()))
    assert is_image_name(path)


def test_nifti_volumes_and_damage_are_told(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 3), np.uint8), np.eye(4)), tmp_path / "v.nii.gz")
    with pytest.raises(DataError, match="the size is 4 x 4 x 3, not one slice"):
        read_pixels(tmp_path / "v.nii.gz")
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(b"no image" * 100))
    with pytest.raises(DataError, match="unreadable"):
        read_pixels(tmp_path / "x.nii.gz")


def test_jsrt_is_big_endian_inverted_and_clipped(tmp_path):
    values = np.full((2048, 2048), 4095, ">u2")
    values[0, :4] = [0, 100, 4095, 5000]
    (tmp_path / "JPCLN001.IMG").write_bytes(values.tobytes())
    assert image_size(tmp_path / "JPCLN001.IMG") == (2048, 2048)
    pixels = read_pixels(tmp_path / "JPCLN001.IMG")
    assert pixels[0, :4].tolist() == [65535, round(3995 / 4095 * 65535), 0, 0]
    (tmp_path / "cut.IMG").write_bytes(values.tobytes()[:-2])
    with pytest.raises(DataError, match="the file has 8388606 bytes, a JSRT image has 8388608"):
        read_pixels(tmp_path / "cut.IMG")


def test_gif_masks_with_a_palette_and_no_animations(tmp_path):
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5] = 255
    Image.fromarray(mask).convert("P").save(tmp_path / "m.gif")
    assert np.array_equal(read_pixels(tmp_path / "m.gif") > 0, mask > 0)
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (0, 255)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="the file has 2 frames"):
        read_pixels(tmp_path / "a.gif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpegs_are_turned_as_a_viewer_turns_them(tmp_path, orientation):
    grey = np.zeros((16, 32), np.uint8)
    grey[:8, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(grey).save(tmp_path / "a.jpg", exif=exif, quality=95)
    pixels = read_pixels(tmp_path / "a.jpg")
    assert image_size(tmp_path / "a.jpg") == pixels.shape[::-1]
    turned = {1: grey, 2: grey[:, ::-1], 3: grey[::-1, ::-1], 4: grey[::-1], 5: grey.T}
    turned |= {6: np.rot90(grey, -1), 7: np.rot90(grey.T, 2), 8: np.rot90(grey)}
    assert np.abs(pixels.astype(int) - turned[orientation]).max() < 20


def test_floating_point_pictures(tmp_path):
    nib.save(nib.Nifti1Image(np.array([[-1.0, 0.0], [0.5, 1.0]], np.float32), np.eye(4)), tmp_path / "a.nii")
    assert read_pixels(tmp_path / "a.nii").tolist() == [[0, 49151], [32768, 65535]]
    nib.save(nib.Nifti1Image(np.array([[np.nan, 0.0]], np.float32), np.eye(4)), tmp_path / "b.nii")
    with pytest.raises(DataError, match="values that are not finite"):
        read_pixels(tmp_path / "b.nii")

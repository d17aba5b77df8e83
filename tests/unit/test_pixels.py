import numpy as np
import pytest
from PIL import Image

from fx_monai.data.pixels import image_size, pixel_spacing_mm, read_pixels, to_uint8
from fx_monai.errors import DataError
from tests.dicom_builder import dicom_file

RAMP = np.tile(np.arange(0, 64, dtype=np.uint16) * 16, (8, 1))


def dicom(path, pixels=RAMP, **tags):
    return dicom_file(path, pixels, **tags)


def test_dicom_is_stretched_and_never_transposed(tmp_path):
    pixels = read_pixels(dicom(tmp_path / "a.dcm"))
    assert pixels.shape == (8, 64)
    assert pixels.dtype == np.uint16
    assert (pixels[0, 0], pixels[0, -1]) == (0, 65535)
    assert image_size(tmp_path / "a.dcm") == (64, 8)


def test_monochrome1_is_inverted_once(tmp_path):
    one = read_pixels(dicom(tmp_path / "1.dcm", RAMP.max() - RAMP, PhotometricInterpretation="MONOCHROME1"))
    two = read_pixels(dicom(tmp_path / "2.dcm"))
    assert np.abs(one.astype(int) - two).max() <= 1


def test_window_is_applied(tmp_path):
    pixels = read_pixels(dicom(tmp_path / "w.dcm", WindowCenter=512, WindowWidth=256))
    assert (pixels[0, :20] == 0).all()
    assert (pixels[0, 44:] == 65535).all()
    assert 0.3 < pixels[0, 32] / 65535 < 0.7


def test_rescale_is_applied(tmp_path):
    plain = read_pixels(dicom(tmp_path / "a.dcm"))
    scaled = read_pixels(dicom(tmp_path / "b.dcm", RescaleSlope=2, RescaleIntercept=-100))
    assert np.abs(plain.astype(int) - scaled).max() <= 1


@pytest.mark.parametrize(
    ("spacing", "expected"), [([0.2, 0.1], (0.1, 0.2)), ([0, 0], None), ([99, 99], None), (None, None)]
)
def test_spacing_is_x_then_y_and_absurd_is_unknown(tmp_path, spacing, expected):
    path = dicom(tmp_path / "s.dcm", **({"PixelSpacing": spacing} if spacing else {}))
    assert pixel_spacing_mm(path) == expected


def test_pictures_of_all_modes(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(grey)
    image.save(tmp_path / "l.png")
    for mode in ("RGB", "RGBA", "LA"):
        image.convert(mode).save(tmp_path / f"{mode}.png")
        assert np.array_equal(read_pixels(tmp_path / f"{mode}.png"), grey), mode
    image.convert("P").save(tmp_path / "p.png")
    assert np.array_equal(read_pixels(tmp_path / "p.png"), grey)
    # a palette in falling order: the numbers in the file are not the grey values (Shenzhen)
    falling = Image.fromarray(255 - grey, "P")
    falling.putpalette(np.repeat(np.arange(255, -1, -1, dtype=np.uint8), 3).tobytes())
    falling.save(tmp_path / "falling.png")
    assert np.array_equal(read_pixels(tmp_path / "falling.png"), grey)
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    deep = read_pixels(tmp_path / "16.png")
    assert deep.dtype == np.uint16
    assert np.array_equal(to_uint8(deep), grey)
    image.save(tmp_path / "j.jpg", quality=95)
    assert np.abs(read_pixels(tmp_path / "j.jpg").astype(int) - grey).max() < 12


def test_unreadable_files_are_named(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.dcm").write_text("not a DICOM")
    whole = dicom(tmp_path / "whole.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:-200])
    dicom(tmp_path / "frames.dcm", np.stack([RAMP, RAMP]), NumberOfFrames=2)
    for name in ("empty.png", "text.dcm", "cut.dcm", "frames.dcm", "absent.png"):
        with pytest.raises(DataError, match=name):
            read_pixels(tmp_path / name)


def test_huge_images_are_refused_before_decoding(tmp_path):
    path = dicom(tmp_path / "big.dcm")
    import pydicom

    data = pydicom.dcmread(path)
    data.Rows = data.Columns = 20_000
    data.save_as(path)
    with pytest.raises(DataError, match="20000 x 20000 pixels. Expected at most 200 megapixels"):
        read_pixels(path)


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", False),
        ("MONOCHROME2", None, False),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
    ],
)
def test_presentation_lut_shape_decides_before_the_photometric_interpretation(tmp_path, photometric, shape, inverted):
    tags = {"PresentationLUTShape": shape} if shape else {}
    pixels = read_pixels(dicom(tmp_path / "a.dcm", PhotometricInterpretation=photometric, **tags))
    assert (pixels[0, 0] > pixels[0, -1]) == inverted


def test_a_constant_dicom_is_black(tmp_path):
    assert not read_pixels(dicom(tmp_path / "a.dcm", np.full((4, 6), 7, np.uint16))).any()


def test_twelve_bits_in_a_16_bit_file_fill_the_range(tmp_path):
    Image.fromarray(np.array([[0, 1, 2048, 4095]], np.uint16)).save(tmp_path / "a.png")
    pixels = read_pixels(tmp_path / "a.png")
    assert pixels[0].tolist() == [0, 16, 32776, 65535]
    assert to_uint8(pixels)[0].tolist() == [0, 0, 128, 255]


def test_a_16_bit_mask_keeps_what_is_inside(tmp_path):
    mask = np.array([[0, 1], [1, 1]], np.uint16)
    Image.fromarray(mask).save(tmp_path / "m.png")
    assert np.array_equal(read_pixels(tmp_path / "m.png") > 0, mask > 0)


def test_sizes_of_broken_files_are_refused_too(tmp_path):
    Image.new("L", (9, 5)).save(tmp_path / "a.png")
    assert image_size(tmp_path / "a.png") == (9, 5)
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.dcm").write_bytes(b"")
    for name in ("text.png", "empty.dcm", "absent.dcm"):
        with pytest.raises(DataError, match=name):
            image_size(tmp_path / name)


def test_cut_pictures_and_empty_files_are_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    for name in ("a.png", "a.jpg"):
        Image.fromarray(noise).save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=f"{name}: unreadable"):
            read_pixels(tmp_path / name)
    (tmp_path / "e.dcm").write_bytes(b"")
    with pytest.raises(DataError, match=r"e.dcm: the file is empty"):
        read_pixels(tmp_path / "e.dcm")


def test_a_decompression_bomb_is_refused(tmp_path):
    Image.new("L", (40, 40)).save(tmp_path / "b.png")
    with pytest.raises(DataError, match="the image has 40 x 40 pixels"):
        read_pixels(tmp_path / "b.png", max_pixels=1000)

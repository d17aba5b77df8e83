"""DICOM as archives write it: transfer syntaxes, bit depths, look-up tables, windows, padding, colour."""

import gdcm
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from fx_monai.data.formats import dicom
from fx_monai.data.pixels import image_size, read_header, read_pixels
from fx_monai.errors import DataError
from tests.dicom_builder import dicom_file

RAMP = np.tile(np.arange(0, 64, dtype=np.uint16) * 16, (40, 1))


def write(path, pixels=RAMP, **tags):
    return dicom_file(path, pixels, **tags)


def rewrite(path, target, change):
    data = pydicom.dcmread(path)
    change(data)
    data.save_as(target)
    return target


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_uncompressed_syntaxes(tmp_path, syntax):
    path = write(tmp_path / "a.dcm")

    def change(data):
        data.file_meta.TransferSyntaxUID = syntax

    other = rewrite(path, tmp_path / "b.dcm", change)
    assert np.array_equal(read_pixels(other), read_pixels(path))
    assert image_size(other) == (64, 40)


def test_big_endian(tmp_path):
    path = write(tmp_path / "a.dcm")
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    data.PixelData = RAMP.astype(">u2").tobytes()
    # the sequence of values is kept, every attribute is written anew
    pydicom.dcmwrite(tmp_path / "b.dcm", data, force_encoding=True, implicit_vr=False, little_endian=False)
    assert np.array_equal(read_pixels(tmp_path / "b.dcm"), read_pixels(path))


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_lossless_compression(tmp_path, syntax):
    path = write(tmp_path / "a.dcm")
    packed = rewrite(path, tmp_path / "b.dcm", lambda data: data.compress(syntax))
    assert np.array_equal(read_pixels(packed), read_pixels(path))


@pytest.mark.parametrize(
    ("syntax", "bits", "tolerance"),
    [
        ("JPEGBaselineProcess1", 8, 0.03),
        ("JPEGExtendedProcess2_4", 12, 0.03),
        ("JPEGLosslessProcess14", 16, 0),
        ("JPEGLosslessProcess14_1", 16, 0),
        ("JPEGLSNearLossless", 8, 0.03),
        ("JPEG2000", 8, 0.03),
    ],
)
def test_jpeg_families(tmp_path, syntax, bits, tolerance):
    path = write(tmp_path / "a.dcm", (RAMP // 4).astype(np.uint8) if bits == 8 else RAMP)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(tmp_path / "b.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    difference = np.abs(read_pixels(tmp_path / "b.dcm").astype(int) - read_pixels(path)).max()
    assert difference <= tolerance * 65535


@pytest.mark.parametrize(
    ("dtype", "stored", "low", "high"),
    [(np.uint8, 8, 3, 250), (np.uint16, 10, 5, 1023), (np.uint16, 16, 0, 65535), (np.int16, 12, -2048, 2047)],
)
def test_depths_and_signs(tmp_path, dtype, stored, low, high):
    values = np.linspace(low, high, 300).reshape(15, 20).astype(dtype)
    tags = {"BitsStored": stored, "HighBit": stored - 1, "PixelRepresentation": int(dtype is np.int16)}
    pixels = read_pixels(write(tmp_path / "a.dcm", values, **tags))
    assert (pixels[0, 0], pixels[-1, -1]) == (0, 65535)
    expected = (values.astype(float) - low) / (high - low) * 65535
    assert np.abs(pixels - expected).max() < 1


def test_bits_beyond_those_stored_are_not_pixels(tmp_path):
    # old archives keep overlays in the high bits
    clean = read_pixels(write(tmp_path / "a.dcm"))
    assert np.array_equal(read_pixels(write(tmp_path / "b.dcm", RAMP | 0x8000)), clean)


def item(**tags):
    data = Dataset()
    for name, value in tags.items():
        setattr(data, name, value)
    data["LUTData"].VR = "US"
    return data


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_modality_and_voi_tables(tmp_path, bits):
    highest = 2**bits - 1
    falling = [highest - round(i * highest / 1023) for i in range(1024)]
    table = item(LUTDescriptor=[1024, 0, bits], LUTData=falling)
    for tag in ("ModalityLUTSequence", "VOILUTSequence"):
        pixels = read_pixels(write(tmp_path / f"{tag}.dcm", **{tag: [table]}))
        assert pixels[0, 0] == 65535
        assert pixels[0, -1] == 0
        assert (np.diff(pixels[0].astype(int)) < 0).all()


def test_first_window_counts_and_invalid_ones_do_not(tmp_path):
    def shown(**tags):
        return read_pixels(write(tmp_path / "a.dcm", **tags))

    one = shown(WindowCenter=512, WindowWidth=256)
    assert np.array_equal(shown(WindowCenter=[512, 100], WindowWidth=[256, 50]), one)
    plain = shown()
    assert np.array_equal(shown(WindowCenter=512, WindowWidth=0), plain)
    # a window of other units that would leave one grey
    assert np.array_equal(shown(WindowCenter=-5000, WindowWidth=100), plain)
    assert np.array_equal(shown(WindowCenter=[-5000, 512], WindowWidth=[100, 256]), one)


def test_window_functions(tmp_path):
    """PS3.3 C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID) and C.11.2.1.3.2 (LINEAR_EXACT), as formulas."""
    x, c, w = RAMP.astype(float), 512.0, 200.0
    expected = {
        "LINEAR": ((x - (c - 0.5)) / (w - 1) + 0.5).clip(0, 1),
        "LINEAR_EXACT": ((x - c) / w + 0.5).clip(0, 1),
        "SIGMOID": 1 / (1 + np.exp(-4 * (x - c) / w)),
    }
    for name, values in expected.items():
        values = (values - values.min()) / (values.max() - values.min()) * 65535
        pixels = read_pixels(write(tmp_path / "a.dcm", WindowCenter=c, WindowWidth=w, VOILUTFunction=name))
        assert np.abs(pixels - values).max() < 2, name


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("value", [4000, 0])
def test_padding_is_black_and_does_not_count(tmp_path, photometric, value):
    padded = np.pad(RAMP + 100, 8, constant_values=value)
    tags = {"PhotometricInterpretation": photometric}
    plain = read_pixels(write(tmp_path / "a.dcm", RAMP + 100, **tags))
    pixels = read_pixels(write(tmp_path / "b.dcm", padded, PixelPaddingValue=value, **tags))
    assert np.array_equal(pixels[8:-8, 8:-8], plain)
    assert not pixels[:8].any()


def test_padding_range(tmp_path):
    padded = np.pad(RAMP + 100, 8, constant_values=4000)
    padded[0] = 4005
    pixels = read_pixels(write(tmp_path / "b.dcm", padded, PixelPaddingValue=3999, PixelPaddingRangeLimit=4010))
    assert pixels.max() == pixels[8:-8, 8:-8].max() == 65535
    assert not pixels[0].any()


def test_colour_becomes_grey(tmp_path):
    grey = np.arange(200, dtype=np.uint8).reshape(10, 20)
    path = write(tmp_path / "a.dcm", grey)

    def colour(data):
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
        data.PixelData = np.stack([grey] * 3, axis=-1).tobytes()

    assert np.array_equal(read_pixels(rewrite(path, tmp_path / "b.dcm", colour)), read_pixels(path))


def test_files_without_preamble_or_meta_information(tmp_path):
    path = write(tmp_path / "a.dcm")
    plain = read_pixels(path)
    data = pydicom.dcmread(path)
    bare = Dataset({tag: data[tag] for tag in data.keys()})  # noqa: SIM118
    bare.save_as(tmp_path / "b.dcm", implicit_vr=False, little_endian=True, enforce_file_format=False)
    assert np.array_equal(read_pixels(tmp_path / "b.dcm"), plain)


def test_what_is_no_single_image_is_told(tmp_path):
    frames = write(tmp_path / "frames.dcm", np.stack([RAMP, RAMP]), NumberOfFrames=2)
    with pytest.raises(DataError, match="the file has 2 frames"):
        read_pixels(frames)
    with pytest.raises(DataError, match="the file has 2 frames"):
        image_size(frames)

    def without_image(data):
        for name in ("PixelData", "Rows", "Columns"):
            delattr(data, name)

    with pytest.raises(DataError, match="not a DICOM image"):
        read_pixels(rewrite(write(tmp_path / "a.dcm"), tmp_path / "report.dcm", without_image))


def test_a_deflated_bomb_is_refused_before_it_is_unpacked_whole(tmp_path, monkeypatch):
    path = write(tmp_path / "a.dcm")

    def deflate(data):
        data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    bomb = rewrite(path, tmp_path / "b.dcm", deflate)
    assert read_pixels(bomb).shape == (40, 64)
    monkeypatch.setattr(dicom, "MAX_INFLATED_BYTES", 1000)
    with pytest.raises(DataError, match="unpacks to far more than a radiograph"):
        read_pixels(bomb)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"PixelSpacing": [0.0, 0.0], "ImagerPixelSpacing": [0.2, 0.1]}, (0.1, 0.2)),
        ({"PixelSpacing": [0.14, 0.14], "ImagerPixelSpacing": [0.2, 0.2]}, (0.14, 0.14)),
        ({"NominalScannedPixelSpacing": [0.1, 0.1]}, (0.1, 0.1)),
        ({"PixelSpacing": [0.0, 0.0]}, None),
        ({}, None),
    ],
)
def test_the_first_plausible_spacing_counts(tmp_path, tags, expected):
    assert dicom.spacing_mm(read_header(write(tmp_path / "a.dcm", **tags))) == expected


def test_transfer_syntax_of_a_plain_file_stays(tmp_path):
    assert read_header(write(tmp_path / "a.dcm")).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian

"""Many files: names, privacy, faults, what the summary and the exit code say."""

import errno
import json
import os
import zlib

import numpy as np
import pytest
from PIL import Image

from fx_monai.apps.prediction import predict_files
from fx_monai.errors import ConfigError, DataError, OutputError
from fx_monai.inference.output_kinds import Output, parse_outputs
from fx_monai.inference.pipeline import Options
from fx_monai.inference.views import Together
from tests.inference_builders import Threshold, corner, network, radiograph

ALL = tuple(Output)


@pytest.fixture(scope="module")
def predictor():
    return Threshold(network())


def run(predictor, *inputs, out, **options):
    chosen = {"any_image": True, **options}
    return predict_files(predictor, list(inputs), output_dir=out, options=Options(**chosen))


def png(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = corner()
    pixels[-1, -1] = value
    Image.fromarray(pixels).save(path)
    return path


def huge_png(path, side):
    """Write the start of a PNG that claims to be side x side."""
    header = side.to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)))
    return path


def all_bytes(folder):
    return b"\n".join(p.name.encode() + p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())


def test_same_stem_and_same_content_get_names_of_their_own(predictor, tmp_path):
    images = [png(tmp_path / "in" / folder / "x.png", value) for folder, value in (("a", 1), ("b", 2), ("c", 2))]
    for keep in (False, True):
        out = tmp_path / f"out{keep}"
        summary = run(predictor, tmp_path / "in", out=out, keep_identifiers=keep, batch_size=2)
        assert len(set(summary.written)) == 3
        assert {p.stem for p in out.glob("*.json")} == set(summary.written)
        assert summary.complete
    assert summary.written == ["x", "x_2", "x_3"]
    contents = [json.loads((out / f"{name}.json").read_text()) for name in summary.written]
    assert [item["source"]["path"] for item in contents] == [str(path) for path in images]


def test_nothing_tells_the_patient_unless_asked(predictor, tmp_path, capfd):
    image = radiograph(tmp_path / "in" / "planted_name" / "PLANTED42.dcm")
    outputs_told = {False: tmp_path / "a", True: tmp_path / "b"}
    for keep, out in outputs_told.items():
        summary = run(predictor, image, out=out, outputs=(Output.JSON, Output.OVERLAY, Output.NIFTI, Output.MASKS),
                      keep_identifiers=keep, together=Together.STUDY)  # fmt: skip
        told = (
            all_bytes(out).lower() + "\n".join(summary.lines()).encode().lower() + "".join(capfd.readouterr()).encode()
        )
        assert (b"planted" in told) == keep
    # the objects that DICOM is asked for belong to the patient
    run(predictor, image, out=tmp_path / "c", outputs=(Output.JSON, Output.SEG, Output.SR))
    for path in (tmp_path / "c").iterdir():
        assert (b"PLANTED42" in path.read_bytes()) == (path.suffix == ".dcm"), path.name
        assert "PLANTED" not in path.name.upper()


def test_every_output_says_what_the_weights_were_trained_on(predictor, tmp_path):
    run(predictor, radiograph(tmp_path / "x.dcm"), out=tmp_path / "out", outputs=ALL)
    for suffix in ("json", "_seg.dcm", "_sr.dcm"):
        (path,) = (tmp_path / "out").glob(f"*{suffix}")
        assert b"trained on phantoms" in path.read_bytes()
        assert b"research use only" in path.read_bytes()


def test_bad_files_are_listed_and_the_others_done(predictor, tmp_path):
    folder = tmp_path / "in"
    good = png(folder / "good.png")
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.dcm").write_text("these are words")
    whole = radiograph(folder / "cut.dcm").read_bytes()
    (folder / "cut.dcm").write_bytes(whole[: len(whole) - 900])
    huge_png(folder / "huge.png", 20_000)
    summary = run(predictor, folder, out=tmp_path / "out", batch_size=2)
    assert len(summary.written) == 1
    messages = {os.path.basename(path): message for path, message in summary.failed}
    assert set(messages) == {"empty.png", "text.dcm", "cut.dcm", "huge.png"}
    assert "the file is empty" in messages["empty.png"]
    assert "20000 x 20000 pixels" in messages["huge.png"]
    assert "--max-megapixels" in messages["huge.png"]
    assert not summary.complete
    assert f"{good.name}" not in "\n".join(summary.lines())
    assert "4 images were left out" in "\n".join(summary.lines())


def test_the_limit_of_size_can_be_set(predictor, tmp_path):
    image = png(tmp_path / "x.png")
    assert run(predictor, image, out=tmp_path / "a", max_pixels=64 * 48).written
    assert (
        "at most 0.003071 megapixels" in run(predictor, image, out=tmp_path / "b", max_pixels=64 * 48 - 1).failed[0][1]
    )
    # Pillow's own limit is back where it was
    assert Image.MAX_IMAGE_PIXELS


def test_a_full_disk_ends_the_run_with_nothing_half_written(predictor, tmp_path, monkeypatch):
    folder, out = tmp_path / "in", tmp_path / "out"
    for number in range(6):
        png(folder / f"{number}.png", number)
    replaced = []

    def full(source, target):
        replaced.append(target)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left on device"):
        run(predictor, folder, out=out, batch_size=1)
    assert list(out.iterdir()) == []


def test_a_folder_that_can_not_be_written_is_told_before_anything_runs(predictor, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="the results can't be written"):
        run(predictor, png(tmp_path / "x.png"), out=tmp_path / "file" / "out")


def test_an_interruption_leaves_whole_results_and_tells_them(predictor, tmp_path, monkeypatch):
    folder, out = tmp_path / "in", tmp_path / "out"
    for number in range(6):
        png(folder / f"{number}.png", number)
    calls = []

    def stop(images):
        calls.append(len(images))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return Threshold.activate(predictor, images)

    monkeypatch.setattr(predictor, "activate", stop)
    with pytest.raises(KeyboardInterrupt):
        run(predictor, folder, out=out, batch_size=2)
    done = list(out.glob("*.json"))
    assert done
    assert not list(out.glob(".part*"))
    for path in done:
        content = json.loads(path.read_text())
        assert all((out / name).is_file() for mask in content["masks"] for name in mask["files"])


def test_images_of_one_study_are_combined(predictor, tmp_path):
    study = "1.2.3.4"
    for number, value in enumerate((60, 120)):
        pixels = np.full((48, 64), value, np.uint8)
        pixels[0, :2] = 0, 255
        radiograph(tmp_path / "in" / f"{number}.dcm", pixels, StudyInstanceUID=study)
    radiograph(tmp_path / "in" / "alone.dcm")
    png(tmp_path / "in" / "x.png")
    out = tmp_path / "out"
    summary = run(predictor, tmp_path / "in", out=out, together=Together.STUDY)
    (name,) = summary.groups
    content = json.loads((out / f"{name}.json").read_text())
    own = [json.loads((out / f"{image}.json").read_text()) for image in content["images"]]
    assert len(own) == 2
    mean = np.mean([[f["probability"] for f in item["findings"]] for item in own], axis=0)
    assert [f["probability"] for f in content["findings"]] == pytest.approx(mean.tolist(), abs=1e-3)
    assert "means over 2 images of one study" in content["warnings"][0]
    assert content["note"] == "research use only; trained on phantoms"


def test_what_is_not_due_is_told(predictor, tmp_path):
    png(tmp_path / "in" / "x.png")
    radiograph(tmp_path / "in" / "no_series.dcm", SeriesInstanceUID="")
    summary = run(predictor, tmp_path / "in", out=tmp_path / "out", outputs=ALL)
    text = "\n".join(summary.lines())
    assert "1 images: no DICOM SEG and SR: the image is no DICOM file" in text
    assert "no DICOM SEG: the image has no SeriesInstanceUID" in text
    assert not summary.complete


def test_uncertain_images_are_told(predictor, tmp_path):
    image = radiograph(tmp_path / "x.dcm", PatientOrientation=["R", "F"])
    summary = run(predictor, image, out=tmp_path / "out", outputs=(Output.JSON,))
    (path,) = (tmp_path / "out").glob("*.json")
    warnings = " ".join(json.loads(path.read_text())["warnings"])
    assert "the patient orientation is R/F instead of L/F" in warnings
    assert "1 images are uncertain" in "\n".join(summary.lines())


def test_kinds_of_files():
    assert parse_outputs("seg,sr") == (Output.JSON, Output.SEG, Output.SR)
    assert parse_outputs("json, overlay,json") == (Output.JSON, Output.OVERLAY)
    with pytest.raises(ConfigError, match="Did you mean 'overlay'"):
        parse_outputs("overly")


def test_no_input_is_an_error(predictor, tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="no image was found"):
        run(predictor, tmp_path / "in", out=tmp_path / "out")

"""What uses trained weights on images."""

from __future__ import annotations

import os
from pathlib import Path

from fx_monai.errors import ConfigError
from fx_monai.key_values import recipe_values
from fx_monai.verbs.common import DATA_ROOT, bar, images_named, say


def predict(
    weights: str,
    *inputs: str,
    out: str = "predictions",
    write: str = "json,masks,overlay,seg,sr",
    device: str = "",
    threshold: float = 0.3,
    flips: bool = False,
    together: str = "none",
    batch_size: int = 8,
    any_image: bool = False,
    keep_identifiers: bool = False,
    max_megapixels: int = 200,
) -> int:
    """Write findings, boxes and masks of images: PNG, JPEG, DICOM, MetaImage or NIfTI, files or folders.

    What is no frontal chest radiograph is refused; what may be none is predicted, and every result says so. Exit code 1
    when an image was left out.

    Example: fx-monai predict runs/demo/model.pt study --out findings --write json,seg,sr

    Args:
        weights: model.pt of a run, or the folder of a run or of a bundle.
        inputs: files or folders (searched recursively).
        out: folder to write.
        write: kinds of files: json, masks (PNG), nifti (masks), overlay (PNG), seg and sr (DICOM, of DICOM images).
        device: e.g. cpu or cuda:0; default: the first GPU, else the CPU.
        threshold: least score of a box that is drawn and listed.
        flips: predict the mirror image too and take the mean.
        together: also combine the findings of images of one study, patient or folder: study, patient, folder or none.
        batch_size: images in one pass through the network.
        any_image: predict refused images too.
        keep_identifiers: name results after their files, and tell path, patient and study in the JSON.
        max_megapixels: larger images are left out before they are decoded.
    """
    from fx_monai.apps.prediction import load_model, predict_files
    from fx_monai.inference.output_kinds import parse_outputs
    from fx_monai.inference.pipeline import Options
    from fx_monai.inference.views import parse_together

    _check_range("--threshold", threshold, 0, 1)
    _check_range("--batch-size", batch_size, 1, 4096)
    _check_range("--max-megapixels", max_megapixels, 1, 1024)
    options = Options(
        outputs=parse_outputs(write),
        any_image=any_image,
        keep_identifiers=keep_identifiers,
        together=parse_together(together),
        batch_size=batch_size,
        max_pixels=max_megapixels * 1_000_000,
    )
    named = images_named("predict", inputs)
    predictor = load_model(weights, device=device, threshold=threshold, flips=flips)
    summary = predict_files(predictor, named, output_dir=Path(out), options=options, progress=bar("predicting"))
    for line in summary.lines():
        say(line)
    return 0 if summary.complete else 1


def embed(
    weights: str, *inputs: str, out: str = "embeddings.parquet", device: str = "", any_image: bool = False
) -> int:
    """Write the pooled feature of every image: one Parquet file with name, source and embedding.

    Example: fx-monai embed runs/demo/model.pt images --out embeddings.parquet

    Args:
        weights: model.pt of a run.
        inputs: files or folders.
        out: file to write.
        device: e.g. cpu or cuda:0; default: the first GPU, else the CPU.
        any_image: also what is no frontal chest radiograph.
    """
    from fx_monai.apps.embedding import embed_files

    summary = embed_files(
        Path(weights), images_named("embed", inputs), output=Path(out), device=device, any_image=any_image
    )
    for line in summary.lines("embedded"):
        say(line)
    return 1 if summary.failed else 0


def maps(
    weights: str,
    *inputs: str,
    out: str = "maps",
    finding: str = "",
    boxes: str = "",
    data_root: str = "",
    split: str = "test",
    device: str = "",
    any_image: bool = False,
    set: str = "",
) -> int:
    """Write where in an image each present finding comes from (CAM), or measure such maps against boxes.

    Example: fx-monai maps runs/demo/model.pt image.dcm --out maps

    With --boxes RECIPE no image is named: the maps of the recipe's images are compared with its boxes (pointing game,
    energy in boxes, pixel AUC, chance beside), and the table is printed.

    Args:
        weights: model.pt of a run.
        inputs: files or folders.
        out: folder to write.
        finding: harmonised finding whose maps are wanted, present or not (pleural_effusion).
        boxes: recipe (shipped name or YAML) whose boxes the maps are compared with.
        data_root: folder that the recipe's roots are relative to; default: the variable FX_MONAI_DATA_ROOT.
        split: of the recipe: train, val or test.
        device: e.g. cpu or cuda:0; default: the first GPU, else the CPU.
        any_image: also what is no frontal chest radiograph.
        set: other values of the recipe, key=value, separated by commas.
    """
    if boxes and not inputs:
        from fx_monai.apps.map_comparison import compare_weights

        for line in compare_weights(
            Path(weights),
            boxes,
            data_root=data_root or os.environ.get(DATA_ROOT, ""),
            output_dir=out,
            split=split,
            device=device,
            overrides=recipe_values(set),
        ):
            say(line)
        return 0
    from fx_monai.apps.maps import map_files

    summary = map_files(
        Path(weights),
        images_named("maps", inputs),
        output_dir=Path(out),
        finding=finding,
        device=device,
        any_image=any_image,
    )
    for line in summary.lines("mapped"):
        say(line)
    return 1 if summary.failed else 0


def _check_range(flag: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(
            where=flag, problem=f"{value}", expected=f"a number from {low} to {high}", remedy="Correct the value"
        )

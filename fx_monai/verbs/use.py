"""What uses trained weights on images."""

from __future__ import annotations

import os
from pathlib import Path

from fx_monai.errors import ConfigError
from fx_monai.key_values import recipe_values
from fx_monai.verbs.common import DATA_ROOT, images_named, say


def predict(
    weights: str,
    *inputs: str,
    out: str = "predictions",
    device: str = "",
    threshold: float = 0.3,
    any_image: bool = False,
) -> int:
    """Write findings (JSON), masks (PNG) and an overlay for images: PNG, JPEG or DICOM, files or folders.

    What is no frontal chest radiograph is refused; what may be none is predicted, and the JSON says so.

    Example: fx-monai predict runs/demo/model.pt image.dcm --out predictions

    Args:
        weights: model.pt of a run.
        inputs: files or folders.
        out: folder to write.
        device: e.g. cpu or cuda:0; default: the first GPU, else the CPU.
        threshold: least score of a box that is drawn and listed.
        any_image: predict refused images too.
    """
    from fx_monai.apps.prediction import predict_files

    if not 0 <= threshold <= 1:
        raise ConfigError(
            where="--threshold", problem=f"{threshold}", expected="a number from 0 to 1", remedy="Correct the value"
        )
    summary = predict_files(
        Path(weights),
        images_named("predict", inputs),
        output_dir=Path(out),
        device=device,
        threshold=threshold,
        any_image=any_image,
    )
    for line in summary.lines():
        say(line)
    return 1 if summary.failed else 0


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

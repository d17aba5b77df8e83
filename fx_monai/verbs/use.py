"""What uses trained weights on images."""

from __future__ import annotations

from pathlib import Path

from fx_monai.errors import ConfigError
from fx_monai.verbs.common import images_named, say


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

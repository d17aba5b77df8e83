"""What takes weights in from other projects and hands them on."""

from __future__ import annotations

from pathlib import Path

from fx_monai.verbs.common import say


def convert_weights(
    file: str,
    out: str,
    *,
    network: str = "",
    datasets: str = "",
    image_size: int | None = None,
    normalisation: str = "classification",
) -> None:
    """Convert weights of Swin (ImageNet), Ark or Foundation X; report every key that is used, unused or missing.

    Example: fx-monai convert-weights ark6_teacher.pth.tar --out ark6.pt

    Args:
        file: checkpoint of another project; files that hold code are refused.
        out: weights to write; every key is listed beside them in a .keys.tsv.
        network: student or teacher; default: the teacher where the file has one.
        datasets: of Ark's heads in their order, separated by commas; default: the authors'.
        image_size: side of the input of an Ark network in pixels; default: the one its window is made for.
        normalisation: Foundation X's input scaling for classification, localization or segmentation.
    """
    from fx_monai.apps.conversion import convert_file

    report = convert_file(
        Path(file),
        Path(out),
        network=network,
        datasets=[name for name in datasets.split(",") if name],
        image_size=image_size,
        normalisation=normalisation,
    )
    say("\n".join([*report.lines(), f"{out} written"]))


def export(weights: str, out: str, *, format: str = "onnx", tasks: str = "") -> None:
    """Export weights to ONNX, TorchScript or torch.export; the file is kept only if it gives the network's outputs.

    Example: fx-monai export runs/demo/model.pt --format onnx --out demo.onnx

    Args:
        weights: model.pt of a run.
        out: file to write; what its outputs mean stands in it.
        format: onnx, torchscript or exported (torch.export).
        tasks: dataset/kind each, separated by commas; default: all. With localization the batch size is 1.
    """
    from fx_monai.apps.export import export_weights

    names = [name for name in tasks.split(",") if name]
    module, difference = export_weights(Path(weights), Path(out), form=format, tasks=names)
    say(f"{out}: {', '.join(output.name for output in module.outputs)}")
    say(f"largest difference from the network: {difference:.1e}")


def bundle(weights: str, *, out: str = "dist", code: bool = False, weights_url: str = "") -> None:
    """Pack weights as a MONAI bundle: one zip that `python -m monai.bundle` runs and the Model Zoo's rules allow.

    Example: fx-monai bundle runs/demo/model.pt --out dist

    Metadata and model card tell of these weights; the scores are those of the results.json beside them.

    Args:
        weights: model.pt of a run.
        out: folder to write into.
        code: put the code into the bundle (scripts/), for hosts without this package.
        weights_url: address of the weights for large_files.yml, for a pull request to the Model Zoo.
    """
    from fx_monai.apps.bundle.packing import pack_bundle

    packed = pack_bundle(Path(weights), Path(out), own_code=code, weights_url=weights_url)
    for note in packed.notes:
        say(f"note: {note}")
    say(f"{packed.path}  ({packed.path.stat().st_size / 1e6:.0f} MB)")
    say(f"SHA-256 {packed.sha256}")

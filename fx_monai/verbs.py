"""The verbs of the command line, one function each: its parameters are the flags, its docstring the help."""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fx_monai.errors import ConfigError
from fx_monai.key_values import key_values, recipe_values

DATA_ROOT = "FX_MONAI_DATA_ROOT"


def demo(out: str, *, images: int = 600, seed: int = 0, workers: int = 2) -> None:
    """Write the demo cohort: generated radiograph-like phantoms in the native formats of five datasets.

    Example: fx-monai demo runs/demo-cohort

    Args:
        out: folder to write.
        images: about so many images, at least 50; each dataset has 10 or more.
        seed: same seed, same files.
        workers: processes.
    """
    from fx_monai.demo.cohort import write_demo_cohort

    bar = _bar("demo cohort")
    summary = write_demo_cohort(Path(out), num_images=images, seed=seed, workers=workers, progress=bar)
    _say(f"{summary}")


def datasets(*names: str, as_json: bool = False) -> None:
    """List the supported datasets with their tasks, licence, reader options and where to get them.

    Example: fx-monai datasets chexmask

    Args:
        names: some of them, to see what their folders hold, how they are read and what the options mean.
        as_json: print JSON instead of a table.
    """
    from fx_monai.data.catalog import CATALOG, READERS, find_dataset

    specs = [find_dataset(name) for name in names] or list(CATALOG.values())
    rows = [
        {
            "name": s.name,
            "tasks": [k.value for k in s.kinds],
            "title": s.title,
            "licence": s.licence,
            "url": s.url,
            "citation": s.citation,
            "options": list(READERS[s.name].OPTIONS),
        }
        for s in specs
    ]
    if as_json:
        _say(json.dumps(rows, indent=2))
        return
    for row, spec in zip(rows, specs, strict=True):
        _say(f"{row['name']:26s}{', '.join(row['tasks']):46s}{row['title']}")
        _say(f"{'':26s}{row['licence']}  {row['url']}")
        if row["options"]:
            _say(f"{'':26s}options: {', '.join(row['options'])}")
        if names:
            reader = READERS[spec.name]
            _say(f"{'':26s}cite: {spec.citation or '-'}\n")
            _say(f"{inspect.getdoc(reader)}\n\n{inspect.getdoc(reader.read)}\n".replace("``", ""))


def index(
    name: str,
    root: str,
    out: str,
    *,
    allow_missing_images: bool = False,
    annotations_only: bool = False,
    options: str = "",
) -> None:
    """Read a native dataset tree and write its manifest.

    Example: fx-monai index nih_chestxray14 /data/nih nih.parquet

    Args:
        name: dataset, see `fx-monai datasets`.
        root: folder of the native tree, as downloaded.
        out: manifest file to write (.parquet).
        allow_missing_images: leave out images that are named but not there, instead of refusing.
        annotations_only: don't look for the images; such a manifest serves counts and audits, not training.
        options: options of the reader, key=value, separated by commas (gate=leave_out: only frontal chest radiographs).
    """
    from fx_monai.data.index import index_dataset

    manifest = index_dataset(
        name,
        Path(root),
        allow_missing_images=allow_missing_images,
        annotations_only=annotations_only,
        options=key_values(options, "--options"),
    )
    manifest.write(Path(out))
    boxes = sum(len(row) for row in manifest.column("boxes"))
    masks = sum(len(row) for row in manifest.column("masks"))
    _say(f"{out}: {len(manifest)} images, {boxes} boxes, {masks} masks")
    for note in manifest.notes:
        _say(f"note: {note}")


def cache(
    *manifests: str,
    size: int = 224,
    bits: int = 8,
    workers: int = 0,
    folder: str = "",
    verify: bool = False,
    repair: bool = False,
    as_json: bool = False,
) -> int:
    """Decode the images of manifests once, at training size, into memory-mapped image stores.

    Example: fx-monai cache nih.parquet --size 512

    An interrupted build goes on where it stopped. Exit code 1 when an image can't be used or is damaged.

    Args:
        manifests: files written by `fx-monai index`.
        size: side in pixels, the recipe's model.image_size.
        bits: 8 or 16 per pixel, the recipe's data.bits.
        workers: decoding processes; 0 = one per core.
        folder: where stores are kept; default: the variable FX_MONAI_CACHE, else ~/.cache/fx_monai.
        verify: build nothing; compare every stored image with its checksum.
        repair: the same, and decode damaged images again.
        as_json: print JSON.
    """
    from fx_monai.apps.cache import cache_manifests
    from fx_monai.data.store import cache_folder

    stores = cache_manifests(
        [Path(name) for name in manifests],
        size=size,
        folder=cache_folder(Path(folder) if folder else None),
        bits=bits,
        workers=workers or None,
        verify=verify,
        repair=repair,
        report=lambda line: sys.stderr.write(line + "\n"),
    )
    lines = [json.dumps([store.as_dict() for store in stores], indent=2)] if as_json else []
    for line in lines or [line for store in stores for line in store.lines()]:
        _say(line)
    return 1 if any(store.unreadable or store.damaged for store in stores) else 0


def show(manifest: str, *, out: str = "", images: int = 12, as_json: bool = False) -> int:
    """Count what was indexed, per class, view, sex, age and split, and draw a contact sheet with every annotation.

    Example: fx-monai show nih.parquet --out shown

    Args:
        manifest: file written by `fx-monai index`.
        out: folder for the contact sheet (PNG) and the counts (JSON); default: only print.
        images: number of images on the sheet.
        as_json: print the counts as JSON.
    """
    from fx_monai.apps.dataset_statistics import statistics_lines
    from fx_monai.apps.show import show_manifest

    (indexed,) = _read_manifests([manifest], "show")
    found = show_manifest(indexed, Path(out) if out else None, images=images)
    _say(json.dumps(found.statistics, indent=2) if as_json else "\n".join(statistics_lines(found.statistics)))
    for image, reason in found.unreadable:
        sys.stderr.write(f"left out: image {image}: {reason}\n")
    if found.written and not as_json:
        _say(f"written: {', '.join(str(path) for path in found.written)}")
    return 1 if found.unreadable else 0


def audit(
    *manifests: str,
    out: str = "",
    split: str = "shared",
    annotations_only: bool = False,
    workers: int = 2,
    as_json: bool = False,
) -> None:
    """Find images and patients behind several rows: leaks between splits, duplicates, labels that contradict.

    Example: fx-monai audit nih.parquet rsna.parquet --out audit

    Images are compared by declared origin, file, exact pixels and looks (resized, re-encoded, cropped, inverted or
    mirrored copies). With --out, exclude.csv and links.csv are what a recipe's data.exclude and data.links take.

    Args:
        manifests: files written by `fx-monai index`.
        out: folder for audit.json, matches.csv, conflicts.csv, exclude.csv and links.csv; default: only print.
        split: shared (what a recipe of these datasets gets) or official (the datasets' own).
        annotations_only: don't read the images; compare declared origins, files and patients alone.
        workers: decoding threads.
        as_json: print JSON.
    """
    from fx_monai.apps.audit import run_audit, write_audit
    from fx_monai.data.store import cache_folder

    found = run_audit(
        _read_manifests(manifests, "audit"),
        cache=cache_folder(),
        split=split,
        pixels=not annotations_only,
        workers=workers,
        progress=not as_json,
    )
    _say(json.dumps(found.summary(), indent=2) if as_json else "\n".join(found.lines()))
    written = write_audit(found, Path(out)) if out else []
    if written and not as_json:
        _say(f"written: {', '.join(str(path) for path in written)}")


def train(
    recipe: str,
    *,
    data_root: str = "",
    out: str = "",
    resume: bool = False,
    dry_run: bool = False,
    seed: int | None = None,
    device: str = "",
    init_from: str = "",
    set: str = "",
) -> None:
    """Train a recipe, evaluate it on the test split, print the result table.

    Example: fx-monai train demo --data-root runs/demo-cohort --out runs/demo

    Args:
        recipe: name of a shipped recipe, or a YAML file.
        data_root: folder that the datasets' roots are relative to; default: the variable FX_MONAI_DATA_ROOT.
        out: folder for checkpoint, weights, tables and figures; default: runs/<recipe>.
        resume: go on with the run in `out`.
        dry_run: show phases, parameters and steps; train nothing.
        seed: replaces the recipe's seed.
        device: e.g. cpu or cuda:0; default: the first GPU, else the CPU.
        init_from: weights or checkpoint to start from; tasks of the recipe that they don't know get fresh heads.
        set: other values of the recipe, key=value, separated by commas (schedule.cycles=2).
    """
    from fx_monai.apps.training import run_training

    overrides: dict[str, Any] = dict(recipe_values(set))
    if seed is not None:
        overrides["seed"] = seed
    if init_from:
        overrides["init_from"] = init_from
    run_training(
        recipe,
        data_root=data_root or os.environ.get(DATA_ROOT, ""),
        output_dir=out or f"runs/{Path(recipe).stem}",
        device=device,
        overrides=overrides,
        resume=resume,
        dry_run=dry_run,
    )


def evaluate(
    weights: str,
    recipe: str,
    *,
    data_root: str = "",
    out: str = "",
    split: str = "test",
    device: str = "",
    finding: str = "",
    set: str = "",
) -> None:
    """Evaluate weights on a split of a recipe's datasets and print the table with 95 % intervals.

    Example: fx-monai evaluate runs/demo/model.pt demo --data-root runs/demo-cohort

    Args:
        weights: model.pt of a run.
        recipe: name of a shipped recipe, or a YAML file.
        data_root: folder that the datasets' roots are relative to; default: the variable FX_MONAI_DATA_ROOT.
        out: folder for tables (Markdown, CSV, JSON) and predictions per image (Parquet); default: only print.
        split: train, val or test.
        device: e.g. cpu or cuda:0; default: the first GPU, else the CPU.
        finding: also print how every head that carries this finding does on every dataset (pleural_effusion).
        set: other values of the recipe, key=value, separated by commas.
    """
    from fx_monai.apps.evaluation import evaluate_weights

    evaluate_weights(
        Path(weights),
        recipe,
        data_root=data_root or os.environ.get(DATA_ROOT, ""),
        output_dir=out,
        split=split,
        device=device,
        finding=finding,
        overrides=recipe_values(set),
    )


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
        _images("predict", inputs),
        output_dir=Path(out),
        device=device,
        threshold=threshold,
        any_image=any_image,
    )
    for line in summary.lines():
        _say(line)
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

    summary = embed_files(Path(weights), _images("embed", inputs), output=Path(out), device=device, any_image=any_image)
    for line in summary.lines("embedded"):
        _say(line)
    return 1 if summary.failed else 0


def compare(*runs: str, out: str = "", split: str = "test", model: str = "selected", resamples: int = 1000) -> None:
    """Compare runs on the same images: scores, differences from the first run, paired 95 % intervals.

    Example: fx-monai compare runs/single-task runs/multi-task --out runs/comparison

    Args:
        runs: folders of runs, or of what `evaluate --out` wrote; the first is the baseline.
        out: folder for the tables (Markdown, CSV, JSON); default: only print.
        split: train, val or test.
        model: student, teacher or selected.
        resamples: bootstrap resamples; 0 = no intervals.
    """
    from fx_monai.apps.comparison import compare_runs, write_comparison

    found = compare_runs([Path(run) for run in runs], split=split, model=model, resamples=resamples)
    _say(found.page())
    for path in write_comparison(found, Path(out)) if out else ():
        _say(f"written: {path}")


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
    _say("\n".join([*report.lines(), f"{out} written"]))


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
    _say(f"{out}: {', '.join(output.name for output in module.outputs)}")
    _say(f"largest difference from the network: {difference:.1e}")


def _images(verb: str, inputs: Sequence[str]) -> list[Path]:
    if not inputs:
        raise ConfigError(
            where=f"fx-monai {verb}",
            problem="no image is named",
            expected="files or folders after the weights",
            remedy="Add the path of a PNG, JPEG or DICOM file",
        )
    return [Path(name) for name in inputs]


def _read_manifests(paths: Sequence[str], name: str) -> list[Any]:
    from fx_monai.data.manifest import Manifest

    if not paths:
        raise ConfigError(
            where=f"fx-monai {name}",
            problem="no manifest is named",
            expected="files written by `fx-monai index`",
            remedy="Add the path of a manifest",
        )
    return [Manifest.read(Path(path)) for path in paths]


def _bar(title: str) -> Callable[[int, int], None]:
    from fx_monai.progress import progress_bar

    return progress_bar(title)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


VERBS: dict[str, Callable[..., Any]] = {
    verb.__name__.replace("_", "-"): verb
    for verb in (
        demo,
        datasets,
        index,
        show,
        audit,
        cache,
        train,
        evaluate,
        compare,
        predict,
        embed,
        convert_weights,
        export,
    )
}

"""A bundle with weights as one zip: what users download, and what goes to the Model Zoo."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from fx_monai import __version__
from fx_monai.apps.bundle.metadata import bundle_metadata, write_json
from fx_monai.apps.bundle.model_card import data_terms, fill_model_card
from fx_monai.apps.bundle.source_code import add_source_code
from fx_monai.apps.bundle.zoo_rules import LARGE_FILES, WEIGHTS, large_file_problems, zoo_problems
from fx_monai.demo.cases import CasePlan, make_case
from fx_monai.errors import ConfigError
from fx_monai.files import file_sha256
from fx_monai.models.card import ModelCard
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.weights import load_network
from fx_monai.shipped import shipped_folder

NAME = "fx_monai_bundle"
# of the bundle in the source code; results, data and weights of a user who trained there stay out
_TAKEN = ("LICENSE", "NOTICE", "configs/*.json", "configs/logging.conf", "docs/*")
_EXAMPLES = 2
_EXAMPLE_SIDE = 512
_FORMAT_NOTE = "for a pull request to the Model Zoo: sort and format scripts/ with isort and black of its settings"
# the earliest date that a zip can hold
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class PackedBundle:
    """A written bundle.

    Args:
        path: the zip.
        sha256: of the zip, also in ``<zip>.sha256``.
        notes: sentences for the user.
    """

    path: Path
    sha256: str
    notes: tuple[str, ...]


def pack_bundle(weights: Path, out: Path, *, own_code: bool = False, weights_url: str = "") -> PackedBundle:
    """Write ``<out>/fx_monai_bundle_v<version>.zip``, whole or not at all; same input, same bytes.

    Metadata and model card tell of these weights; the scores are those of ``results.json`` beside them. Two phantoms
    are in it to try inference on.

    Args:
        weights: ``model.pt`` of a run.
        out: folder to write into.
        own_code: with the code inside (``scripts/``); the name ends in ``_code``.
        weights_url: address of the weights for ``large_files.yml``, which the Model Zoo needs for large files.

    Raises:
        CheckpointError: weights that can't be read.
        ConfigError: the bundle breaks a rule of the Model Zoo, or the folder can't be written.
    """
    network = load_network(weights)
    results, notes = _results_of(weights, network.card)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".part-") as temporary:
            bundle = Path(temporary) / NAME
            _take_shipped(bundle)
            (bundle / WEIGHTS).parent.mkdir()
            shutil.copyfile(weights, bundle / WEIGHTS)
            sha256 = file_sha256(weights)
            shipped = json.loads((bundle / "configs/metadata.json").read_text(encoding="utf-8"))
            metadata = bundle_metadata(shipped, network, results=results, sha256=sha256, own_code=own_code)
            write_json(metadata, bundle / "configs/metadata.json")
            _write_model_card(bundle, metadata, results)
            _write_data_terms(bundle, network)
            _write_examples(bundle / "data/images")
            if weights_url:
                _write_large_files(bundle, weights_url, sha256)
            if own_code:
                add_source_code(bundle)
            _refuse_problems(bundle)
            path = out / f"{NAME}{'_code' if own_code else ''}_v{__version__}.zip"
            digest = _write_zip(bundle, path)
            notes += [_FORMAT_NOTE] if own_code else []
            notes += [f"for a pull request to the Model Zoo: {text}" for text in large_file_problems(bundle)]
    except OSError as error:
        raise ConfigError(
            where=str(out),
            problem=f"the bundle can't be written ({error.strerror or type(error).__name__})",
            expected="a folder with write permission and free space",
            remedy="Name another folder with --out",
        ) from error
    return PackedBundle(path, digest, tuple(notes))


def _results_of(weights: Path, card: ModelCard) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the results beside the weights, if they are of these weights, and what to tell the user."""
    file = weights.parent / "results.json"
    if not file.is_file():
        return None, [f"there is no results.json beside the weights; the model card has no scores ({weights.parent})"]
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    selected = results.get("selected", {})
    for name in ("recipe", "seed", "model", "cycle"):
        if selected.get(name) != getattr(card, name):
            return None, [f"results.json is of other weights ({name}); the model card has no scores"]
    return results, []


def _take_shipped(bundle: Path) -> None:
    source = shipped_folder("bundle")
    for pattern in _TAKEN:
        for path in sorted(source.glob(pattern)):
            target = bundle / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _write_model_card(bundle: Path, metadata: Mapping[str, Any], results: Mapping[str, Any] | None) -> None:
    page = bundle / "docs/README.md"
    megabytes = (bundle / WEIGHTS).stat().st_size / 1e6
    text = fill_model_card(page.read_text(encoding="utf-8"), metadata, results, megabytes=megabytes)
    page.write_text(text, encoding="utf-8")


def _write_data_terms(bundle: Path, network: FoundationX) -> None:
    file = bundle / "docs/data_license.txt"
    datasets = (task.dataset for task in network.specs)
    terms = data_terms(datasets, network.card.note, network.trunk.backbone.weights)
    file.write_text(f"{file.read_text(encoding='utf-8')}\n{terms}", encoding="utf-8")


def _write_examples(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(_EXAMPLES):
        image = make_case(CasePlan("nih_chestxray14", number, number, seed=0), _EXAMPLE_SIDE).image
        Image.fromarray(image).save(folder / f"phantom_{number + 1}.png", optimize=True)


def _write_large_files(bundle: Path, url: str, sha256: str) -> None:
    entry = {"path": WEIGHTS, "url": url, "hash_val": sha256, "hash_type": "sha256"}
    (bundle / LARGE_FILES).write_text(yaml.safe_dump({"large_files": [entry]}, sort_keys=False), encoding="utf-8")


def _refuse_problems(bundle: Path) -> None:
    problems = zoo_problems(bundle)
    if problems:
        raise ConfigError(
            where="the bundle",
            problem="; ".join(problems),
            expected="a bundle that the Model Zoo takes",
            remedy="Correct the bundle's files in the installed package, or the note of the weights",
        )


def _write_zip(bundle: Path, path: Path) -> str:
    """Write the files in the order of their names, without dates and owners; return the zip's SHA-256."""
    temporary = path.with_name(path.name + ".part")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for file in sorted(file for file in bundle.rglob("*") if file.is_file()):
                info = zipfile.ZipInfo(file.relative_to(bundle.parent).as_posix(), _DATE)
                info.external_attr = 0o644 << 16
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, file.read_bytes())
        digest = file_sha256(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    path.with_name(path.name + ".sha256").write_text(f"{digest}  {path.name}\n", encoding="utf-8")
    return digest

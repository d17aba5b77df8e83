"""Embeddings: the backbone's pooled feature of every image, as Parquet."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from fx_monai import __version__
from fx_monai.apps.devices import choose_device
from fx_monai.errors import FxError
from fx_monai.inference.inputs import find_images, named_by_stem
from fx_monai.inference.source import network_input, read_source
from fx_monai.inference.summary import Summary
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.weights import load_network
from fx_monai.progress import progress_bar

BATCH = 16


@torch.inference_mode()
def embed(network: FoundationX, images: torch.Tensor) -> torch.Tensor:
    """Return the pooled features that the classification heads read: (B, 1, S, S) in [0, 1] -> (B, C)."""
    pooled: torch.Tensor = network.trunk(images, ()).pooled
    return pooled.float()


def embed_files(
    weights: Path, inputs: Sequence[Path], *, output: Path, device: str = "", any_image: bool = False
) -> Summary:
    """Embed files and folders and write one Parquet file: ``name``, ``source`` (path), ``embedding`` (C float32).

    Images that can't be read or that the gate refuses are left out and listed; no image, no file. The file's metadata
    name the network.

    Raises:
        CheckpointError: the weights can't be used.
        DataError: an input doesn't exist, or the folders hold no image.
    """
    network = load_network(weights)
    paths = named_by_stem(find_images(inputs))
    place = choose_device(device)
    network = network.to(place)
    width = network.trunk.width
    card = {key: value for key, value in vars(network.card).items() if key != "calibration"}
    about = {"fx_monai": __version__, **card, "image_size": network.config.image_size, "feature": "pooled"}
    columns = [("name", pa.string()), ("source", pa.string()), ("embedding", pa.list_(pa.float32(), width))]
    schema = pa.schema(columns, metadata={"fx_monai": json.dumps(about)})
    summary = Summary(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(output.name + ".part")
    try:
        with pq.ParquetWriter(temporary, schema) as writer:
            for names, images in _batches(network, paths, summary, any_image):
                values = embed(network, images.to(place)).cpu().numpy().astype(np.float32)
                vectors = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), width)
                sources = [str(paths[name]) for name in names]
                writer.write_table(pa.table([pa.array(names), pa.array(sources), vectors], schema=schema))
                summary.written += names
        if summary.written:
            os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
    return summary


def _batches(
    network: FoundationX, paths: dict[str, Path], summary: Summary, any_image: bool
) -> Iterator[tuple[list[str], torch.Tensor]]:
    bar = progress_bar("embedding")
    names: list[str] = []
    images: list[torch.Tensor] = []
    for number, (name, path) in enumerate(paths.items(), start=1):
        try:
            source = read_source(path, any_image=any_image)
            images.append(network_input(source.pixels, network.config.image_size))
            names.append(name)
        except FxError as error:
            summary.failed.append((name, str(error)))
        if names and (len(names) == BATCH or number == len(paths)):
            yield names, torch.cat(images)
            names, images = [], []
        bar(number, len(paths))

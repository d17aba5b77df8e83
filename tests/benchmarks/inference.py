"""What prediction costs beside the network, as ratios within one run; the network computes with one thread.

1. CPU: share of decoding, preparation and interpretation in the CPU time of predicting 1024 px PNG files to JSON, stage
   after stage. CPU time of the process, so other load of the machine counts little.
2. Overlap: wall time of DICOM files to JSON, masks, overlay, SEG and SR, against the same stages one after the other.
3. Throughput: wall time of a plain loop of forwards over prepared batches, against that of PNG files to JSON.

2 and 3 take the least of several repetitions that alternate, and need two free cores.

``python tests/benchmarks/inference.py [--weights FILE] [--images N] [--repeat N]``; without weights: an untrained
network of the size of the recipe ``demo``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import fx_monai
from fx_monai.apps.prediction import predict_files
from fx_monai.demo.cases import CasePlan, make_case
from fx_monai.inference.output_kinds import DEFAULT_OUTPUTS, Output
from fx_monai.inference.outputs import write_outputs
from fx_monai.inference.pipeline import Options
from fx_monai.inference.predictor import Predictor
from fx_monai.inference.source import read_source
from fx_monai.models.config import BackboneConfig, ModelConfig
from fx_monai.models.foundation_x import FoundationX
from fx_monai.types import Kind, Task, TaskSpec
from tests.inference_builders import radiograph

SIDE = 1024
BATCH = 8
CLASSES = ("Cardiomegaly", "Effusion", "Infiltration", "Nodule", "Pneumothorax")


def untrained() -> Predictor:
    tasks = [TaskSpec(Task("nih_chestxray14", kind), CLASSES) for kind in Kind]
    tasks.append(TaskSpec(Task("montgomery", Kind.SEGMENTATION), ("left lung", "right lung")))
    config = ModelConfig(backbone=BackboneConfig(pretrained="none"), image_size=160)
    return Predictor(FoundationX(config, tasks), threshold=0.5)


def write_images(folder: Path, count: int) -> tuple[list[Path], list[Path]]:
    """Write phantoms as PNG and as DICOM."""
    pictures, radiographs = [], []
    for number in range(count):
        pixels = make_case(CasePlan("nih_chestxray14", number, number, 0), SIDE).image
        pictures.append(folder / f"{number}.png")
        Image.fromarray(pixels).save(pictures[-1])
        tags = {"PixelSpacing": [0.3, 0.3], "ImagerPixelSpacing": [0.3, 0.3]}
        radiographs.append(radiograph(folder / f"{number}.dcm", pixels, **tags))
    return pictures, radiographs


def stages(
    predictor: Predictor, paths: Sequence[Path], out: Path, outputs: Sequence[Output], clock: Callable[[], float]
) -> dict[str, float]:
    """Return the time of each stage, one after the other."""
    spent = dict.fromkeys(("read", "network", "write"), 0.0)
    for start in range(0, len(paths), BATCH):
        at = clock()
        sources = [read_source(path, any_image=True) for path in paths[start : start + BATCH]]
        images = torch.cat([predictor.prepare(source) for source in sources])
        spent["read"] += (now := clock()) - at
        found = predictor.activate(images)
        spent["network"] += (then := clock()) - now
        for index, source in enumerate(sources):
            prediction = predictor.interpret(found, index, source)
            write_outputs(prediction, source, name=f"{start + index}", folder=out, outputs=outputs)
        spent["write"] += clock() - then
    return spent


def files(predictor: Predictor, paths: Sequence[Path], out: Path, outputs: Sequence[Output]) -> float:
    """Return the wall time of the pipeline."""
    options = Options(outputs=outputs, any_image=True, batch_size=BATCH)
    at = time.perf_counter()
    predict_files(predictor, paths, output_dir=out, options=options)
    return time.perf_counter() - at


@torch.inference_mode()
def forwards(predictor: Predictor, images: torch.Tensor) -> float:
    """Return the wall time of the network alone."""
    at = time.perf_counter()
    for start in range(0, len(images), BATCH):
        predictor.network.predict_tasks(images[start : start + BATCH])
    return time.perf_counter() - at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    predictor = fx_monai.load(chosen.weights, device="cpu") if chosen.weights else untrained()
    with tempfile.TemporaryDirectory() as temporary:
        folder, out = Path(temporary), Path(temporary) / "out"
        pictures, radiographs = write_images(folder, chosen.images)
        inputs = torch.cat([predictor.prepare(read_source(path, any_image=True)) for path in pictures])
        # imports and caches of the first time
        stages(predictor, radiographs[:BATCH], out, DEFAULT_OUTPUTS, time.perf_counter)

        runs = [stages(predictor, pictures, out, [Output.JSON], time.process_time) for _ in range(chosen.repeat)]
        spent = min(runs, key=lambda run: sum(run.values()))
        per_image = {name: 1000 * value / len(pictures) for name, value in spent.items()}
        told = ", ".join(f"{name} {value:.1f} ms" for name, value in per_image.items())
        share = 1 - spent["network"] / sum(spent.values())
        print(f"network input {inputs.shape[-1]} px, {len(pictures)} images of {SIDE} px, batch {BATCH}")
        print(f"1. CPU per image: {told}; beside the network: {share:.0%} (wanted: at most 25 %)")

        pairs = [
            (
                sum(stages(predictor, radiographs, out, DEFAULT_OUTPUTS, time.perf_counter).values()),
                files(predictor, radiographs, out, DEFAULT_OUTPUTS),
            )
            for _ in range(chosen.repeat)
        ]
        summed, piped = np.array(pairs).min(0)
        print(
            f"2. DICOM, every file: in turn {summed:.2f} s, together {piped:.2f} s: {piped / summed:.2f} (at most 0.7)"
        )

        pairs = [
            (forwards(predictor, inputs), files(predictor, pictures, out, [Output.JSON])) for _ in range(chosen.repeat)
        ]
        plain, whole = np.array(pairs).min(0)
        print(f"3. PNG to JSON: forwards alone {plain:.2f} s, files {whole:.2f} s: {plain / whole:.2f} (at least 0.9)")


if __name__ == "__main__":
    main()

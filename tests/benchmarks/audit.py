"""How well copies of radiographs are found, and how fast.

python tests/benchmarks/audit.py MANIFEST...            recall and false positives on the second half
python tests/benchmarks/audit.py --fit MANIFEST...      learn configs/audit/sieve.npz on the other half
python tests/benchmarks/audit.py --speed 500000 MANIFEST...      seconds for so many made-up thumbnails

The manifests name radiographs (``fx-monai index``). Patients are divided into two halves by a hash of their id: the
first chose the weights and thresholds, the second is reported. Every image is changed in every way of :data:`CHANGES`.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn
from scipy.linalg import eigh

from fx_monai.data.duplicates import search, sieve
from fx_monai.data.duplicates.thumbnail import rank_thumbnail
from fx_monai.data.manifest import Manifest
from fx_monai.data.pixels import read_pixels, to_uint8

Image = NDArray[np.uint8]
Change = Callable[[Image, np.random.Generator], Image]


def jpeg(image: Image, quality: int) -> Image:
    """Compress and decompress."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)


def resize(image: Image, factor: float) -> Image:
    """Resize by area averaging or bicubic interpolation."""
    height, width = image.shape
    size = (max(8, round(width * factor)), max(8, round(height * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)


def crop(image: Image, left: float, right: float, top: float, bottom: float) -> Image:
    """Cut off fractions of width and height."""
    height, width = image.shape
    return image[
        round(top * height) : height - round(bottom * height), round(left * width) : width - round(right * width)
    ]


def crop_in_total(image: Image, generator: np.random.Generator, fraction: float = 0.05) -> Image:
    """Cut a fraction of width and height off, at a random place."""
    left, top = generator.uniform(0, fraction, 2)
    return crop(image, left, fraction - left, top, fraction - top)


def gamma(image: Image, exponent: float) -> Image:
    """Apply a power law."""
    return (255 * (image / 255) ** exponent + 0.5).astype(np.uint8)


def contrast(image: Image, factor: float, shift: float) -> Image:
    """Stretch around the middle grey and shift; what leaves 0 to 255 is clipped."""
    return np.clip((image - 127.5) * factor + 127.5 + shift, 0, 255).astype(np.uint8)


def everything(image: Image, generator: np.random.Generator) -> Image:
    """Crop, gamma, contrast, resize and compress."""
    image = gamma(crop_in_total(image, generator), 2 ** generator.uniform(-0.7, 0.7))
    image = contrast(image, generator.uniform(0.7, 1.3), generator.uniform(-20, 20))
    return jpeg(resize(image, 2 ** generator.uniform(-1.5, 0.5)), int(generator.integers(50, 91)))


CHANGES: dict[str, Change] = {
    "JPEG quality 50 to 90": lambda image, g: jpeg(image, int(g.integers(50, 91))),
    "resized 0.25 to 2": lambda image, g: resize(image, 2 ** g.uniform(-2, 1)),
    "5 % of width and height cut off": crop_in_total,
    "0 to 5 % cut off at each side": lambda image, g: crop(image, *g.uniform(0, 0.05, 4)),
    "gamma 0.5 to 2": lambda image, g: gamma(image, 2 ** g.uniform(-1, 1)),
    "contrast 0.6 to 1.5, brightness +-30": lambda image, g: contrast(image, g.uniform(0.6, 1.5), g.uniform(-30, 30)),
    "crop, gamma, contrast, resize, JPEG": everything,
    "inverted": lambda image, g: 255 - image,
    "mirrored": lambda image, g: image[:, ::-1],
}
BEYOND: dict[str, Change] = {
    "5 % cut off at all four sides": lambda image, g: crop(image, 0.05, 0.05, 0.05, 0.05),
    "histogram equalised": lambda image, g: cv2.equalizeHist(image),
    "local contrast (CLAHE 4, 8 x 8)": lambda image, g: cv2.createCLAHE(4, (8, 8)).apply(image),
}
# small images are copies of large ones already; their own copies at 0.25 would be 16 pixels wide
LEAST_SIDE = 128


class Radiographs:
    """Images with their patients and halves."""

    def __init__(self, manifests: Sequence[Path]) -> None:
        self.images: list[Image] = []
        patients, ids = [], []
        for path in manifests:
            for record in (manifest := Manifest.read(path)):
                self.images.append(to_uint8(read_pixels(manifest.root / record.image_path)))
                patients.append(record.patient_id or f"{record.dataset}/{record.image_id}")
                ids.append(record.source_image or f"{record.dataset}/{record.image_id}")
        self.patients, self.ids = np.array(patients), np.array(ids)
        self.first_half = np.array([hashlib.sha256(p.encode()).digest()[0] % 2 == 0 for p in patients])
        self.large = np.array([min(image.shape) >= LEAST_SIDE for image in self.images])

    def thumbnails(self, rows: NDArray[np.int64], change: Change | None = None, seed: int = 0) -> NDArray[np.uint8]:
        """Return thumbnails of images, changed or as they are."""
        generator = np.random.default_rng(seed)
        images = (self.images[row] for row in rows)
        changed = (change(image, generator) if change else image for image in images)
        return np.stack([rank_thumbnail(np.ascontiguousarray(image)) for image in changed])


def fit(data: Radiographs, target: Path) -> None:
    """Learn the weights: between patients against within copies (linear discriminant analysis), even and odd apart."""
    rows = np.flatnonzero(data.first_half)
    plain = sieve.low_frequencies(data.thumbnails(rows))
    odd = sieve.odd_frequencies()
    # bone is bright in the images that are learned from, so the mean tells polarity
    mean = np.where(odd, 0, plain.mean(axis=0)).astype(np.float32)
    between = plain - mean
    within = [
        sieve.low_frequencies(data.thumbnails(rows, change, seed)) - plain
        for name, change in CHANGES.items()
        if name not in ("inverted", "mirrored")
        for seed in range(100, 106)
    ]
    matrix = np.zeros((len(odd), 0), dtype=np.float32)
    strengths = np.zeros(0)
    for own in (odd, ~odd):
        scatter = [_scatter(part[:, own]) for part in (between, np.concatenate(within))]
        ridges = [
            np.eye(own.sum()) * np.trace(s) / len(s) * share for s, share in zip(scatter, (0.02, 0.05), strict=True)
        ]
        values, vectors = eigh(scatter[0] + ridges[0], scatter[1] + ridges[1])
        spread = np.sqrt(((between[:, own] @ vectors) ** 2).mean(axis=0))
        weighted = np.zeros((len(odd), own.sum()), dtype=np.float32)
        weighted[own] = vectors / spread * values**0.25
        matrix, strengths = np.concatenate([matrix, weighted], axis=1), np.concatenate([strengths, values])
    chosen = np.sort(np.argsort(-strengths)[:48])
    target.parent.mkdir(parents=True, exist_ok=True)
    sieve.save_projection(sieve.Projection(mean, matrix[:, chosen]), target)
    print(f"{target}: learned on {len(rows)} images")


def _scatter(part: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(part.T.astype(np.float64) @ part / len(part))


def report(data: Radiographs, half: NDArray[np.bool_]) -> None:
    """Print recall per change, and pairs of different patients that are taken for copies."""
    rows = np.flatnonzero(half)
    changed = np.flatnonzero(data.large[rows])
    plain, patients, ids, number = data.thumbnails(rows), data.patients[rows], data.ids[rows], len(rows)
    print(f"{number} images, {len(changed)} of them changed; {len(np.unique(patients))} patients")
    wrong = pairs = same_patient = 0
    for name, change in {**CHANGES, **BEYOND}.items():
        copies = data.thumbnails(rows[changed], change, seed=1)
        found = search.find_copies(np.concatenate([plain, copies]))
        source = np.concatenate([np.arange(number), changed])
        first, second = source[found.first], source[found.second]
        crosses = (found.first < number) & (found.second >= number)
        hit = (
            crosses
            & (first == second)
            & (found.mirrored == (name == "mirrored"))
            & (found.inverted == (name == "inverted"))
        )
        print(f"{'beyond: ' if name in BEYOND else ''}{name:40s} recall {hit.sum() / len(changed):.4f}")
        # the pairs among the unchanged images are counted once
        counted = crosses | ((pairs == 0) & (found.second < number))
        different = patients[:, None] != patients[None]
        pairs += int(different[:, changed].sum()) + (int(np.triu(different, 1).sum()) if pairs == 0 else 0)
        wrong += int((counted & (patients[first] != patients[second])).sum())
        same_patient += int((counted & (patients[first] == patients[second]) & (ids[first] != ids[second])).sum())
    print(f"false positives: {wrong} of {pairs} pairs of different patients ({wrong / pairs:.1e} per pair)")
    print(f"other images of the same patient that look like copies (the audit asks more of those): {same_patient}")


def speed(number: int, data: Radiographs) -> None:
    """Print seconds for made-up images with the frequencies of the given ones, a tenth of them cropped copies."""
    thumbnails = _made_up(number, data.thumbnails(np.arange(len(data.images))), np.random.default_rng(0))
    copies = np.random.default_rng(1).permutation(number)[: number // 10].reshape(2, -1)
    thumbnails[copies[0]] = _cropped(thumbnails[copies[1]])
    weights = sieve.projection()
    started = time.perf_counter()
    vectors = sieve.describe(sieve.low_frequencies(thumbnails), weights)
    described = time.perf_counter()
    candidates = sum(len(pairs) for pairs in sieve.candidates(vectors, weights.odd))
    sifted = time.perf_counter()
    found = search.find_copies(thumbnails)
    ended = time.perf_counter()
    true = {tuple(sorted(pair)) for pair in copies.T.tolist()}
    hits = len(true & set(zip(found.first.tolist(), found.second.tolist(), strict=True)))
    print(f"{number} images: vectors {described - started:.0f} s, sieve {sifted - described:.0f} s")
    print(f"{candidates} candidates ({candidates / (number * (number - 1) / 2):.1e} per pair)")
    print(
        f"vectors, sieve and alignment {ended - sifted:.0f} s; {hits} of {len(true)} copies, {len(found)} pairs found"
    )


def _made_up(number: int, real: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return thumbnails whose cosine coefficients have the mean and the covariance of real ones (32 x 32 of them)."""
    whole = dctn(real.astype(np.float32), axes=(1, 2), norm="ortho")[:, :32, :32].reshape(len(real), -1)
    mean, scatter = whole.mean(axis=0), np.cov(whole.T)
    root = np.linalg.cholesky(scatter + np.eye(len(scatter)) * np.trace(scatter) / len(scatter) * 1e-3).astype(
        np.float32
    )
    found = np.empty((number, 64, 64), dtype=np.uint8)
    for start in range(0, number, 2000):
        count = min(2000, number - start)
        block = np.zeros((count, 64, 64), dtype=np.float32)
        block[:, :32, :32] = (mean + generator.normal(size=(count, 1024)).astype(np.float32) @ root.T).reshape(
            -1, 32, 32
        )
        images = idctn(block, axes=(1, 2), norm="ortho").reshape(count, -1)
        ranks = images.argsort(axis=1).argsort(axis=1)
        found[start : start + count] = (ranks * (255 / 4095)).astype(np.uint8).reshape(count, 64, 64)
    return found


def _cropped(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([rank_thumbnail(np.ascontiguousarray(image[2:63, 1:62])) for image in thumbnails])


def main() -> None:
    """Run what the arguments ask for."""
    words = sys.argv[1:]
    data = Radiographs([Path(word) for word in words if word.endswith(".parquet")])
    numbers = [int(word) for word in words if word.isdigit()]
    if "--speed" in words:
        speed(numbers[0] if numbers else 500_000, data)
        return
    if "--fit" in words:
        fit(data, Path(__file__).parents[2] / "configs" / "audit" / "sieve.npz")
    report(data, data.first_half if "--fit" in words else ~data.first_half)


if __name__ == "__main__":
    main()

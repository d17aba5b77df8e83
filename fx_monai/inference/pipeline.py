"""Many files: threads read and write while the network works, a bad file is listed and doesn't stop the others.

::

    readers (threads)  ->  network, batch by batch (caller's thread)  ->  writers (threads)
    file -> pixels, gate, network input                 interpret -> JSON, masks, overlay, SEG, SR

Images stay in the order of the files, so names and summaries are the same in every run. Readers are at most two batches
ahead and at most two batches wait for the writers, which bounds the memory.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from pydicom.config import disable_value_validation

from fx_monai.data.pixels import MAX_PIXELS
from fx_monai.errors import FxError
from fx_monai.inference.activations import Activations
from fx_monai.inference.identifiers import Names, identifiers_of
from fx_monai.inference.output_kinds import DEFAULT_OUTPUTS, Output
from fx_monai.inference.outputs import check_folder, write_outputs
from fx_monai.inference.predictor import Predictor
from fx_monai.inference.source import Source, read_source
from fx_monai.inference.summary import Done, Summary
from fx_monai.inference.views import Together, Views

THREADS = 2


@dataclass(frozen=True)
class Options:
    """How files are predicted.

    Args:
        outputs: kinds of files to write.
        any_image: predict also what the gate refuses.
        keep_identifiers: name results after their files, and tell patient, study and path in the JSON.
        together: whose findings are combined beside those of each image.
        batch_size: images in one pass through the network.
        max_pixels: larger images are refused before they are decoded.
    """

    outputs: Sequence[Output] = DEFAULT_OUTPUTS
    any_image: bool = False
    keep_identifiers: bool = False
    together: Together = Together.NONE
    batch_size: int = 8
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True, eq=False)
class Read:
    """One file after the readers: an image with the network's input, or the reason why not."""

    path: Path
    source: Source | None = None
    network_input: torch.Tensor | None = None
    error: FxError | None = None


class FilePrediction:
    """Predicts files and writes the results. A context manager, since threads work for it.

    Args:
        predictor: the network.
        paths: the files.
        folder: where the results go.
        options: how.
        progress: called with (done, total) images.

    Raises:
        OutputError: the folder can't be written.
    """

    def __init__(
        self,
        predictor: Predictor,
        paths: Sequence[Path],
        folder: Path,
        options: Options,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        check_folder(folder)
        self.predictor, self.paths, self.folder, self.options = predictor, list(paths), folder, options
        self.summary = Summary(folder, keep_identifiers=options.keep_identifiers)
        self.names = Names(options.keep_identifiers)
        self.views = Views(options.together)
        self._progress = progress
        self._writing: deque[Future[Done]] = deque()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        # pydicom's switch belongs to the whole process: one holder here, so that threads don't turn it back
        self._stack.enter_context(disable_value_validation())
        self._readers, self._writers = (ThreadPoolExecutor(THREADS, f"fx-{name}") for name in ("read", "write"))
        self._started = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._collect(0)
                self.summary.groups = self.views.write(self.folder)
        finally:
            for pool in (self._readers, self._writers):
                pool.shutdown(wait=True, cancel_futures=True)
            if kind is not None:
                self._collect_written()
            self.summary.seconds = time.monotonic() - self._started
            self._stack.close()

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.paths) // self.options.batch_size)

    def __iter__(self) -> Iterator[list[Read]]:
        """Yield the batches in order, read ahead by the readers."""
        size = self.options.batch_size
        waiting: deque[Future[Read]] = deque()
        rest = iter(self.paths)
        for _ in range(len(self)):
            for path in rest:
                waiting.append(self._readers.submit(self._read, path))
                if len(waiting) >= 3 * size:
                    break
            yield [waiting.popleft().result() for _ in range(min(size, len(waiting)))]

    def step(self, batch: Iterable[Read]) -> None:
        """Predict a batch and hand the results to the writers.

        Raises:
            OutputError: results of this or an earlier batch can't be written.
        """
        images = []
        for read in batch:
            if read.error is not None:
                self.summary.failed.append((str(read.path), str(read.error)))
                self._tell()
            else:
                images.append(read)
        if images:
            inputs = torch.cat([read.network_input for read in images if read.network_input is not None])
            found = self.predictor.activate(inputs)
            for index, read in enumerate(images):
                assert read.source is not None
                name = self.names.name(read.source)
                self._writing.append(self._writers.submit(self._write, found, index, read.source, name))
        self._collect(2 * self.options.batch_size)

    def _read(self, path: Path) -> Read:
        try:
            source = read_source(path, any_image=self.options.any_image, max_pixels=self.options.max_pixels)
            return Read(path, source, self.predictor.prepare(source))
        except FxError as error:
            return Read(path, error=error)

    def _write(self, found: Activations, index: int, source: Source, name: str) -> Done:
        prediction = self.predictor.interpret(found, index, source)
        identifiers = identifiers_of(source) if self.options.keep_identifiers else None
        written = write_outputs(
            prediction,
            source,
            name=name,
            folder=self.folder,
            outputs=self.options.outputs,
            identifiers=identifiers,
        )
        self.views.add(source, name, prediction)
        return Done(name, prediction, written)

    def _collect(self, allowed: int) -> None:
        """Wait until at most so many images wait for the writers, and take the finished ones into the summary."""
        while len(self._writing) > allowed:
            self.summary.add(self._writing.popleft().result())
            self._tell()

    def _tell(self) -> None:
        if self._progress:
            self._progress(len(self.summary.written) + len(self.summary.failed), len(self.paths))

    def _collect_written(self) -> None:
        """Take into the summary what was written before an interruption."""
        for future in self._writing:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.summary.add(future.result())
        self._writing.clear()

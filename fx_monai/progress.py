"""A progress bar for work outside training: a moving bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm


def progress_bar(title: str, stream: Any = None) -> Callable[[int, int], None]:
    """Return ``report(done, total)`` that draws a bar with the time that is left.

    Args:
        title: what is being done.
        stream: where to write, standard error by default.
    """
    stream = stream or sys.stderr
    moving = stream.isatty()
    bar: Any = None

    def report(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(
                total=total,
                desc=title,
                file=stream,
                dynamic_ncols=moving,
                mininterval=0.2 if moving else 10.0,
                ascii=not moving,
            )
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    return report

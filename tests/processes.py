"""Runs a function in several processes that train together, or alone in one of its own."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fx_monai.engine.processes import join, leave


def run_together(function: Callable[[], Any], folder: Path, *, processes: int) -> list[Any]:
    """Return what the function returns in every process, by its number; gloo on the CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # forked, so that nothing is imported again
    context = multiprocessing.get_context("fork")
    folder.mkdir(parents=True)
    started = [
        context.Process(target=_run, args=(function, folder, rank, processes, port)) for rank in range(processes)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(timeout=240)
    assert [process.exitcode for process in started] == [0] * processes
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(processes)]


def _run(function: Callable[[], Any], folder: Path, rank: int, processes: int, port: int) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    join("gloo")
    torch.save(function(), folder / f"{rank}.pt")
    leave()

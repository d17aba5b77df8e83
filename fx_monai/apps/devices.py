"""Which device to use, and seeds."""

from __future__ import annotations

import random

import ignite.distributed as idist
import numpy as np
import torch

from fx_monai.engine.processes import world_size
from fx_monai.errors import ConfigError


def choose_device(name: str | torch.device) -> torch.device:
    """Return the device by name; "" = the first GPU (of several processes, each its own), else the CPU.

    Raises:
        ConfigError: no such device on this machine.
    """
    if name == "" and world_size() > 1:
        return idist.device()
    if name == "":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            where="device",
            problem=f"'{name}' can't be used ({str(error).splitlines()[0]})",
            expected="cpu, cuda or cuda:N of a GPU that is there",
            remedy="Leave --device out to let the program choose",
        ) from error
    return device


def seed_everything(seed: int) -> None:
    """Seed every generator that libraries may use."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)

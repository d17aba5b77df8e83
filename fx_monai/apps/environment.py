"""What a run was made with: versions, machine, processes. No host name, no user, no path."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from fx_monai import __version__
from fx_monai.data.store import usable_cores
from fx_monai.engine.processes import world_size

PACKAGES = ("torch", "torchvision", "monai", "pytorch-ignite", "timm", "numpy", "scipy", "pyarrow", "mlflow")


def environment(device: torch.device, packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return names and versions, in the order in which they are shown."""
    found = {"fx_monai": __version__, "Python": platform.python_version()}
    found |= {name: importlib.metadata.version(name) for name in packages}
    found |= {"operating system": f"{platform.system()} {platform.machine()}", "device": device_name(device)}
    return found | {"processes": str(world_size()), "processor": processor(), "CPU cores": str(usable_cores())}


def installed_packages() -> str:
    """Return all installed packages as ``name==version``, one a line."""
    found = {f"{d.metadata['Name']}=={d.version}" for d in importlib.metadata.distributions() if d.metadata["Name"]}
    return "\n".join(sorted(found, key=str.lower)) + "\n"


def processor() -> str:
    """Return the name of the CPU."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """Return what a device is called."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type

"""Arithmetic of the forward pass: float32, or autocast to 16 bits where the hardware has it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Precision:
    """Autocast for forward passes and the gradient scaler that float16 needs; losses stay in float32.

    Args:
        name: ``float32``, ``bfloat16`` or ``float16``; see :func:`usable_precision`.
        device: where to train.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.dtype = DTYPES[name]
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "float16")

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of a forward pass."""
        if self.dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


def usable_precision(name: str, device: torch.device) -> str:
    """Return the precision, or ``float32`` where the device would only imitate it and be slower.

    float16 is for GPUs; bfloat16 for GPUs and for CPUs with instructions of their own for it.
    """
    if device.type == "cpu" and (name == "float16" or not native_bfloat16()):
        return "float32"
    return name


def native_bfloat16() -> bool:
    """Return whether this CPU multiplies bfloat16 itself (AMX or AVX-512 BF16)."""
    # PyTorch has no public name for it; a version without these counts as no
    checks = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(check is not None and check() for check in checks)

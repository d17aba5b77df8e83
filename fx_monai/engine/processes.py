"""Several processes that train one network: who they are, and what they agree on.

Processes are started by ``torchrun`` or SLURM and joined through ``ignite.distributed``. Gradients are summed here and
not by ``DistributedDataParallel``, because a phase changes which parameters are trainable, and DDP fixes them when it
is made: it would have to be rebuilt in every phase, or wait in LOCK for gradients that never come. The price is that
sums don't overlap with the backward pass.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TypeVar

import ignite.distributed as idist
import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")

_BUCKET = 2**24
"""Numbers that are summed in one go."""


def launched_together() -> bool:
    """Return whether torchrun or SLURM has started several processes."""
    return int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1) > 1


def join(backend: str = "") -> None:
    """Join the processes that were launched together; does nothing when there is one, or when they have joined.

    Args:
        backend: ``nccl`` or ``gloo``; default: nccl where there are GPUs.
    """
    if launched_together() and not (dist.is_available() and dist.is_initialized()):
        idist.initialize(backend or ("nccl" if torch.cuda.is_available() else "gloo"))


def leave() -> None:
    """Leave the processes that were joined."""
    if dist.is_available() and dist.is_initialized():
        idist.finalize()


def rank() -> int:
    """Return this process's number, 0 for the one that writes."""
    return int(idist.get_rank())


def world_size() -> int:
    """Return the number of processes."""
    return int(idist.get_world_size())


def is_writer() -> bool:
    """Return whether this process writes files, MLflow and messages."""
    return rank() == 0


def wait_for_all() -> None:
    """Wait until all processes have come here."""
    if world_size() > 1:
        idist.barrier()


def any_process(*flags: bool) -> tuple[bool, ...]:
    """Return, for every flag, whether it is set in any process; all processes must call."""
    if world_size() == 1:
        return flags
    return tuple(bool(value) for value in _maximum(torch.tensor(flags, dtype=torch.uint8)))


def gather(own: T) -> list[T]:
    """Return the value of every process, in order of their numbers; all processes must call."""
    if world_size() == 1:
        return [own]
    values: list[T | None] = [None] * world_size()
    dist.all_gather_object(values, own, group=_cpu_group())
    return values  # type: ignore[return-value]


def sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace every gradient by its sum over the processes; all processes must call.

    A parameter that has a gradient anywhere has one everywhere afterwards, one that has none stays without, as in a
    single process. The losses have divided by the numbers of all processes (:mod:`fx_monai.ops.global_sum`).
    """
    if world_size() == 1:
        return
    present = _maximum(torch.tensor([p.grad is not None for p in parameters], dtype=torch.uint8)).tolist()
    active = [p for p, anywhere in zip(parameters, present, strict=True) if anywhere]
    for parameter in active:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    _sum_in_place([p.grad for p in active if p.grad is not None])


def mean_buffers(modules: Sequence[nn.Module]) -> None:
    """Replace floating-point buffers, such as BatchNorm statistics, by their mean over the processes."""
    if world_size() == 1:
        return
    buffers = [b for module in modules for b in module.buffers() if b.is_floating_point()]
    _sum_in_place(buffers)
    for buffer in buffers:
        buffer.div_(world_size())


@torch.no_grad()
def _sum_in_place(tensors: Sequence[Tensor]) -> None:
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        dist.all_reduce(flat)
        for tensor, total in zip(bucket, torch.split(flat, [tensor.numel() for tensor in bucket]), strict=True):
            tensor.copy_(total.view_as(tensor))


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and (tensor.dtype is not bucket[0].dtype or sum(t.numel() for t in bucket) >= _BUCKET):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def _maximum(values: Tensor) -> Tensor:
    dist.all_reduce(values, op=dist.ReduceOp.MAX, group=_cpu_group())
    return values


def _cpu_group() -> dist.ProcessGroup | None:
    """Return a group that talks on the CPU, so that agreeing doesn't wait for the GPU; None = the default group."""
    if dist.get_backend() == "gloo":
        return None
    return _gloo_group()


@cache
def _gloo_group() -> dist.ProcessGroup:
    group = dist.new_group(backend="gloo")
    assert isinstance(group, dist.ProcessGroup)
    return group

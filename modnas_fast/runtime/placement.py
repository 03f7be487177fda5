"""Where a search computes, and how tensors get there and back without waiting for a GPU more often than needed."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.implementations import gpus

DeviceChoice = Literal["auto", "cpu", "cuda"]


def search_device(choice: DeviceChoice) -> torch.device:
    """The device that `search.device` asks for: with `auto` a GPU that the kernels are made for, else the CPU.

    Raises InputError where `cuda` is asked for and there is no such GPU.

    >>> search_device("cpu")
    device(type='cpu')
    """
    if choice == "cpu":
        return torch.device("cpu")
    found = gpus()
    if found.usable:
        return torch.device("cuda", torch.cuda.current_device())
    if choice == "cuda":
        raise InputError(f"search.device: cuda was asked for, but {found.reason}; set search.device to auto or cpu")
    return torch.device("cpu")


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`; on the way from the CPU to a GPU neither of the two waits for the other."""
    if tensor.device.type == "cpu" and device.type != "cpu":
        return _pinned(tensor).to(device, non_blocking=True)
    return tensor.to(device)


def _pinned(tensor: Tensor) -> Tensor:
    """A copy in memory that a GPU can read by itself; torch keeps it until the GPU has."""
    return tensor.pin_memory()


def to_host(*tensors: Tensor) -> list[Tensor]:
    """Copies in float64 on the CPU; of all tensors together, so that a GPU is waited for once.

    >>> to_host(torch.tensor([[1.5], [2.0]]), torch.tensor(3.0))
    [tensor([[1.5000],
            [2.0000]], dtype=torch.float64), tensor(3., dtype=torch.float64)]
    """
    flat = torch.cat([tensor.detach().double().flatten() for tensor in tensors]).cpu()
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors)]

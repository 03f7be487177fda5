"""Gramian and weighted sum in plain PyTorch, in float64, on any device."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

#: numbers that are widened to float64 at a time
CHUNK = 1 << 24


def gramian(parts: list[Tensor], leading: int) -> Tensor:
    """Σ over parts [*leading, T, ...] of ⟨row s, row t⟩: float64 [*leading, T, T]."""
    shape = parts[0].shape[: leading + 1]
    total = torch.zeros((*shape, shape[-1]), dtype=torch.float64, device=parts[0].device)
    for part in parts:
        for rows in _chunks(part, leading):
            wide = rows.double()
            total += wide @ wide.mT
    return (total + total.mT) / 2


def combine(weights: Tensor, parts: list[Tensor], leading: int) -> list[Tensor]:
    """Σ_t weights[..., t] × row t of each part [*leading, T, ...], in float64: tensors [*leading, ...]."""
    factors = weights.double()[..., None]  # [*leading, T, 1]
    sums = []
    for part in parts:
        chunks = [
            torch.where(factors != 0, factors * rows.double(), 0.0).sum(-2).to(part.dtype)
            for rows in _chunks(part, leading)
        ]
        shape = (*part.shape[:leading], *part.shape[leading + 1 :])
        sums.append(torch.cat(chunks, dim=-1).reshape(shape) if chunks else part.new_zeros(shape))
    return sums


def _chunks(part: Tensor, leading: int) -> Iterator[Tensor]:
    rows = part.reshape(*part.shape[: leading + 1], part.shape[leading + 1 :].numel())
    if rows.numel():
        yield from rows.split(max(1, CHUNK * rows.shape[-1] // rows.numel()), dim=-1)

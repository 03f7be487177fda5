"""Sparse gradients, as `nn.Embedding(sparse=True)` gives them: the rows that any loss touches, as dense tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Touched(NamedTuple):
    """Where the dense rows of a parameter's gradients belong."""

    indices: Tensor  # [sparse axes, rows]
    shape: torch.Size

    def sparse(self, rows: Tensor) -> Tensor:
        """The sparse gradient with these rows."""
        return torch.sparse_coo_tensor(self.indices, rows, self.shape, is_coalesced=True, check_invariants=False)


def touched_rows(column: Sequence[Tensor | None]) -> tuple[list[Tensor | None], Touched | None]:
    """One parameter's gradients with only the rows that some loss touches, and where they belong.

    Unchanged, and None, where no gradient is sparse; dense where some are dense, as a sum of the two is.
    """
    present = [part for part in column if part is not None]
    if not any(part.is_sparse for part in present):
        return list(column), None
    if not all(part.is_sparse for part in present):
        return [part.to_dense() if part is not None and part.is_sparse else part for part in column], None
    parts = [part.coalesce() for part in present]
    indices, places = torch.cat([part.indices() for part in parts], dim=1).unique(dim=1, return_inverse=True)
    rows = []
    for part, at in zip(parts, places.split([part.indices().shape[1] for part in parts]), strict=True):
        values = part.values()
        rows.append(values.new_zeros((indices.shape[1], *values.shape[1:])).index_copy_(0, at, values))
    dense = iter(rows)
    return [None if part is None else next(dense) for part in column], Touched(indices, parts[0].shape)

"""What several networks compute from the same tensors, computed once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Memo:
    """Runs a function once per distinct key, tuple of input tensors, told apart by identity, and mode of autograd."""

    def __init__(self) -> None:
        self._values: dict[tuple[object, ...], tuple[Tensor, tuple[Tensor, ...]]] = {}

    def __call__(self, key: object, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        full_key = (key, torch.is_grad_enabled(), *(id(x) for x in inputs))
        if full_key not in self._values:
            self._values[full_key] = function(*inputs), inputs  # keeps the inputs, and so their ids, alive
        return self._values[full_key][0]

"""What the passes of a search ask of a supernetwork of any space."""

from __future__ import annotations

from typing import Any, Protocol

import torch.nn.functional as F
from torch import Tensor

from modnas_fast.supernets.memo import Memo


class Supernet(Protocol):
    """Shared weights of a whole search space; a module, so parameters and buffers are there as well."""

    def embed(self, x: Tensor) -> Tensor:
        """What all architectures share of a minibatch."""

    def predict_from(self, state: Tensor, onehot: Tensor, *, memo_of_state: Memo | None = None, **how: Any) -> Tensor:
        """Logits [S, B, classes] of samples [S, N] behind `embed`; `memo_of_state` may hold what was computed of it."""

    def __call__(self, x: Tensor, onehot: Tensor, y: Tensor, **how: Any) -> Tensor:
        """Task losses [S]."""


def cross_entropies(outputs: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy [T] in nats of logits [T, B, classes] for labels y [B]."""
    losses = F.cross_entropy(outputs.flatten(0, 1), y.repeat(len(outputs)), reduction="none")
    return losses.view(len(outputs), -1).mean(dim=1)

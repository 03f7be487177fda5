"""What the passes of a search ask of a supernetwork of any space."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import torch.nn.functional as F
from torch import Tensor, nn

from modnas_fast.supernets.memo import Memo

if TYPE_CHECKING:
    from typing_extensions import Unpack


class How(TypedDict, total=False):
    """Keywords of `Supernet.predict`: how samples are computed."""

    #: whether every sample is an exact one-hot; None: to be looked at
    hard: bool | None
    #: whether the gradient by hard samples is exact for options not chosen too
    exact: bool
    #: save memory: compute activations once more in the backward pass
    recompute: bool


class Supernet(nn.Module):
    """Shared weights of a whole search space. What is its own is in `embed` and `predict_from`."""

    def embed(self, x: Tensor) -> Tensor:
        """What all architectures share of a minibatch."""
        raise NotImplementedError

    def predict_from(
        self,
        state: Tensor,
        onehot: Tensor,
        *,
        hard: bool | None = None,
        exact: bool = True,
        recompute: bool = False,
        memo_of_state: Memo | None = None,
    ) -> Tensor:
        """Logits [S, B, classes] of samples [S, N] behind `embed`; `memo_of_state` may hold what was computed of it."""
        raise NotImplementedError

    def predict(self, x: Tensor, onehot: Tensor, **how: Unpack[How]) -> Tensor:
        """Logits [S, B, classes] of samples [S, N] on one minibatch."""
        return self.predict_from(self.embed(x), onehot, **how)

    def forward(self, x: Tensor, onehot: Tensor, y: Tensor, **how: Unpack[How]) -> Tensor:
        """Task losses [S] of samples [S, N]: mean cross-entropy in nats over the minibatch with labels y [B]."""
        return cross_entropies(self.predict(x, onehot, **how), y)


def cross_entropies(outputs: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy [T] in nats of logits [T, B, classes] for labels y [B]."""
    losses = F.cross_entropy(outputs.flatten(0, 1), y.repeat(len(outputs)), reduction="none")
    return losses.view(len(outputs), -1).mean(dim=1)

"""What a search asks of a supernetwork of any space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict

import torch.nn.functional as F
from torch import Tensor, nn

from modnas_fast.supernets.linear_outputs import LinearOutputs
from modnas_fast.supernets.memo import Memo

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: of a supernet: [S, B, ...], or what makes them
Outputs = Tensor | LinearOutputs
#: mean losses [S] of outputs for the y of a minibatch
Losses = Callable[[Outputs, Tensor], Tensor]
#: what a pass computes of hard samples: the options chosen, for the gradient by weights or for that by samples, or all;
#: or of samples that may be soft
Computed = Literal["weights", "samples", "all", "soft"]


class How(TypedDict, total=False):
    """Keywords of `Supernet.predict_from`: how samples are computed."""

    #: whether every sample is an exact one-hot; None: to be looked at
    hard: bool | None
    #: whether the gradient by hard samples is exact for options not chosen too
    exact: bool
    #: save memory: compute activations once more in the backward pass
    recompute: bool


class Plan(NamedTuple):
    """How a pass is made."""

    #: samples whose activations exist at a time
    chunk: int
    #: as in `How`
    recompute: bool


class Supernet(nn.Module):
    """Shared weights of a whole search space, and the outputs of S sampled networks on one minibatch.

    A subclass implements one of the two:

    - `predict(x, onehot)`, and nothing else. It returns outputs [S, B, ...] of samples [S, N], which may be soft: then
      options are mixed by their shares. Outputs are differentiable in the samples and in the weights, and rows do not
      mix: that of a sample depends on no other sample.
    - `embed(x)`, what all networks share of a minibatch, and `predict_from(embedded, onehot, **how)`. What is embedded
      is then computed once per minibatch, and the keywords of `How` tell what may be left out.

    Parts of the samples are computed one after the other, and on a CPU in several threads at a time: equal arguments
    give equal outputs, without dropout or running statistics. By default each part is a single network, which is the
    safe side of memory; `plan` and `networks_at_a_time` tell where more fit.
    """

    #: whether passes may be captured as CUDA graphs: they read no values, and shapes follow from shapes
    capturable = False
    #: whether x may be bfloat16 while the weights are float32
    takes_bfloat16 = False
    #: whether statistics of minibatches are taken by `batch_statistics`, over all ranks that divide one
    shares_statistics = False
    #: whether the quality of chosen networks wants `statistics` of training samples, for `predict_chosen`
    calibrates = False
    #: whether ranks hold parts of the weights, see `sharded`: a layer's are whole only while it is called
    divided = False
    #: what is to be told of where the weights began, in words
    notes: tuple[str, ...] = ()

    def embed(self, x: Tensor) -> Tensor:
        """What all networks share of a minibatch; x itself, unless overridden."""
        return x

    def predict_from(
        self,
        state: Tensor,
        onehot: Tensor,
        *,
        hard: bool | None = None,
        exact: bool = True,
        recompute: bool = False,
        memo_of_state: Memo | None = None,
    ) -> Outputs:
        """Outputs [S, B, ...] of samples [S, N] behind `embed`; `memo_of_state` may hold what was computed of it.

        They may come as `LinearOutputs`, which a task with many classes takes without their logits in memory.
        """
        if type(self).predict is Supernet.predict:
            raise NotImplementedError(f"{type(self).__name__}: implement predict, or embed and predict_from")
        return self.predict(state, onehot)

    def predict(self, x: Tensor, onehot: Tensor) -> Tensor:
        """Outputs [S, B, ...] of samples [S, N] on one minibatch x."""
        outputs = self.predict_from(self.embed(x), onehot)
        return outputs.logits() if isinstance(outputs, LinearOutputs) else outputs

    def statistics(self, batches: Sequence[Tensor], onehot: Tensor) -> Sequence[object]:
        """What is computed anew of each hard sample [S, N] on minibatches of training samples, without a gradient."""
        return [None] * len(onehot)

    def predict_chosen(self, state: Tensor, onehot: Tensor, statistics: Sequence[object]) -> Outputs:
        """Outputs [S, B, ...] of hard samples behind `embed`, by their `statistics` instead of the minibatch's."""
        return self.predict_from(state, onehot)

    def forward(self, x: Tensor, onehot: Tensor, y: Tensor, losses: Losses | None = None, **how: Unpack[How]) -> Tensor:
        """Mean losses [S] of samples [S, N] on a minibatch (x, y); without `losses`, cross-entropies in nats."""
        return (losses or cross_entropies)(self.predict_from(self.embed(x), onehot, **how), y)

    def divisible_layers(self) -> Sequence[nn.Module]:
        """Modules that are called one after the other, so that ranks may divide the weights of each; none by default.

        No weight of theirs is read but while they are called.
        """
        return ()

    def plan(self, x: Tensor, samples: int, computed: Computed, free: int | None, workers: int = 1) -> Plan:
        """How many of S samples have their activations in memory at a time.

        Args:
            x: the minibatch; its shape, type and device matter alone.
            samples: S.
            computed: what of them is.
            free: bytes, None where not known.
            workers: parts that are worked on at the same time.

        Raises InputError where not even one fits.
        """
        return Plan(1, recompute=False)

    def networks_at_a_time(self, x: Tensor, free: int | None) -> int:
        """How many networks are predicted side by side without a gradient; arguments and errors as of `plan`."""
        return 1


def cross_entropies(outputs: Outputs, y: Tensor) -> Tensor:
    """Mean cross-entropy [T] in nats of logits [T, B, classes] for labels y [B], or of what makes such logits."""
    if isinstance(outputs, LinearOutputs):
        return outputs.losses(y)
    losses = F.cross_entropy(outputs.flatten(0, 1), y.repeat(len(outputs)), reduction="none")
    return losses.view(len(outputs), -1).mean(dim=1)

"""The MetaPredictor θ: p(architecture, device) → cost in the device's normalised range; trained, then frozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from modnas_fast.spaces import SearchSpace

#: networks whose costs are predicted at once
CHUNK = 4096


class MetaPredictor(nn.Module):
    """Cost as a sum over executed operations, each with a cost that depends on the device.

    p(a, d) = base(d) + Σ_o n_o(a)·cost_o(d): n_o counts how often option o is chosen in the canonical network, in
    which choices without influence stand still, so that what is never executed costs nothing and gets no gradient. A
    space whose costs are linear in something else tells its own n (`SearchSpace.features`).
    With some fifty noisy measurements per device this orders networks better than a network with free interactions
    between choices, which fits the noise.

    Args:
        space: the search space.
        embedding_width: E.
        hidden: width of the hidden layer (100 in the paper's predictor).
        generator: source of the initial weights.

    Called with one-hots or relaxed samples [..., N] and d [..., E]; returns costs [...] in which 0 and 1 are the
    extremes of the device's reference networks.
    """

    kinds: Tensor

    def __init__(
        self,
        space: SearchSpace,
        embedding_width: int,
        hidden: int = 100,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self._space = space
        names = [option for choice in space.choices for option in choice.options]
        kinds = list(dict.fromkeys(names))
        kind_of_option = torch.tensor([kinds.index(name) for name in names])
        self.register_buffer("kinds", nn.functional.one_hot(kind_of_option).float() / len(space.choices))  # [N, K]
        self.costs = nn.Sequential(
            seeded_linear(embedding_width, hidden, generator),
            nn.SiLU(),
            seeded_linear(hidden, (self.num_counts or len(kinds)) + 1, generator),
        )

    @property
    def num_counts(self) -> int | None:
        """How many counts the space tells; None: the options are counted."""
        return self._space.num_features

    def counts(self, onehot: Tensor) -> Tensor:
        """What costs are linear in, [..., K]: shares of choices with each kind of option, or the space's features."""
        canonical = self._space.canonical(onehot)
        return canonical @ self.kinds if self._space.num_features is None else self._space.features(canonical)

    def forward(self, onehot: Tensor, d: Tensor) -> Tensor:
        counts = self.counts(onehot)
        costs = self.costs(2 * d - 1)
        return costs[..., -1] + (counts * costs[..., :-1]).sum(dim=-1)


class DetailedMetaPredictor(MetaPredictor):
    """The same with the detailed counts of the space (`SearchSpace.details`), for hundreds of measurements per device.

    Raises InputError where the space has none.

    >>> from modnas_fast.spaces import make_space
    >>> space = make_space("gpt")
    >>> predictor = DetailedMetaPredictor(space, embedding_width=10)
    >>> predictor(space.sample(5)[:, None], torch.rand(8, 10)).shape
    torch.Size([5, 8])
    """

    @property
    def num_counts(self) -> int:
        return self._space.details(self._space.onehot(torch.zeros(len(self._space.choices), dtype=torch.int64))).shape[
            -1
        ]

    def counts(self, onehot: Tensor) -> Tensor:
        return self._space.details(self._space.canonical(onehot))


class CostModel(nn.Module):
    """All C costs of networks on devices: one MetaPredictor per metric, each with its part of the embedding.

    Args:
        predictors: called with one-hots [..., N] and d [..., E]; one per metric, in the order of the embeddings.

    Called with one-hots [..., N] and embeddings [..., C·E]; returns costs [..., C].
    """

    def __init__(self, predictors: Sequence[nn.Module]) -> None:
        super().__init__()
        self.predictors = nn.ModuleList(predictors)

    def forward(self, onehot: Tensor, d: Tensor) -> Tensor:
        parts = d.chunk(len(self.predictors), dim=-1)
        return torch.stack([predictor(onehot, part) for predictor, part in zip(self.predictors, parts)], dim=-1)

    @torch.no_grad()
    def on_devices(self, onehot: Tensor, d: Tensor) -> Tensor:
        """Costs [n, T, C] of all of n networks [n, N] on all of T devices [T, C·E], some thousand at a time."""
        return torch.cat([self(part[:, None], d) for part in onehot.split(CHUNK)])


def seeded_linear(inputs: int, outputs: int, generator: torch.Generator | None = None, scale: float = 1.0) -> nn.Linear:
    """A linear layer with weights N(0, scale² / inputs) from `generator`, not from the global one; biases are 0."""
    linear = nn.utils.skip_init(nn.Linear, inputs, outputs)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(linear.weight.shape, generator=generator) * scale / inputs**0.5)
        linear.bias.zero_()
    return linear


@dataclass(frozen=True)
class PredictorQuality:
    """How well predictions order and match measurements on one device."""

    spearman: float
    kendall: float
    #: mean absolute percentage error, as a fraction
    mape: float


def train_metapredictor(
    predictor: nn.Module,
    onehot: Tensor,
    d: Tensor,
    target: Tensor,
    *,
    steps: int,
    learning_rate: float,
    on_step: Callable[[int], None] = lambda done: None,
) -> list[float]:
    """Fits θ by mean squared error with Adam on full batches, then freezes it; the loss of every step.

    Args:
        predictor: changed in place; its parameters no longer require gradients afterwards.
        onehot: measured architectures, [n, N].
        d: embedding of the device each was measured on, [n, E].
        target: measured cost in the device's normalised range, [n].
        steps: optimiser steps; the learning rate falls to zero by cosine.
        learning_rate: Adam's initial step size.
        on_step: called with the number of finished steps.
    """
    return fit(predictor, lambda: nn.functional.mse_loss(predictor(onehot, d), target), steps, learning_rate, on_step)


def fit(
    predictor: nn.Module,
    loss_of_batch: Callable[[], Tensor],
    steps: int,
    learning_rate: float,
    on_step: Callable[[int], None],
) -> list[float]:
    """Minimises what `loss_of_batch` returns, a new batch per call, then freezes the predictor; every step's loss."""
    optimizer = torch.optim.Adam(predictor.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    for step in range(steps):
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of_batch()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        on_step(step + 1)
    predictor.requires_grad_(False)
    return losses


def predictor_quality(predicted: Sequence[float], measured: Sequence[float]) -> PredictorQuality:
    """Spearman and Kendall rank correlation and relative error of predictions on one device.

    >>> predictor_quality([1.0, 2.0, 3.3], [1.0, 2.0, 3.0]).spearman
    1.0
    """
    import scipy.stats  # takes a second to load; queries of a result do without

    if len(set(predicted)) == 1 or len(set(measured)) == 1:
        spearman = kendall = 0.0  # undefined: one side has no order
    else:
        spearman = scipy.stats.spearmanr(predicted, measured).statistic
        kendall = scipy.stats.kendalltau(predicted, measured).statistic
    relative = [abs(p - m) / m for p, m in zip(predicted, measured)]
    return PredictorQuality(round(float(spearman), 12), float(kendall), sum(relative) / len(relative))

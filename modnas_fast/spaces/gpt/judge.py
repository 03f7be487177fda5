"""What judges GPTs that nobody measured: the published networks of perplexity, and ridge models of costs.

HW-GPT-Bench measured 10,000 of some 10¹⁴ networks. Of the others, perplexity is what its authors' network says, an MLP
on published one-hots; a latency or energy is what a linear model says that was fitted to all measured networks of the
device, with one set of counts per width (`GPTSpace.details`). Single measurements are noisy; a model over all of them
is less so, and a search cannot profit from a lucky one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import scipy.stats
import torch
from torch import Tensor, nn

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.published import Fit

if TYPE_CHECKING:
    from modnas_fast.spaces.gpt.space import GPTSpace

#: penalty of the ridge models per network, of standardised costs
RIDGE = 1e-6


def published_onehot(space: GPTSpace, onehot: Tensor) -> Tensor:
    """One-hots [..., N] in which the groups of absent layers are zero, as HW-GPT-Bench writes them."""
    layers = space.scale.layers
    groups = space.canonical(onehot).split(space.group_sizes, dim=-1)
    present = space.present(groups[1])  # [..., L]
    kept = [group * present[..., layer % layers, None] for layer, group in enumerate(groups[2:-1])]
    return torch.cat([*groups[:2], *kept, groups[-1]], dim=-1)


class PerplexityNet(nn.Module):
    """HW-GPT-Bench's perplexity of networks [n, N] of a scale: float64 [n].

    Args:
        layers: weights [out, in] and biases [out], the first of published one-hots, the last of one output.
        space: of the scale.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]], space: GPTSpace) -> None:
        super().__init__()
        self._space = space
        self._layers = [(weight.double(), bias.double()) for weight, bias in layers]

    @classmethod
    def load(cls, file: Path, space: GPTSpace) -> PerplexityNet:
        """The network in a file of HW-GPT-Bench. Raises InputError where it is none for this scale."""
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            weights = [value for name, value in state.items() if name.endswith("weight")]
            biases = [value for name, value in state.items() if name.endswith("bias")]
            sizes = [space.num_options, *(len(weight) for weight in weights)]
            fits = all(w.shape == (o, i) and b.shape == (o,) for w, b, i, o in zip(weights, biases, sizes, sizes[1:]))
        except Exception as error:  # what the unpickler stumbles over in a damaged file has no common type
            raise InputError(f"{file} is no network of HW-GPT-Bench ({str(error).partition(chr(10))[0]})") from None
        if not weights or len(weights) != len(biases) or not fits or sizes[-1] != 1:
            raise InputError(f"{file}: wanted an MLP of {space.num_options} inputs and one output, for this scale")
        return cls(list(zip(weights, biases)), space)

    @torch.no_grad()
    def forward(self, onehot: Tensor) -> Tensor:
        x = published_onehot(self._space, onehot).double()
        for place, (weight, bias) in enumerate(self._layers):
            x = nn.functional.linear(x, weight, bias)
            x = x.relu() if place < len(self._layers) - 1 else x
        return x.squeeze(-1)


class CostModels:
    """Costs of networks on the devices of a table, by ridge models: a `CostJudge`.

    Sizes that lie outside of all that was measured may lead a linear model anywhere, below zero even. So no network is
    judged to cost less than the least that was measured of its width: an answer cannot gain by that.

    Args:
        space: the search space.
        onehot: of the networks measured, [n, N].
        values: their costs by device, float64 [n, C].
    """

    def __init__(self, space: GPTSpace, onehot: Tensor, values: dict[str, Tensor]) -> None:
        self._space = space
        self._onehot = onehot
        self._values = values
        self._weights: dict[str, Tensor] = {}

    @cached_property
    def _counts(self) -> Tensor:
        return self._space.details(self._space.canonical(self._onehot).double())

    @cached_property
    def _gram(self) -> Tensor:
        penalty = RIDGE * len(self._counts) * torch.eye(self._counts.shape[1], dtype=torch.float64)
        return torch.linalg.cholesky(self._counts.T @ self._counts + penalty)

    def _of(self, device: str) -> Tensor:
        """Weights [F, C] of a device; NaN for a cost that was not measured there."""
        if device not in self._weights:
            values = self._values[device]
            mean = values.mean(0)
            solved = torch.cholesky_solve(self._counts.T @ (values - mean), self._gram)
            solved += mean * self._constant[:, None]
            self._weights[device] = solved
        return self._weights[device]

    @cached_property
    def _constant(self) -> Tensor:
        """Weights [F] that give 1 for every network."""
        per_width = self._counts.shape[1] // len(self._space.scale.widths)
        return torch.arange(self._counts.shape[1]).remainder(per_width).eq(0).double()

    def _least(self, device: str, onehot: Tensor) -> Tensor:
        """The least measured costs [n, C] of the width of each of the networks [n, N]."""
        widths = len(self._space.scale.widths)
        own = self._onehot[:, :widths].argmax(-1)
        least = torch.stack([self._values[device][own == width].amin(0) for width in range(widths)])
        return least[onehot[:, :widths].argmax(-1)]

    def __call__(self, device: str, onehot: Tensor) -> Tensor:
        """Costs [n, C], float64, of networks [n, N] on a device."""
        told = self._space.details(self._space.canonical(onehot).double()) @ self._of(device)
        return torch.maximum(told, self._least(device, onehot))

    def fits(self, device: str) -> list[Fit]:
        """How well each cost of the measured networks is told on a device, [C]."""
        told, values = self(device, self._onehot), self._values[device]
        missed = (values - told).square().sum(0) / (values - values.mean(0)).square().sum(0)
        return [
            Fit(1 - float(m), float(scipy.stats.spearmanr(t.numpy(), v.numpy()).statistic))
            for m, t, v in zip(missed, told.T, values.T)
        ]

"""What judges GPTs that nobody measured: the published networks of perplexity, and ridge models of costs.

HW-GPT-Bench measured 10,000 of some 10¹⁴ networks. Of the others, perplexity is what its authors' network says, an MLP
on published one-hots; a latency or energy is what a linear model says that was fitted to all measured networks of the
device, with one set of counts per width (`GPTSpace.details`). Single measurements are noisy; a model over all of them
is less so, and a search cannot profit from a lucky one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.ridge_costs import RidgeCosts

if TYPE_CHECKING:
    from modnas_fast.spaces.gpt.space import GPTSpace


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


class CostModels(RidgeCosts):
    """Costs of GPTs on the devices of a table, with one set of counts per width: a `CostJudge`.

    No network is judged to cost less than the least that was measured of its width.
    """

    def _least(self, device: str, onehot: Tensor) -> Tensor:
        widths = len(self._space.scale.widths)  # type: ignore[attr-defined]  # of this space
        own = self._onehot[:, :widths].argmax(-1)
        least = torch.stack([self._values[device][own == width].amin(0) for width in range(widths)])
        return least[onehot[:, :widths].argmax(-1)]

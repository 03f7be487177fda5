"""What samples of a GPT space use of the largest network: masks of channels, heads and layers, and their gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from modnas_fast.spaces.gpt.prefix_gradients import ByChannel, BySample
from modnas_fast.supernets.prefixes import prefixes

if TYPE_CHECKING:
    from modnas_fast.spaces.gpt.prefix_networks import Choice
    from modnas_fast.spaces.gpt.space import GPTSpace


class Masks(NamedTuple):
    """Of S samples, which channels they use; 0 or 1 for one-hots."""

    #: of the embedding, [S, E]
    width: Tensor
    #: of each layer, whether it is there, [S, L]
    present: Tensor
    #: of each layer's MLP, [S, L, R·E]
    hidden: Tensor
    #: of each layer's heads, [S, L, H]
    heads: Tensor
    #: whether linear layers have a bias, [S]
    bias: Tensor


class Options:
    """The masks of a space's options, 0 or 1, in the format and on the device of `like`."""

    def __init__(self, space: GPTSpace, like: Tensor) -> None:
        scale = self.scale = space.scale
        self._group_sizes = space.group_sizes
        self.widths = prefixes(scale.widths, like)  # [W, E]
        self.heads = prefixes(scale.heads, like)  # [options, H]
        self.depths = prefixes(scale.depths, like)  # [D, L]
        self.numbers = torch.tensor(scale.widths).to(like)  # [W]
        sizes = torch.tensor(scale.ratios)[:, None] * torch.tensor(scale.widths)  # [ratios, W]
        channels = torch.arange(scale.ratios[-1] * scale.widths[-1])
        self.hidden = (channels < sizes[..., None]).to(like)  # [ratios, W, R·E]

    def masks(self, onehot: Tensor) -> Masks:
        """What samples [S, N] use, differentiable in them."""
        width, depth, ratios, heads, bias = self._groups(onehot)
        return Masks(
            width @ self.widths,
            depth @ self.depths,
            torch.einsum("slr,sw,rwu->slu", ratios, width, self.hidden),
            heads @ self.heads,
            bias[:, 0],
        )

    def _groups(self, onehot: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Of width and depth, [S, options], of ratios and heads, [S, L, options], and of the bias."""
        groups, layers = onehot.split(self._group_sizes, dim=-1), self.scale.layers
        ratios, heads = torch.stack(groups[2 : 2 + layers], dim=1), torch.stack(groups[2 + layers : -1], dim=1)
        return groups[0], groups[1], ratios, heads, groups[-1]

    def gradient(
        self, choice: Choice, around: ByChannel, layers: Sequence[BySample], absent: Sequence[Tensor]
    ) -> Tensor:
        """By a hard sample [N], from the gradients by its masks.

        Args:
            choice: the sample.
            around: of the embedding and the last norm.
            layers: of the layers that are there.
            absent: by the presence of the others.
        """
        e, scale = choice.width, self.scale
        chosen = scale.widths.index(e)
        parts: list[ByChannel | BySample] = [around, *layers]
        nothing = around.channels.new_zeros(1)
        width = self.widths[:, :e] @ torch.stack([part.width for part in parts]).sum(0)
        width += self.numbers * torch.stack([part.channels for part in parts]).sum()
        ratios, heads = [], []
        for ratio, part in zip(choice.ratios, layers):
            used = self.hidden[..., : len(part.hidden)]
            width += used[scale.ratios.index(ratio)] @ part.hidden
            ratios.append(used[:, chosen] @ part.hidden)
            heads.append(self.heads[:, : len(part.heads)] @ part.heads)
        ratios += [nothing.expand(len(scale.ratios))] * len(absent)
        heads += [nothing.expand(len(scale.heads))] * len(absent)
        depth = self.depths @ torch.stack([*(part.present for part in layers), *absent])
        bias = torch.stack([part.bias for part in layers]).sum(0, keepdim=True)
        return torch.cat([width, depth, *ratios, *heads, bias, nothing])

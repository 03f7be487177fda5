"""Gradients of a prefix network by the shared weights and by its sample, from those by activations.

By samples: every mask of the mixture multiplies a tensor t that is 0 beyond the prefix, and whose gradient is 0 there,
too. At masks of 0 and 1 their gradient is therefore Σ t · ∂t over the rows, within the prefix, and 0 beyond: no option
needs to be computed but the one chosen. Exceptions are the number of channels that norms divide by, and what is
switched as a whole: biases and layers.

A norm over the prefix, n = x̂ γ + β, is masked three times: in x̂, in n and where a linear layer reads n. With
z = x̂ · ∂x̂, and a and b the means over channels of ∂x̂ and of z in each row,

    Σ n · ∂n  = Σ z + β · ∂β                                 twice
    Σ by x̂    = Σ z − Σ a · x̂ − Σ b · x̂² − Σ μ s a           the means see the mask, too
    by count  = Σ μ s a + ½ Σ b · var · s²
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from modnas_fast.spaces.gpt.network import EPSILON
from modnas_fast.spaces.gpt.prefix_layer import Folded, Gradients, Kept, Prefix, Sizes

if TYPE_CHECKING:
    from modnas_fast.spaces.gpt.masks import Options


class ByChannel(NamedTuple):
    """By the masks of the embedding's channels."""

    width: Tensor  # of each channel, [e]
    channels: Tensor  # by the number of them, which norms divide by, []


class BySample(NamedTuple):
    """By the masks of one layer."""

    width: Tensor  # as in `ByChannel`
    channels: Tensor
    hidden: Tensor  # [u]
    heads: Tensor  # [h]
    bias: Tensor  # []
    present: Tensor  # []


class Totals:
    """Gradients by the weights of one layer, added up over networks.

    Those by W γ, and those by what is added to all rows for each width, hold all that those by W, γ and β need.
    """

    def __init__(self, layer: Folded, options: Options) -> None:
        self._layer, self._options = layer, options
        weights = layer.weights
        self._fused, self._fc = torch.zeros_like(layer.attn), torch.zeros_like(weights.fc)
        self._attn_proj, self._mlp_proj = torch.zeros_like(weights.attn_proj), torch.zeros_like(weights.mlp_proj)
        outputs = (len(layer.attn), len(weights.fc), len(weights.attn_proj))
        # of networks without and with a bias, by width
        self._added = [weights.fc.new_zeros(2, len(options.scale.widths), size) for size in outputs]
        self._with_bias = False

    def add(self, found: Gradients, kept: Kept, sizes: Sizes) -> None:
        """Those of one network."""
        e, u, _, bias = sizes
        rows, channels = found.fused.shape[1], found.attended.shape[1]
        self._fused[:rows, :e].addmm_(found.fused.T, kept.normed)
        self._fc[:u, :e].addmm_(found.f.T, kept.normed)
        self._attn_proj[:e, :channels].addmm_(found.y.T, kept.attended)
        self._mlp_proj[:e, :u].addmm_(found.y.T, kept.inner)
        self._with_bias |= bias
        width = self._options.scale.widths.index(e)
        for total, part in zip(self._added, (found.fused, found.f, found.y)):
            total[int(bias), width, : part.shape[1]] += part.sum(0)

    def gradients(self, order: Tensor) -> list[Tensor | None]:
        """By the weights of the layer, in the order of `Shared`; None for biases that no network has.

        `order` is that of `Places`.
        """
        weights, layer = self._layer.weights, self._layer
        attn_bias, fc_bias, shift = (total[1].sum(0) if self._with_bias else None for total in self._added)
        attn, norm_1, norm_1_bias = self._unfolded(
            self._fused, layer.attn, self._added[0], weights.norm_1, weights.norm_1_bias
        )
        fc, norm_2, norm_2_bias = self._unfolded(
            self._fc, weights.fc, self._added[1], weights.norm_2, weights.norm_2_bias
        )
        attn = torch.empty_like(attn).index_copy_(0, order, attn)
        if attn_bias is not None:
            attn_bias = torch.empty_like(attn_bias).index_copy_(0, order, attn_bias)
        by_attention = [norm_1, norm_1_bias, attn, attn_bias, self._attn_proj, shift]
        again = None if shift is None else shift.clone()  # each weight has a gradient of its own
        return [*by_attention, norm_2, norm_2_bias, fc, fc_bias, self._mlp_proj, again]

    def _unfolded(
        self, by_product: Tensor, matrix: Tensor, added: Tensor, gamma: Tensor, beta: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """By W, γ and β, from those by W γ and by what is added."""
        used, sums = self._options.widths, added.sum(0)  # [W, E] and [W, outputs]
        return (
            torch.addmm(by_product * gamma, sums.T, used * beta),
            (by_product * matrix).sum(0),
            ((sums @ matrix) * used).sum(0),
        )


def by_sample(found: Gradients, kept: Kept, y: Tensor, used: Prefix, layer: Folded) -> BySample:
    """By the masks of a layer with outputs y [R, e]."""
    assert found.heads is not None
    weights, heads = layer.weights, len(found.heads)
    e, u, rows = found.y.shape[1], found.f.shape[1], found.fused.shape[1]
    fused, f, added = found.fused.sum(0), found.f.sum(0), found.y.sum(0)
    shifts = weights.norm_1_bias[:e] * (fused @ used.attn) + weights.norm_2_bias[:e] * (f @ used.plain_fc)
    width, channels = of_norm(found.normed, kept.normed, kept.mean, kept.scale, shifts)
    written = ((y - kept.x) * found.y).sum(0)
    return BySample(
        width + written,
        channels,
        (found.f * kept.f).addcmul_(found.inner, kept.inner).sum(0),
        found.heads + (found.attended * kept.attended).sum(0).view(heads, -1).sum(1),
        fused @ layer.attn_bias[:rows]
        + f @ weights.fc_bias[:u]
        + added @ (weights.attn_proj_bias[:e] + weights.mlp_proj_bias[:e]),
        written.sum(),
    )


def of_norm(dnormed: Tensor, normed: Tensor, mean: Tensor, scale: Tensor, shifts: Tensor) -> ByChannel:
    """By the masks of a norm and of what reads it.

    Args:
        dnormed, normed: ∂x̂ and x̂ [R, e].
        mean, scale: μ and s [R, 1].
        shifts: β · ∂β [e].
    """
    z = dnormed * normed
    a, b = dnormed.mean(1), z.mean(1)
    mean, scale = mean[:, 0], scale[:, 0]
    pulled = (mean * scale) @ a
    by_channel = 3 * z.sum(0) + 2 * shifts - a @ normed - b @ normed.square() - pulled
    return ByChannel(by_channel, pulled + (1 - EPSILON * scale.square()) @ b / 2)

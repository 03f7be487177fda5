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

from typing import NamedTuple

from torch import Tensor

from modnas_fast.spaces.gpt.network import EPSILON
from modnas_fast.spaces.gpt.prefix_layer import Gradients, Kept, Places, Prefix, Shared, Sizes


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


class Sums(NamedTuple):
    """Gradients by what is added to every row of a layer's linear layers."""

    fused: Tensor  # [3 h d_h], in `Places.order`
    f: Tensor  # [u]
    y: Tensor  # [e]


def sums(gradients: Gradients) -> Sums:
    """Over the rows."""
    return Sums(gradients.fused.sum(0), gradients.f.sum(0), gradients.y.sum(0))


def add_by_weights_(
    total: Shared, found: Gradients, kept: Kept, used: Prefix, weights: Shared, sizes: Sizes, where: Places
) -> None:
    """Adds the gradients by one network's prefixes to those of a layer's shared weights."""
    e, u, heads, bias = sizes
    rows, added = where.rows(heads), sums(found)
    fc = weights.fc[:u, :e]
    of_fused, of_fc = found.fused.T @ kept.normed, found.f.T @ kept.normed
    total.norm_1[:e] += (of_fused * used.attn).sum(0)
    total.norm_2[:e] += (of_fc * fc).sum(0)
    total.norm_1_bias[:e] += added.fused @ used.attn
    total.norm_2_bias[:e] += added.f @ fc
    of_fused.mul_(weights.norm_1[:e]).addr_(added.fused, weights.norm_1_bias[:e])
    total.attn[:, :e].index_add_(0, rows, of_fused)
    total.fc[:u, :e].addcmul_(of_fc, weights.norm_2[:e]).addr_(added.f, weights.norm_2_bias[:e])
    total.attn_proj[:e, : heads * where.head_size].addmm_(found.y.T, kept.attended)
    total.mlp_proj[:e, :u].addmm_(found.y.T, kept.inner)
    if bias:
        total.attn_bias.index_add_(0, rows, added.fused)
        total.fc_bias[:u] += added.f
        total.attn_proj_bias[:e] += added.y
        total.mlp_proj_bias[:e] += added.y


def by_sample(
    found: Gradients, kept: Kept, y: Tensor, used: Prefix, weights: Shared, sizes: Sizes, where: Places
) -> BySample:
    """By the masks of a layer with outputs y [R, e]."""
    e, u, heads, _ = sizes
    rows, added = where.rows(heads), sums(found)
    shifts = weights.norm_1_bias[:e] * (added.fused @ used.attn)
    shifts += weights.norm_2_bias[:e] * (added.f @ weights.fc[:u, :e])
    width, channels = of_norm(found.normed, kept.normed, kept.mean, kept.scale, shifts)
    written = ((y - kept.x) * found.y).sum(0)
    of_heads = (found.attended * kept.attended).sum(0).view(heads, -1).sum(1) + found.turned
    return BySample(
        width + written,
        channels,
        (found.f * kept.f).addcmul_(found.inner, kept.inner).sum(0),
        2 * of_heads,  # v as its attention, k as q
        added.fused @ weights.attn_bias[rows]
        + added.f @ weights.fc_bias[:u]
        + added.y @ (weights.attn_proj_bias[:e] + weights.mlp_proj_bias[:e]),
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

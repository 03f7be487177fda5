"""One layer of one network out of prefixes of the shared weights, and the gradients by its activations.

Written by hand, for the CPU. With x̂ = (x − μ) · s of both norms, s = (var + ε)^-½, a layer is

    fused = x̂ (W γ₁)ᵀ + W β₁ + b        of which q and k are turned by their positions
    f     = x̂ (W γ₂)ᵀ + W β₂ + b
    x'    = x + attention(fused) Wᵀ + gelu(f) Wᵀ + biases

so scale and shift of the norms are folded into small matrices. Channels of q and k that are turned together are made
neighbours: a rotation is then one complex product. What q, k and v share is computed by one matrix product.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from modnas_fast.spaces.gpt import attention
from modnas_fast.spaces.gpt.network import EPSILON, Block


class Sizes(NamedTuple):
    """What one network has in one layer."""

    width: int  # e
    hidden: int  # u, of the MLP
    heads: int  # h
    bias: bool


class Shared(NamedTuple):
    """The weights of one layer of the largest network; gradients by them have the same form."""

    norm_1: Tensor  # γ₁ [E]
    norm_1_bias: Tensor  # β₁ [E]
    attn: Tensor  # [3 H d_h, E]
    attn_bias: Tensor
    attn_proj: Tensor  # [E, H d_h]
    attn_proj_bias: Tensor
    norm_2: Tensor
    norm_2_bias: Tensor
    fc: Tensor  # [U, E]
    fc_bias: Tensor
    mlp_proj: Tensor  # [E, U]
    mlp_proj_bias: Tensor


class Places(NamedTuple):
    """Where the rows of a minibatch stand: R = B · L."""

    batch: int
    length: int
    head_size: int
    order: Tensor  # of the rows of a layer's q, k and v
    turns: Tensor  # complex [L, H · 3 d_h / 2]

    def heads_of(self, fused: Tensor) -> Tensor:
        """[B, L, h, 3, d_h] of [R, 3 h d_h]."""
        return fused.view(self.batch, self.length, -1, 3, self.head_size)


class Prefix(NamedTuple):
    """What one network uses of a layer, the norms folded in; parts of what `Folded` holds."""

    attn: Tensor  # W [3 h d_h, e], rows in `Places.order`
    fused: Tensor  # W γ₁
    fused_shift: Tensor  # [3 h d_h]
    plain_fc: Tensor  # W [u, e]
    fc: Tensor  # W γ₂
    fc_shift: Tensor  # [u]
    attn_proj: Tensor  # [e, h d_h]
    mlp_proj: Tensor  # [e, u]
    shift: Tensor | None  # [e]


class Folded:
    """A layer's weights with the norms folded in, once for all networks."""

    def __init__(self, weights: Shared, where: Places) -> None:
        self.weights, self._head_size = weights, where.head_size
        self.attn = weights.attn.index_select(0, where.order)  # [3 H d_h, E]
        self.attn_bias = weights.attn_bias.index_select(0, where.order)
        self._fused, self._fc = self.attn * weights.norm_1, weights.fc * weights.norm_2
        self._shifts: dict[tuple[int, bool], tuple[Tensor, Tensor, Tensor | None]] = {}
        self._prefixes: dict[Sizes, Prefix] = {}

    def prefix(self, sizes: Sizes) -> Prefix:
        """What a network of `sizes` uses."""
        if sizes not in self._prefixes:
            self._prefixes[sizes] = self._prefix(sizes)
        return self._prefixes[sizes]

    def _prefix(self, sizes: Sizes) -> Prefix:
        e, u, heads, _ = sizes
        weights, rows = self.weights, 3 * heads * self._head_size
        fused, fc, shift = self._shifts_of(sizes)
        return Prefix(
            self.attn[:rows, :e],
            self._fused[:rows, :e],
            fused[:rows],
            weights.fc[:u, :e],
            self._fc[:u, :e],
            fc[:u],
            weights.attn_proj[:e, : rows // 3],
            weights.mlp_proj[:e, :u],
            shift,
        )

    def _shifts_of(self, sizes: Sizes) -> tuple[Tensor, Tensor, Tensor | None]:
        """What is added to all outputs, [3 H d_h], [U] and [e]."""
        e, bias = sizes.width, sizes.bias
        if (e, bias) not in self._shifts:
            weights, shift = self.weights, None
            fused, fc = self.attn[:, :e] @ weights.norm_1_bias[:e], weights.fc[:, :e] @ weights.norm_2_bias[:e]
            if bias:
                fused, fc = fused.add_(self.attn_bias), fc.add_(weights.fc_bias)
                shift = weights.attn_proj_bias[:e] + weights.mlp_proj_bias[:e]
            self._shifts[e, bias] = fused, fc, shift
        return self._shifts[e, bias]


class Kept(NamedTuple):
    """Of a layer, what its backward pass needs."""

    x: Tensor  # [R, e]
    normed: Tensor  # x̂ [R, e]
    mean: Tensor  # μ [R, 1]
    scale: Tensor  # s [R, 1]
    fused: Tensor  # [R, 3 h d_h], turned
    attended: Tensor  # [R, h d_h]
    log_sums: Tensor  # of the attention, as `attention.forward` gives it
    f: Tensor  # [R, u]
    inner: Tensor  # gelu(f) [R, u]


class Gradients(NamedTuple):
    """By the activations of a layer, shapes as in `Kept`."""

    y: Tensor  # by x'
    fused: Tensor  # before they are turned
    attended: Tensor
    f: Tensor
    inner: Tensor
    normed: Tensor
    x: Tensor
    heads: Tensor | None  # Σ over rows and channels of fused · ∂fused, [h], where it is asked for


def shared(block: Block) -> Shared:
    """The weights of a layer."""
    modules = block.norm_1, block.attn.attn, block.attn.proj, block.norm_2, block.mlp.fc, block.mlp.proj
    return Shared(*(weight for module in modules for weight in (module.weight, module.bias)))


def places(batch: int, length: int, rotation: Tensor, heads: int, head_size: int) -> Places:
    """Of minibatches [B, L] and up to `heads` heads; rotation [2, L, d_h / 4] as of `network.rotations`."""
    quarter, device = head_size // 4, rotation.device
    pairs = torch.stack([torch.arange(quarter), torch.arange(quarter) + quarter], dim=1).flatten()
    of_q = torch.cat([pairs, torch.arange(2 * quarter, head_size)])
    of_head = torch.cat([of_q, of_q + head_size, torch.arange(2 * head_size, 3 * head_size)])
    order = torch.arange(heads)[:, None] * 3 * head_size + of_head
    turned = torch.complex(*rotation)  # [L, d_h / 4]
    still = torch.ones_like(turned)
    turns = torch.cat([turned, still, turned, still, still, still], dim=1).repeat(1, heads)
    return Places(batch, length, head_size, order.flatten().to(device), turns)


def forward(x: Tensor, weights: Prefix, where: Places) -> tuple[Tensor, Kept]:
    """x' [R, e] of x [R, e], and what the backward pass needs."""
    normed, mean, scale = torch.native_layer_norm(x, [x.shape[1]], None, None, EPSILON)
    fused = torch.addmm(weights.fused_shift, normed, weights.fused.T)
    _turn_(fused, where.turns, where)
    heads, log_sums = attention.forward(where.heads_of(fused))
    attended = heads.view(len(x), -1)
    f = torch.addmm(weights.fc_shift, normed, weights.fc.T)
    inner = F.gelu(f)
    if weights.shift is None:
        y = torch.addmm(x, attended, weights.attn_proj.T)
    else:
        y = (x + weights.shift).addmm_(attended, weights.attn_proj.T)
    y.addmm_(inner, weights.mlp_proj.T)
    return y, Kept(x, normed, mean, scale, fused, attended, log_sums, f, inner)


def backward(dy: Tensor, kept: Kept, weights: Prefix, where: Places, by_heads: bool) -> Gradients:
    """From the gradient by x'."""
    attended, inner = dy @ weights.attn_proj, dy @ weights.mlp_proj
    shape = (where.batch, where.length, -1, where.head_size)
    fused = attention.backward(
        attended.view(shape), kept.attended.view(shape), where.heads_of(kept.fused), kept.log_sums
    ).view(kept.fused.shape)
    heads = (fused * kept.fused).sum(0).view(-1, 3 * where.head_size).sum(1) if by_heads else None
    _turn_(fused, where.turns.conj(), where)
    f = torch.ops.aten.gelu_backward(inner, kept.f)
    normed = (fused @ weights.fused).addmm_(f, weights.fc)
    x = norm_backward(normed, kept.x, kept.mean, kept.scale).add_(dy)
    return Gradients(dy, fused, attended, f, inner, normed, x, heads)


def norm_backward(dnormed: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """The gradient by x [R, e], from that by x̂."""
    gradient: Tensor = torch.ops.aten.native_layer_norm_backward(
        dnormed, x, [x.shape[1]], mean, scale, None, None, [True, False, False]
    )[0]
    return gradient


def _turn_(fused: Tensor, turns: Tensor, where: Places) -> None:
    """Turns q and k in place."""
    pairs = torch.view_as_complex(fused.view(where.batch, where.length, -1, 2))
    pairs.mul_(turns[:, : pairs.shape[-1]])

"""Losses of sampled GPTs and their gradients, ours and as one would write them: one device at a time, with autograd.

  published loop   the way of the published code, rewritten: all weights of the largest network, multiplied by masks
  sliced loop      networks with slices of the weights, as in OFA; where a gradient by the sample is wanted, the slices
                   are multiplied by the masks' ones, and layers that are not there are computed, too
  ours             what a search runs

All three give the same numbers: losses, the gradient of each device's by its sample, and that of the mean by w.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from modnas_fast.spaces.gpt.masks import Masks, Options
from modnas_fast.spaces.gpt.network import EPSILON, Block, rotated, rotations
from modnas_fast.spaces.gpt.prefix_networks import Choice
from modnas_fast.spaces.gpt.space import GPTSpace
from modnas_fast.spaces.gpt.supernet import GPTSupernet
from modnas_fast.supernets.parallel import workers
from modnas_fast.supernets.passes import Passes, frozen


class Setting(NamedTuple):
    """Sizes of a step."""

    devices: int = 8
    batch: int = 16
    context: int = 64
    vocabulary: int = 257
    scale: str = "small"


class Problem(NamedTuple):
    """A supernet, a minibatch of made-up tokens, and a random network per device."""

    space: GPTSpace
    supernet: GPTSupernet
    x: Tensor
    y: Tensor
    onehot: Tensor


def problem(setting: Setting, dtype: torch.dtype = torch.float32) -> Problem:
    """The same numbers each time."""
    generator = torch.Generator().manual_seed(setting.devices)
    space = GPTSpace(setting.scale)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        supernet = space.supernet(vocabulary=setting.vocabulary).to(dtype)
        for parameter in supernet.parameters():  # scales and shifts of norms, and biases, among them
            parameter.data.add_(0.02 * torch.randn_like(parameter))
    tokens = torch.randint(setting.vocabulary, (setting.batch, setting.context + 1), generator=generator)
    return Problem(space, supernet, tokens[:, :-1], tokens[:, 1:], space.sample(setting.devices, generator).to(dtype))


class Ours:
    """The passes of a search."""

    def __init__(self, given: Problem) -> None:
        self._given, self._passes = given, Passes(given.supernet)

    def by_samples(self, exact: bool = True) -> tuple[Tensor, Tensor]:
        """Losses [T] and the gradient of each by its sample, [T, N]."""
        onehot = self._given.onehot.clone().requires_grad_()
        losses = self._losses(onehot, exact)
        return losses.detach(), torch.autograd.grad(losses.sum(), onehot)[0]

    def losses(self) -> Tensor:
        """[T], without a gradient."""
        return self._losses(self._given.onehot, True)

    def _losses(self, onehot: Tensor, exact: bool) -> Tensor:
        _, supernet, x, y, _ = self._given
        count = workers(x.device, len(onehot))
        chunk, recompute = supernet.plan(x, len(onehot), "samples", None, count)
        return self._passes.device_losses(x, onehot, y, chunk, hard=True, exact=exact, recompute=recompute)

    def by_weights(self) -> list[Tensor]:
        """Losses [T], and the gradient of their mean by each shared weight."""
        _, supernet, x, y, onehot = self._given
        supernet.zero_grad(set_to_none=True)
        chunk, recompute = supernet.plan(x, len(onehot), "weights", None, workers(x.device, len(onehot)))
        losses = self._passes.add_weight_gradients(x, onehot, y, chunk, hard=True, recompute=recompute)
        return [losses, *_gradients(supernet)]


class Loop:
    """One device after the other."""

    def __init__(self, given: Problem) -> None:
        self._given = given
        self._options = Options(given.space, given.onehot)
        choices = given.supernet._choices(given.onehot)
        self._rows = list(zip(given.onehot.split(1), choices, strict=True))

    def loss(self, row: Tensor, choice: Choice) -> Tensor:  # pragma: no cover - each loop has its own
        """Of one network; row [1, N] wants a gradient or not."""
        raise NotImplementedError

    def by_samples(self) -> tuple[Tensor, Tensor]:
        """As `Ours`."""
        losses, gradients = [], []
        with frozen(self._given.supernet):
            for row, choice in self._rows:
                leaf = row.clone().requires_grad_()
                loss = self.loss(leaf, choice)
                gradients.append(torch.autograd.grad(loss, leaf)[0])
                losses.append(loss.detach())
        return torch.stack(losses), torch.cat(gradients)

    @torch.no_grad()
    def losses(self) -> Tensor:
        """As `Ours`."""
        return torch.stack([self.loss(*row) for row in self._rows])

    def by_weights(self) -> list[Tensor]:
        """As `Ours`."""
        self._given.supernet.zero_grad(set_to_none=True)
        losses = []
        for row in self._rows:
            loss = self.loss(*row)
            (loss / len(self._rows)).backward()
            losses.append(loss.detach())
        return [torch.stack(losses), *_gradients(self._given.supernet)]


class Published(Loop):
    """All weights of the largest network, masked."""

    def loss(self, row: Tensor, choice: Choice) -> Tensor:
        """The mean cross-entropy."""
        masks, wte = self._options.masks(row), self._given.supernet.transformer.wte.weight
        x = F.embedding(self._given.x, wte * masks.width)
        rotation = rotations(0, x.shape[1], self._options.scale.head_size, x)
        for layer, block in enumerate(self._given.supernet.transformer.h):
            x = x + masks.present[0, layer] * self._added(block, layer, x, masks, rotation)
        x = _norm(x, self._given.supernet.transformer.ln_f, masks.width[0])
        return F.cross_entropy(F.linear(x, wte * masks.width).flatten(0, 1), self._given.y.flatten())

    def _added(self, block: Block, layer: int, x: Tensor, masks: Masks, rotation: Tensor) -> Tensor:
        size, width, bias = self._options.scale.head_size, masks.width[0], masks.bias[0]
        heads, hidden = masks.heads[0, layer], masks.hidden[0, layer]
        rows, channels = heads.repeat_interleave(3 * size), heads.repeat_interleave(size)

        def linear(of: torch.nn.Linear, x: Tensor, inputs: Tensor, outputs: Tensor) -> Tensor:
            return F.linear(x, of.weight * outputs[:, None] * inputs, of.bias * outputs * bias)

        fused = linear(block.attn.attn, _norm(x, block.norm_1, width), width, rows)
        attended = linear(block.attn.proj, _attend(fused, size, rotation), channels, width)
        inner = F.gelu(linear(block.mlp.fc, _norm(x, block.norm_2, width), width, hidden))
        return attended + linear(block.mlp.proj, inner, hidden, width)


class Sliced(Loop):
    """Slices of the weights."""

    def loss(self, row: Tensor, choice: Choice) -> Tensor:
        """The mean cross-entropy."""
        masks = self._options.masks(row) if row.requires_grad else None
        net, width = self._given.supernet.transformer, choice.width
        x = net.wte(self._given.x)[..., :width]
        used = masks and masks.width[0]
        x = x if used is None else x * used[:width]
        rotation = rotations(0, x.shape[1], self._options.scale.head_size, x)
        for layer, block in enumerate(net.h):
            if masks is not None:
                x = x + masks.present[0, layer] * self._added(block, layer, x, choice, masks, rotation)
            elif layer < choice.depth:
                x = x + self._added(block, layer, x, choice, None, rotation)
        x = _scaled(_prefix_norm(x, net.ln_f, used), used)
        return F.cross_entropy(F.linear(x, net.wte.weight[:, :width]).flatten(0, 1), self._given.y.flatten())

    def _added(
        self, block: Block, layer: int, x: Tensor, choice: Choice, masks: Masks | None, rotation: Tensor
    ) -> Tensor:
        size, width, hidden = self._options.scale.head_size, choice.width, choice.sizes(layer).hidden
        of_width = of_rows = of_heads = of_hidden = None
        if masks is not None:
            of_width, of_hidden = masks.width[0], masks.hidden[0, layer]
            heads = masks.heads[0, layer]
            of_rows, of_heads = heads.repeat_interleave(3 * size), heads.repeat_interleave(size)

        def linear(of: torch.nn.Linear, x: Tensor, outputs: int, inputs: Tensor | None, used: Tensor | None) -> Tensor:
            shift = of.bias[:outputs] if choice.bias or masks is not None else None
            if masks is not None:
                shift = shift * masks.bias[0]
            return _scaled(F.linear(_scaled(x, inputs), of.weight[:outputs, : x.shape[-1]], shift), used)

        normed = _prefix_norm(x, block.norm_1, of_width)
        fused = linear(block.attn.attn, normed, 3 * size * choice.heads[layer], of_width, of_rows)
        attended = linear(block.attn.proj, _attend(fused, size, rotation), width, of_heads, of_width)
        normed = _prefix_norm(x, block.norm_2, of_width)
        inner = F.gelu(linear(block.mlp.fc, normed, hidden, of_width, of_hidden))
        return attended + linear(block.mlp.proj, inner, width, of_hidden, of_width)


def _attend(fused: Tensor, size: int, rotation: Tensor) -> Tensor:
    """[B, L, h d_h] of q, k and v [B, L, 3 h d_h]."""
    q, k, v = fused.unflatten(-1, (-1, 3, size)).transpose(1, 2).unbind(-2)
    attended = F.scaled_dot_product_attention(rotated(q, rotation), rotated(k, rotation), v, is_causal=True)
    return attended.transpose(1, 2).flatten(2)


def _norm(x: Tensor, layer: torch.nn.LayerNorm, mask: Tensor) -> Tensor:
    """Over the channels of a mask [e], whose prefix x [B, L, e] is; with as much of the layer as that."""
    count, mask = mask.sum(), mask[: x.shape[-1]]
    centred = (x - (x * mask).sum(-1, keepdim=True) / count) * mask
    variance = centred.square().sum(-1, keepdim=True) / count
    gamma, beta = layer.weight[: x.shape[-1]], layer.bias[: x.shape[-1]]
    return (centred * (variance + EPSILON).rsqrt() * gamma + beta) * mask


def _prefix_norm(x: Tensor, layer: torch.nn.LayerNorm, mask: Tensor | None) -> Tensor:
    if mask is not None:
        return _norm(x, layer, mask)
    width = x.shape[-1]
    return F.layer_norm(x, (width,), layer.weight[:width], layer.bias[:width], EPSILON)


def _scaled(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask[: x.shape[-1]]


def _gradients(supernet: GPTSupernet) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in supernet.parameters()]

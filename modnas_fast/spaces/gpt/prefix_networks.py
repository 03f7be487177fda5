"""Hidden states of hard samples, each computed with prefixes of the shared weights alone, and their gradients.

One node of autograd for S networks: gradients by weights are added up where they lie, over networks, and those by
samples cost little more than the backward pass by activations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from modnas_fast.spaces.gpt import prefix_layer
from modnas_fast.spaces.gpt.network import EPSILON
from modnas_fast.spaces.gpt.prefix_gradients import ByChannel, BySample, Totals, by_sample, of_norm
from modnas_fast.spaces.gpt.prefix_layer import Folded, Kept, Places, Prefix, Shared, Sizes, norm_backward

if TYPE_CHECKING:
    from modnas_fast.spaces.gpt.masks import Options
    from modnas_fast.spaces.gpt.network import Transformer


class Choice(NamedTuple):
    """What one sample asks for; layers beyond the depth are chosen, too, but not computed."""

    width: int
    depth: int
    ratios: tuple[int, ...]  # [L]
    heads: tuple[int, ...]  # [L]
    bias: bool

    def sizes(self, layer: int) -> Sizes:
        """Of one layer."""
        return Sizes(self.width, self.ratios[layer] * self.width, self.heads[layer], self.bias)


class Common(NamedTuple):
    """What is the same for all networks of a call."""

    options: Options
    where: Places
    #: whether layers that are not there are computed for the gradient by their being there
    exact: bool
    #: whether layers are computed once more in the backward pass
    recompute: bool


def hidden_states(
    transformer: Transformer, state: Tensor, onehot: Tensor, choices: Sequence[Choice], how: Common
) -> list[Tensor]:
    """Behind the last norm, [B, L, e_s] each, differentiable once.

    Args:
        transformer: the shared weights.
        state: the widest embedding [B, L, E], float32 or float64, on the CPU.
        onehot: samples [S, N]; values are those of `choices`.
    """
    weights = [weight for block in transformer.h for weight in prefix_layer.shared(block)]
    last = transformer.ln_f.weight, transformer.ln_f.bias
    # autograd asks for gradients by inputs that want one even where it is off
    return list(_Networks.apply(torch.is_grad_enabled(), choices, how, state, onehot, *weights, *last))


class _Network(NamedTuple):
    """What is kept of one network."""

    layers: list[Kept | Tensor]  # their inputs alone, where they are computed once more
    last: Tensor  # x̂ of the last norm
    mean: Tensor
    scale: Tensor
    x: Tensor  # that it normalises


class _Networks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, enabled: bool, choices: Sequence[Choice], how: Common, state: Tensor, onehot: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        layers, wanted = _layers(weights, how.where), enabled and any(ctx.needs_input_grad)
        found, kept = [], []
        for choice in choices:
            hidden, network = _forward(choice, state, layers, weights[-2:], how, wanted)
            found.append(hidden.view(*state.shape[:2], choice.width))
            kept.append(network)
        if wanted:
            ctx.choices, ctx.how, ctx.layers, ctx.like = choices, how, layers, onehot[:0]
            ctx.lengths, tensors = _flat(kept)
            ctx.save_for_backward(state, *weights, *tensors)  # weights, so that a change of them is noticed
        return tuple(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        _, _, _, of_state, of_sample, *of_weights = ctx.needs_input_grad
        state, *tensors = ctx.saved_tensors
        last, tensors = tensors[len(of_weights) - 2 : len(of_weights)], tensors[len(of_weights) :]
        totals = _Totals(ctx.layers, last, ctx.how) if any(of_weights) else None
        dstate = torch.zeros_like(state) if of_state else None
        samples: list[Tensor] = []
        networks = _nested(ctx.lengths, tensors)
        for choice, network, cotangent in zip(ctx.choices, networks, cotangents, strict=True):
            one = _Backward(choice, ctx.how, ctx.layers, last, totals, of_sample)
            dx, sample = one.run(network, cotangent.reshape(-1, choice.width))
            if dstate is not None:
                dstate[..., : choice.width] += dx.view(*state.shape[:2], -1)
            samples += [] if sample is None else [sample]
        donehot = torch.stack(samples).to(ctx.like) if of_sample else None
        by_weights = [None] * len(of_weights) if totals is None else totals.gradients()
        return None, None, None, dstate, donehot, *by_weights


class _Totals:
    """Gradients by all weights, added up over networks."""

    def __init__(self, layers: Sequence[Folded], last: Sequence[Tensor], how: Common) -> None:
        self._layers, self._how = layers, how
        self._used: dict[int, Totals] = {}
        self.last = [torch.zeros_like(weight) for weight in last]

    def layer(self, place: int) -> Totals:
        """Of one layer."""
        if place not in self._used:
            self._used[place] = Totals(self._layers[place], self._how.options)
        return self._used[place]

    def gradients(self) -> list[Tensor | None]:
        """In the order of the weights; None for those of layers that no network has."""
        found: list[Tensor | None] = []
        for place in range(len(self._layers)):
            used = self._used.get(place)
            found += [None] * len(Shared._fields) if used is None else used.gradients(self._how.where.order)
        return [*found, *self.last]


def _layers(weights: Sequence[Tensor], where: Places) -> list[Folded]:
    size = len(Shared._fields)
    starts = range(0, len(weights) - 2, size)
    return [Folded(Shared(*weights[start : start + size]), where) for start in starts]


def _forward(
    choice: Choice, state: Tensor, layers: Sequence[Folded], last: Sequence[Tensor], how: Common, wanted: bool
) -> tuple[Tensor, _Network | None]:
    """Hidden states [R, e], and what a backward pass needs."""
    x = state[..., : choice.width].reshape(-1, choice.width)
    kept: list[Kept | Tensor] = []
    for layer in range(choice.depth):
        y, of_layer = prefix_layer.forward(x, layers[layer].prefix(choice.sizes(layer)), how.where)
        if wanted:
            kept.append(x if how.recompute else of_layer)
        x = y
    normed, mean, scale = torch.native_layer_norm(x, [choice.width], None, None, EPSILON)
    gamma, beta = (weight[: choice.width] for weight in last)
    return torch.addcmul(beta, normed, gamma), _Network(kept, normed, mean, scale, x) if wanted else None


class _Backward:
    """The backward pass of one network; gradients by weights are added to `totals`, where there are."""

    def __init__(
        self, choice: Choice, how: Common, layers: Sequence[Folded], last: Sequence[Tensor], totals: _Totals | None,
        of_sample: bool,
    ) -> None:  # fmt: skip
        self._choice, self._how, self._layers, self._last = choice, how, layers, last
        self._totals, self._of_sample = totals, of_sample

    def run(self, network: _Network, dhidden: Tensor) -> tuple[Tensor, Tensor | None]:
        """Gradients by x [R, e] and by the sample [N]."""
        dnormed, masks = self._last_norm(network, dhidden)
        dx = norm_backward(dnormed, network.x, network.mean, network.scale)
        absent = self._absent(network.x, dx) if self._of_sample else []
        found: list[BySample] = []
        y = network.x
        for layer in reversed(range(self._choice.depth)):
            kept, used = self._kept(network.layers[layer], layer)
            gradients = prefix_layer.backward(dx, kept, used, self._how.where, self._of_sample)
            if self._totals is not None:
                self._totals.layer(layer).add(gradients, kept, self._choice.sizes(layer))
            if self._of_sample:
                found.insert(0, by_sample(gradients, kept, y, used, self._layers[layer]))
            y, dx = kept.x, gradients.x
        if masks is None:
            return dx, None
        masks = masks._replace(width=masks.width + (y * dx).sum(0))
        return dx, self._how.options.gradient(self._choice, masks, found, absent)

    def _last_norm(self, network: _Network, dhidden: Tensor) -> tuple[Tensor, ByChannel | None]:
        """Gradients by x̂ and by the masks there."""
        e = self._choice.width
        gamma, beta = (weight[:e] for weight in self._last)
        dnormed, dbeta = dhidden * gamma, dhidden.sum(0)
        if self._totals is not None:
            self._totals.last[0][:e] += (dhidden * network.last).sum(0)
            self._totals.last[1][:e] += dbeta
        if not self._of_sample:
            return dnormed, None
        return dnormed, of_norm(dnormed, network.last, network.mean, network.scale, beta * dbeta)

    def _kept(self, kept: Kept | Tensor, layer: int) -> tuple[Kept, Prefix]:
        used = self._layers[layer].prefix(self._choice.sizes(layer))
        return (kept if isinstance(kept, Kept) else prefix_layer.forward(kept, used, self._how.where)[1]), used

    def _absent(self, x: Tensor, dx: Tensor) -> list[Tensor]:
        """By the presence of each layer beyond the depth: it would see what the last one gives."""
        found = []
        for layer in range(self._choice.depth, len(self._layers)):
            if self._how.exact:
                used = self._layers[layer].prefix(self._choice.sizes(layer))
                y, _ = prefix_layer.forward(x, used, self._how.where)
                found.append(((y - x) * dx).sum())
            else:
                found.append(dx.new_zeros(()))
        return found


# ---- what autograd holds is a flat list ----


def _flat(networks: Sequence[_Network | None]) -> tuple[list[tuple[int, bool]], list[Tensor]]:
    """Layers of each network and whether their inputs alone are kept; and all tensors."""
    lengths: list[tuple[int, bool]] = []
    tensors: list[Tensor] = []
    for network in networks:
        assert network is not None
        lengths.append((len(network.layers), isinstance(network.layers[0], Tensor)))
        for kept in network.layers:
            tensors += [kept] if isinstance(kept, Tensor) else kept
        tensors += network[1:]
    return lengths, tensors


def _nested(lengths: Sequence[tuple[int, bool]], tensors: Sequence[Tensor]) -> Iterator[_Network]:
    """The networks that `_flat` took apart."""
    rest = iter(tensors)
    for count, inputs_alone in lengths:
        layers: list[Kept | Tensor] = [
            next(rest) if inputs_alone else Kept(*(next(rest) for _ in Kept._fields)) for _ in range(count)
        ]
        yield _Network(layers, *(next(rest) for _ in range(4)))

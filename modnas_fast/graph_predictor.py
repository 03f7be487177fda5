"""The graph MetaPredictor θ: cost of a network, seen as a graph, on a device, seen as ten measurements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from modnas_fast.metapredictor import fit, seeded_linear
from modnas_fast.spaces import Graph, SearchSpace

#: what a device executes: every operation of a network as it is written, or what has influence on its output alone
Executes = Literal["written", "live"]


class GraphMetaPredictor(nn.Module):
    """Cost as a product of what a network has and what it costs on the device: p(a, d) = Σ_w u_w(a)·v_w(d).

    u [W] depends on the network alone: counts of its operations (all, reached by the input, used for the output,
    both), plus what a graph network finds that has `layers` rounds of messages along and against the edges. v [W] is
    1, the embedding itself and a hidden layer of it: latency is nearly linear in other latencies of the same device,
    so that unseen devices need little else. The reference is HELP (Lee et al., NeurIPS 2021), whose plain graph
    network with concatenated embeddings is `PlainGraphMetaPredictor`.

    Args:
        space: the search space; it must have graphs.
        embedding_width: E.
        hidden: width of the nodes' states and of the device's hidden layer.
        layers: rounds of messages; 0 leaves the counts alone.
        executes: `"written"` for tables of networks that ran as they are written, such as HELP's, where operations
            without influence cost time all the same; `"live"` where only `space.canonical` networks were measured,
            as on this machine: then nothing else has influence on the cost, and none of it gets a gradient.
        generator: source of the initial weights.

    Called with one-hots or relaxed samples [..., N] and d [..., E], whose leading axes broadcast; returns costs [...]
    in which 0 and 1 are the extremes of the device's reference networks. The graph network runs once per network:
    one-hots [A, 1, N] with d [T, E] cost little more than [A, N].
    """

    def __init__(
        self,
        space: SearchSpace,
        embedding_width: int,
        hidden: int = 100,
        layers: int = 3,
        executes: Executes = "written",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self._space = space
        self.executes = executes
        width = 1 + embedding_width + RANK
        inputs = _counted(_graph_of(space, space.sample(1, torch.Generator()), executes)).shape[-1]
        self.counts = seeded_linear(inputs, width, generator, scale=0.1)
        self.device = nn.Sequential(
            seeded_linear(embedding_width, hidden, generator), nn.SiLU(), seeded_linear(hidden, RANK, generator)
        )
        if layers:
            self.start = seeded_linear(inputs, hidden, generator)
            self.rounds = nn.ModuleList(seeded_linear(hidden, 3 * hidden, generator) for _ in range(layers))
            self.finish = seeded_linear(2 * hidden, width, generator, scale=0.1)

    def features(self, onehot: Tensor) -> Tensor:
        """u, what the networks [..., N] have, [..., W]."""
        graph = _graph_of(self._space, onehot, self.executes)
        nodes = _counted(graph)
        counts = self.counts(nodes.sum(-2))
        if not hasattr(self, "rounds"):
            return counts
        takes, gives = graph.adjacency, graph.adjacency.mT
        state = self.start(nodes)
        for layer in self.rounds:
            own, from_givers, from_takers = layer(state).chunk(3, dim=-1)
            state = state + functional.silu(own + (gives @ from_givers + takes @ from_takers) / 3)
        return counts + self.finish(torch.cat([state.mean(-2), state[..., -1, :]], dim=-1))

    def prices(self, d: Tensor) -> Tensor:
        """v, what it costs on devices [..., E], [..., W]."""
        centred = 2 * d - 1
        return torch.cat([torch.ones_like(d[..., :1]), centred, self.device(centred)], dim=-1)

    def forward(self, onehot: Tensor, d: Tensor) -> Tensor:
        return (self.features(onehot) * self.prices(d)).sum(-1)


#: learned features of a device beside its embedding
RANK = 32


def _graph_of(space: SearchSpace, onehot: Tensor, executes: Executes) -> Graph:
    return space.graph(space.canonical(onehot) if executes == "live" else onehot)


def _counted(graph: Graph) -> Tensor:
    """What each node is: as written, if reached, if used, if both, [..., V, 4K]."""
    reached, used = graph.reached[..., None], graph.used[..., None]
    return torch.cat([graph.kinds * share for share in (1, reached, used, reached * used)], dim=-1)


def train_graph_predictor(
    predictor: nn.Module,
    onehot: Tensor,
    d: Tensor,
    target: Tensor,
    *,
    steps: int,
    learning_rate: float = 1e-2,
    networks: int = 64,
    noise: float = 0.02,
    virtual: bool = True,
    generator: torch.Generator | None = None,
    on_step: Callable[[int], None] = lambda done: None,
) -> list[float]:
    """Fits θ with Adam on random networks and all devices at once, then freezes it; the loss of every step.

    The loss is Huber's with its bend at 0.1, so that single measurements that are far off pull no more than others.

    Args:
        predictor: changed in place; its parameters no longer require gradients afterwards.
        onehot: measured architectures, [n, N].
        d: embeddings of the devices, [T, E].
        target: costs in the devices' normalised ranges, [n, T]; NaN where a network was not measured.
        steps: optimiser steps; the learning rate falls to zero by cosine.
        learning_rate: Adam's initial step size.
        networks: networks per step.
        noise: standard deviation of what is added to embeddings in every step; references are measured, too.
        virtual: in every step, as many devices again that are random mixtures: latency is linear in them.
        generator: source of batches, noise and mixtures.
        on_step: called with the number of finished steps.
    """

    def loss() -> Tensor:
        rows = torch.randint(len(onehot), (networks,), generator=generator)
        devices, costs = d, target[rows]
        if virtual:
            mixed_d, mixed_costs = _mixtures(d, costs, generator)
            devices, costs = torch.cat([devices, mixed_d]), torch.cat([costs, mixed_costs], dim=1)
        devices = devices + noise * torch.randn(devices.shape, generator=generator)
        measured = ~costs.isnan()
        predicted = predictor(onehot[rows][:, None], devices)
        return functional.huber_loss(predicted[measured], costs[measured], delta=0.1)

    return fit(predictor, loss, steps, learning_rate, on_step)


def _mixtures(d: Tensor, costs: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """As many devices again whose latencies are random convex combinations: embeddings [T, E], costs [n, T]."""
    power = torch.rand(len(d), len(d), generator=generator) ** SPARSITY
    weights = power / power.sum(-1, keepdim=True)
    mixed, costs = weights @ d, costs @ weights.T
    low, high = mixed.amin(-1), mixed.amax(-1)
    return (mixed - low[:, None]) / (high - low)[:, None], (costs - low) / (high - low)


#: mixtures are mostly of two or three devices
SPARSITY = 8

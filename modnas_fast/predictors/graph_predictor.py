"""The graph MetaPredictor θ: cost of a network, seen as a graph, on a device, seen as ten measurements."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from modnas_fast.predictors.metapredictor import fit, seeded_linear
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import Graph, SearchSpace

#: what a device executes: every operation of a network as it is written, or what has influence on its output alone
Executes = Literal["written", "live"]
#: what a device is beside its embedding: so many learned features
LEARNED_PRICES = 32
#: miss, in normalised cost, from which on the training loss grows linearly
HUBER_DELTA = 0.1
#: standard deviation of what every step of the training adds to the embeddings
EMBEDDING_NOISE = 0.02
#: ridge strengths that `adapt` chooses from, relative to a network's mean squared features
RIDGES = (3.0, 1.0, 0.3, 0.1, 0.03)


class GraphMetaPredictor(nn.Module):
    """Cost as a product of what a network has and what that costs on the device: p(a, d) = Σ_w u_w(a)·v_w(d).

    u [W] depends on the network alone: linear in counts of its operations (all, those the input reaches, those the
    output uses, both), plus what `layers` rounds of messages along and against the edges find. v [W] is 1, the
    embedding itself and a hidden layer's view of it: a latency is nearly linear in other latencies of the same
    device, so that unseen devices are priced well. `PlainGraphPredictor` is the published structure.

    Args:
        space: the search space; it must have graphs.
        embedding_width: E.
        hidden: width of a node's state and of the hidden layer that sees the embedding.
        layers: rounds of messages; with 0 the counts stand alone.
        executes: `"written"` for tables of networks that ran as they are written, such as HELP's, where operations
            without influence take their time all the same; `"live"` where only `space.canonical` networks were
            measured, as on this machine: then nothing else costs anything or gets a gradient.
        generator: source of the initial weights.

    Called with one-hots or relaxed samples [..., N] and d [..., E], whose leading axes broadcast; returns costs [...]
    in which 0 and 1 are the extremes of the device's reference networks. The graph network runs once per network:
    one-hots [A, 1, N] with d [T, E] take little more than [A, N]. Raises InputError where the space has no graphs.

    >>> from modnas_fast.spaces import make_space
    >>> space = make_space("nb201")
    >>> predictor = GraphMetaPredictor(space, embedding_width=10)
    >>> predictor(space.sample(5)[:, None], torch.rand(13, 10)).shape
    torch.Size([5, 13])
    """

    def __init__(
        self,
        space: SearchSpace,
        embedding_width: int,
        hidden: int = 48,
        layers: int = 2,
        executes: Executes = "written",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self._space, self._executes = space, executes
        inputs = _node_inputs(_graph(space, _some_network(space), executes)).shape[-1]
        width = 1 + embedding_width + LEARNED_PRICES
        self.counts = seeded_linear(inputs, width, generator, scale=0.1)
        self.device = nn.Sequential(
            seeded_linear(embedding_width, hidden, generator),
            nn.SiLU(),
            seeded_linear(hidden, LEARNED_PRICES, generator),
        )
        self.rounds = nn.ModuleList(seeded_linear(hidden, 3 * hidden, generator) for _ in range(layers))
        if layers:
            self.start = seeded_linear(inputs, hidden, generator)
            self.finish = seeded_linear(2 * hidden, width, generator, scale=0.1)

    def features(self, onehot: Tensor) -> Tensor:
        """u, what the networks [..., N] have, [..., W]."""
        graph = _graph(self._space, onehot, self._executes)
        nodes = _node_inputs(graph)
        counts = self.counts(nodes.sum(-2))
        return counts + self._messages(nodes, graph.adjacency) if self.rounds else counts

    def _messages(self, nodes: Tensor, adjacency: Tensor) -> Tensor:
        """What the graph network finds, [..., W]: read off the mean of all nodes and off the global node."""
        state = self.start(nodes)
        for layer in self.rounds:
            own, given, taken = layer(state).chunk(3, dim=-1)
            # a third: a node has about three neighbours on either side, the global node among them
            state = state + functional.silu(own + (adjacency.mT @ given + adjacency @ taken) / 3)
        return self.finish(torch.cat([state.mean(-2), state[..., -1, :]], dim=-1))

    def prices(self, d: Tensor) -> Tensor:
        """v, what that costs on devices [..., E], [..., W]."""
        centred = 2 * d - 1
        return torch.cat([torch.ones_like(d[..., :1]), centred, self.device(centred)], dim=-1)

    def forward(self, onehot: Tensor, d: Tensor) -> Tensor:
        return (self.features(onehot) * self.prices(d)).sum(-1)


class PlainGraphPredictor(nn.Module):
    """HELP's predictor (Lee et al., NeurIPS 2021): graph convolutions, the embedding joined to their global node.

    Four convolutions along normalised edges, two layers for the embedding, three for both together; all of width
    `hidden`, 100 in the paper. Called like `GraphMetaPredictor`, which trains faster and orders networks better.
    """

    def __init__(
        self,
        space: SearchSpace,
        embedding_width: int,
        hidden: int = 100,
        layers: int = 4,
        executes: Executes = "written",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self._space, self._executes = space, executes
        kinds = _graph(space, _some_network(space), executes).kinds.shape[-1]
        widths = [kinds, *[hidden] * layers]
        self.convolutions = nn.ModuleList(
            seeded_linear(inputs, hidden, generator, scale=2**0.5) for inputs in widths[:-1]
        )
        self.device = _relu_layers([embedding_width, hidden, hidden], generator)
        self.network_part = seeded_linear(hidden, hidden, generator)
        self.device_part = seeded_linear(hidden, hidden, generator)
        self.joint = _relu_layers([hidden, hidden], generator)
        self.cost = seeded_linear(hidden, 1, generator)

    def forward(self, onehot: Tensor, d: Tensor) -> Tensor:
        graph = _graph(self._space, onehot, self._executes)
        loops = torch.ones_like(graph.adjacency[..., 0]).diag_embed()
        edges = graph.adjacency.mT + loops
        edges = edges / edges.sum(-1, keepdim=True)
        state = graph.kinds
        for convolution in self.convolutions:
            state = functional.relu(edges @ convolution(state))
        joined = self.network_part(state[..., -1, :]) + self.device_part(self.device(2 * d - 1))
        return self.cost(self.joint(functional.relu(joined))).squeeze(-1)


def _relu_layers(widths: list[int], generator: torch.Generator | None) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [seeded_linear(inputs, outputs, generator, scale=2**0.5), nn.ReLU()]
    return nn.Sequential(*layers)


def _some_network(space: SearchSpace) -> Tensor:
    """A one-hot [N] whose graph shows how wide graphs are."""
    return space.onehot(torch.zeros(len(space.choices), dtype=torch.int64))


def _graph(space: SearchSpace, onehot: Tensor, executes: Executes) -> Graph:
    if executes not in ("written", "live"):
        raise InputError(f"executes: must be 'written' or 'live', got {executes!r}")
    return space.graph(space.canonical(onehot) if executes == "live" else onehot)


def _node_inputs(graph: Graph) -> Tensor:
    """Each node's kind as written, if reached, if used, if both, [..., V, 4K]."""
    reached, used = graph.reached[..., None], graph.used[..., None]
    return torch.cat([graph.kinds * share for share in (1, reached, used, reached * used)], dim=-1)


def train_graph_predictor(
    predictor: nn.Module,
    onehot: Tensor,
    d: Tensor,
    target: Tensor,
    *,
    steps: int = 1500,
    learning_rate: float = 5e-3,
    networks: int = 64,
    noise: float = EMBEDDING_NOISE,
    squared: bool = False,
    generator: torch.Generator | None = None,
    on_step: Callable[[int], None] = lambda done: None,
) -> list[float]:
    """Fits θ with Adam on random networks and all devices at once, then freezes it; the loss of every step.

    The loss is Huber's with its bend at 0.1, so that a measurement that is far off pulls no more than another.

    Args:
        predictor: changed in place; its parameters no longer require gradients afterwards.
        onehot: measured architectures, [n, N].
        d: embeddings of the devices, [T, E].
        target: costs in the devices' normalised ranges, [n, T]; NaN where a network was not measured on a device.
        steps: optimiser steps; the learning rate falls to zero by cosine.
        learning_rate: Adam's initial step size.
        networks: networks per step.
        noise: standard deviation of what every step adds to the embeddings, for they are measured, too.
        squared: the mean squared error instead of Huber's.
        generator: source of batches and noise.
        on_step: called with the number of finished steps.

    Raises InputError where the shapes do not fit each other or a device has no measurement at all.
    """
    _check_table(onehot, d, target)

    def loss() -> Tensor:
        rows = torch.randint(len(onehot), (networks,), generator=generator)
        blurred = d + noise * torch.randn(d.shape, generator=generator)
        predicted, costs = predictor(onehot[rows][:, None], blurred), target[rows]
        if squared:
            misses = functional.mse_loss(predicted, costs.nan_to_num(), reduction="none")
        else:
            misses = functional.huber_loss(predicted, costs.nan_to_num(), reduction="none", delta=HUBER_DELTA)
        measured = ~costs.isnan()
        return (misses * measured).sum() / measured.sum().clamp(min=1)

    return fit(predictor, loss, steps, learning_rate, on_step)


def _check_table(onehot: Tensor, d: Tensor, target: Tensor) -> None:
    if target.shape != (len(onehot), len(d)):
        raise InputError(f"target: must be [networks, devices] = [{len(onehot)}, {len(d)}], got {list(target.shape)}")
    empty = target.isnan().all(0).nonzero().flatten().tolist()
    if empty:
        raise InputError(f"target: devices {empty} have no measurement; leave them out of d and target")


class AdaptedPredictor(nn.Module):
    """A `GraphMetaPredictor` whose prices are corrected for one device; called the same way, with that device's d."""

    correction: Tensor

    def __init__(self, predictor: GraphMetaPredictor, correction: Tensor) -> None:
        super().__init__()
        self.predictor = predictor
        self.register_buffer("correction", correction)

    def forward(self, onehot: Tensor, d: Tensor) -> Tensor:
        features = self.predictor.features(onehot)
        return (features * (self.predictor.prices(d) + self.correction)).sum(-1)


@torch.no_grad()
def adapt(predictor: GraphMetaPredictor, onehot: Tensor, cost: Tensor, d: Tensor) -> AdaptedPredictor:
    """The predictor for one device, its prices moved to fit measurements there by ridge regression.

    Of the strengths in `RIDGES` and no correction at all, it takes the one with the least absolute leave-one-out
    error, so that noise leaves the predictor as it is.

    Args:
        predictor: a trained predictor; stays unchanged.
        onehot: networks measured on the device, [n, N]; the ten references will do.
        cost: their cost in the device's normalised range, [n].
        d: the device's embedding, [E].

    Raises InputError where cost and onehot differ in length or there are fewer than two measurements.
    """
    if cost.shape != (len(onehot),) or len(cost) < 2:
        raise InputError(
            f"cost: must hold one value per network, at least two; got {list(cost.shape)} for {len(onehot)} networks"
        )
    features = predictor.features(onehot).double()
    misses = cost.double() - features @ predictor.prices(d).double()
    similar = features @ features.T
    best, correction = misses.abs().mean(), torch.zeros_like(features[0])
    for ridge in RIDGES:
        inverse = torch.linalg.inv(similar + ridge * similar.diagonal().mean() * torch.eye(len(cost)).to(similar))
        weights = inverse @ misses
        left_out = (weights / inverse.diagonal()).abs().mean()  # closed form of leave-one-out
        if left_out < best:
            best, correction = left_out, features.T @ weights
    return AdaptedPredictor(predictor, correction.to(cost))

"""Refinement: the best networks known for each preference, which the hypernetwork learns to answer with.

Once the supernet stands still, the error of a network on the validation part is a constant. An archive keeps every
network whose error was computed. It grows by the hypernetwork's own samples and by mutations of the best networks
known, an evolutionary local search (Real et al. 2019), while the hypernetwork raises the probability of the best: the
cross-entropy method (Rubinstein 1999) with one elite per preference. What is found for one device serves all.

A scalarization that rises in every loss has its minimum on the archive's front; networks that are dominated on every
device are not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from modnas_fast.evaluation.fronts import front_membership
from modnas_fast.method.objectives import ObjectiveScale
from modnas_fast.method.scalarize import Scalarization
from modnas_fast.predictors.metapredictor import CostModel
from modnas_fast.search.evaluator import Evaluator
from modnas_fast.spaces import SearchSpace

#: random networks that the archive begins with, at most
FIRST_NETWORKS = 256
#: choices changed in the mutations of each elite
MUTATIONS = (1, 2)
#: of the steps, one in so many takes in new networks where each takes a while, so that they descend from the best ones
#: known; a step takes in so many at least, for which there are threads
FILLING_PART, AT_ONCE = 4, 4


class Archive:
    """Viable networks, each once, with their errors, and their costs on the search devices.

    Args:
        space: the search space.
        evaluator: computes errors under a task objective that no longer changes.
        costs: frozen.
        d: embeddings of the T search devices, [T, E].
        measured: costs [T, C] in the devices' normalised ranges by architecture string; they go before predictions.
        most: networks at most; further ones are left out.
        whole: what qualities are divided by to be shares.
    """

    def __init__(
        self,
        space: SearchSpace,
        evaluator: Evaluator,
        costs: CostModel,
        d: Tensor,
        measured: Mapping[str, Tensor],
        most: int,
        whole: float = 100.0,
    ) -> None:
        self._space = space
        self._evaluator = evaluator
        self._cost_model = costs
        self._d = d
        self._measured = measured
        self.most = most
        self._whole = whole
        self._clear()

    def _clear(self) -> None:
        self.onehot = torch.empty(0, self._space.num_options)
        """Canonical, [A, N]."""
        self.qualities = torch.empty(0)
        """As the evaluator tells them, [A]."""
        self.costs = torch.empty(0, len(self._d), len(self._cost_model.predictors))
        """[A, T, C]."""
        self._known: set[str] = set()
        self._front: Tensor | None = None

    def __len__(self) -> int:
        return len(self.qualities)

    @property
    def errors(self) -> Tensor:
        """Qualities as shares, such as that of wrong answers, [A]."""
        return self.qualities / self._whole

    @property
    def networks(self) -> frozenset[str]:
        """Strings of the networks."""
        return frozenset(self._known)

    @property
    def full(self) -> bool:
        """Whether no further network is taken in."""
        return len(self) >= self.most

    def add(self, onehot: Tensor) -> None:
        """Takes in the networks [n, N] that are new, as many as there is room for."""
        if self.full:
            return
        distinct = torch.unique(self._space.canonical(onehot), dim=0)
        distinct = distinct[self._space.viable(distinct) > 0.5]
        texts = [architecture.text for architecture in self._space.decode(distinct)]
        new = [row for row, text in enumerate(texts) if text not in self._known][: self.most - len(self)]
        if new:
            self._known.update(texts[row] for row in new)
            self.onehot = torch.cat([self.onehot, distinct[new]])
            self.qualities = torch.cat([self.qualities, self._evaluator.errors(distinct[new])])
            self.costs = torch.cat([self.costs, self.costs_of(distinct[new], [texts[row] for row in new])])
            self._front = None

    def costs_of(self, onehot: Tensor, texts: Sequence[str]) -> Tensor:
        """Costs [n, T, C] of canonical networks [n, N] with these strings: measured ones before predicted ones."""
        costs = self._cost_model.on_devices(onehot, self._d)
        for row, text in enumerate(texts):
            if text in self._measured:
                costs[row] = self._measured[text]
        return costs

    @property
    def front(self) -> Tensor:
        """Rows that are not dominated on at least one device."""
        if self._front is None:
            self._front = front_membership(self.errors, self.costs).any(dim=1).nonzero().flatten()
        return self._front

    def state_dict(self) -> dict[str, Any]:
        """Networks, qualities and costs."""
        return {"onehot": self.onehot, "qualities": self.qualities, "costs": self.costs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues with what is in `state`."""
        self._clear()
        self.onehot, self.qualities, self.costs = state["onehot"], state["qualities"], state["costs"]
        if len(self):
            self._known = {architecture.text for architecture in self._space.decode(self.onehot)}


def at_once(networks: int, steps: int) -> int:
    """Networks that a step takes in, so that so many in all are spread over the first of the steps.

    >>> at_once(48, 150), at_once(1500, 600)
    (4, 10)
    """
    return max(AT_ONCE, math.ceil(FILLING_PART * networks / max(1, steps)))


class Refinement:
    """Finds the best network known for a preference and a device, and looks for better ones.

    Args:
        space: the search space.
        archive: empty.
        scalarize: ℓ of losses and preference.
        scale: of errors as shares and of costs.
        chance: share of wrong answers of a guess.
        first: networks [n, N] that the archive begins with.
        at_once: networks that a step takes in, at most; None: all that are proposed.
    """

    def __init__(
        self,
        space: SearchSpace,
        archive: Archive,
        scalarize: Scalarization,
        scale: ObjectiveScale,
        chance: float,
        first: Tensor,
        at_once: int | None = None,
    ) -> None:
        self._space = space
        self._scalarize = scalarize
        self._scale = scale
        self._chance = chance
        self._first = first
        self._at_once = at_once
        self.archive = archive

    @torch.no_grad()
    def elites(self, samples: Tensor, r: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """The best network known for each of R preferences on each of t devices: one-hots [t, R, N].

        Args:
            samples: architectures that the hypernetwork drew for them, [t, R, N]; they enter the archive first.
            r: preferences, [t, R, M].
            chosen: indices of the devices, [t].
            generator: draws mutations.
        """
        if not len(self.archive):
            self.archive.add(self._first)
            while not len(self.archive):  # all of a few may be cut
                self.archive.add(self._space.sample(len(self._first), generator))
            self._scale.observe(self.archive.errors, self._chance)
        if not self.archive.full:
            if self._at_once is None:
                self.archive.add(samples.flatten(0, 1))
                self.archive.add(self._mutated(self._best(r, chosen), generator))
            else:
                proposed = torch.cat([samples.flatten(0, 1), self._mutated(self._best(r, chosen), generator)])
                self.archive.add(self._some_new(proposed, self._at_once, generator))
        return self._best(r, chosen)

    def _mutated(self, elites: Tensor, generator: torch.Generator) -> Tensor:
        return torch.cat([self._space.mutate(elites.flatten(0, 1), changes, generator) for changes in MUTATIONS])

    def _some_new(self, proposed: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Up to `count` of the proposed networks [n, N], drawn at random from those that the archive would take in."""
        shuffled = self._space.canonical(proposed[torch.randperm(len(proposed), generator=generator)])
        shuffled = shuffled[self._space.viable(shuffled) > 0.5]
        known, rows = set(self.archive.networks), []
        for row, architecture in enumerate(self._space.decode(shuffled)):
            if architecture.text not in known:
                known.add(architecture.text)
                rows.append(row)
        return shuffled[rows[:count]]

    @torch.no_grad()
    def best_known(self, r: Tensor) -> Tensor:
        """Quality and normalised costs [T, K, M] of the best networks known for preferences [K, M] on every device."""
        devices = torch.arange(self.archive.costs.shape[1])
        rows = self._best_rows(r.expand(len(devices), -1, -1), devices)  # [T, K]
        costs = self.archive.costs[rows, devices[:, None]]
        return torch.cat([self.archive.qualities[rows][..., None].to(costs), costs], dim=-1)

    def _best(self, r: Tensor, chosen: Tensor) -> Tensor:
        return self.archive.onehot[self._best_rows(r, chosen)]

    def _best_rows(self, r: Tensor, chosen: Tensor) -> Tensor:
        """Rows [t, R] of the archive, of preferences [t, R, M] on the chosen devices."""
        rows = self.archive.front
        cost = self.archive.costs[rows][:, chosen]  # [A, t, C]
        losses = self._scale(self.archive.errors[rows, None].expand(cost.shape[:2]), cost, chosen)  # [A, t, M]
        scalarized = self._scalarize(losses[:, :, None], r)  # [A, t, R]
        return rows[scalarized.argmin(dim=0)]

    def state_dict(self) -> dict[str, Any]:
        """The archive, and the scale of the errors."""
        return {"archive": self.archive.state_dict(), "scale": self._scale.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken."""
        self.archive.load_state_dict(state["archive"])
        self._scale.load_state_dict(state["scale"])

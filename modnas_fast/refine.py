"""Refinement: the best networks known for each preference, which the hypernetwork learns to answer with.

Once the supernet stands still, the error of a network on the validation part is a constant. An archive keeps every
network whose error was computed. It grows by the hypernetwork's own samples and by mutations of the best networks
known, an evolutionary local search (Real et al. 2019), while the hypernetwork raises the probability of the best: the
cross-entropy method (Rubinstein 1999) with one elite per preference. What is found for one device serves all.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modnas_fast.evaluate import Evaluator
from modnas_fast.metapredictor import CostModel
from modnas_fast.objectives import ObjectiveScale
from modnas_fast.scalarize import Scalarization
from modnas_fast.spaces import SearchSpace

#: random networks that the archive begins with, at most
FIRST_NETWORKS = 256
#: choices changed in the mutations of each elite
MUTATIONS = (1, 2)


class Archive:
    """Viable networks, each once, with their errors.

    Args:
        space: the search space.
        evaluator: computes errors under a supernet that no longer changes.
        most: networks at most; further ones are left out.
    """

    def __init__(self, space: SearchSpace, evaluator: Evaluator, most: int) -> None:
        self._space = space
        self._evaluator = evaluator
        self._most = most
        self._clear()

    def _clear(self) -> None:
        self.onehot = torch.empty(0, self._space.num_options)
        """Canonical, [A, N]."""
        self.errors = torch.empty(0)
        """Share of wrong answers, [A]."""
        self._known: set[str] = set()

    def __len__(self) -> int:
        return len(self.errors)

    def add(self, onehot: Tensor) -> None:
        """Takes in the networks [n, N] that are new, as many as there is room for."""
        if len(self) >= self._most:
            return
        distinct = torch.unique(self._space.canonical(onehot), dim=0)
        distinct = distinct[self._space.viable(distinct) > 0.5]
        texts = [architecture.text for architecture in self._space.decode(distinct)]
        new = [row for row, text in enumerate(texts) if text not in self._known][: self._most - len(self)]
        if new:
            self._known.update(texts[row] for row in new)
            self.onehot = torch.cat([self.onehot, distinct[new]])
            self.errors = torch.cat([self.errors, self._evaluator.errors(distinct[new]) / 100])

    def state_dict(self) -> dict[str, Any]:
        """Networks and errors."""
        return {"onehot": self.onehot, "errors": self.errors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues with what is in `state`."""
        self._clear()
        self.onehot, self.errors = state["onehot"], state["errors"]
        if len(self.errors):
            self._known = {architecture.text for architecture in self._space.decode(self.onehot)}


class Refinement:
    """Finds the best network known for a preference and a device, and looks for better ones.

    Args:
        space: the search space.
        evaluator: computes errors under a supernet that no longer changes.
        costs: frozen.
        d: embeddings of the T search devices, [T, E].
        scalarize: ℓ of losses and preference.
        scale: of errors as shares and of costs.
        chance: share of wrong answers of a guess.
        networks: whose errors are computed at most; up to half of them, FIRST_NETWORKS at most, are random.
    """

    def __init__(
        self,
        space: SearchSpace,
        evaluator: Evaluator,
        costs: CostModel,
        d: Tensor,
        scalarize: Scalarization,
        scale: ObjectiveScale,
        chance: float,
        networks: int,
    ) -> None:
        self._space = space
        self._costs = costs
        self._d = d
        self._scalarize = scalarize
        self._scale = scale
        self._chance = chance
        self._first = min(FIRST_NETWORKS, (networks + 1) // 2)
        self.archive = Archive(space, evaluator, networks)

    @torch.no_grad()
    def elites(self, samples: Tensor, r: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """The best network known for each of R preferences on each of t devices: one-hots [t, R, N].

        Args:
            samples: architectures that the hypernetwork drew for them, [t, R, N]; they enter the archive first.
            r: preferences, [t, R, M].
            chosen: indices of the devices, [t].
            generator: draws the networks that the archive begins with, and mutations.
        """
        if not len(self.archive):
            while not len(self.archive):  # all of a few may be cut
                self.archive.add(self._space.sample(self._first, generator))
            self._scale.observe(self.archive.errors, self._chance)
        self.archive.add(samples.flatten(0, 1))
        best = self._best(r, chosen).flatten(0, 1)
        self.archive.add(torch.cat([self._space.mutate(best, changes, generator) for changes in MUTATIONS]))
        return self._best(r, chosen)

    def _best(self, r: Tensor, chosen: Tensor) -> Tensor:
        onehot, errors = self.archive.onehot, self.archive.errors
        cost = self._costs(onehot[:, None], self._d[chosen])  # [A, t, C]
        losses = self._scale(errors[:, None].expand(cost.shape[:2]), cost, chosen)  # [A, t, M]
        scalarized = self._scalarize(losses[:, :, None], r)  # [A, t, R]
        return onehot[scalarized.argmin(dim=0)]

    def state_dict(self) -> dict[str, Any]:
        """The archive, and the scale of the errors."""
        return {"archive": self.archive.state_dict(), "scale": self._scale.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken."""
        self.archive.load_state_dict(state["archive"])
        self._scale.load_state_dict(state["scale"])

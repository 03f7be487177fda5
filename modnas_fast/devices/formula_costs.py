"""Exact costs beside those of another source: metrics, which a network has on every device alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from modnas_fast.devices.analytic import has_formula
from modnas_fast.devices.cost_source import CostSource, Judging, KnownCosts, Source, Values
from modnas_fast.devices.device import Split
from modnas_fast.devices.metric import ExactCosts
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Reporter
from modnas_fast.spaces import SearchSpace

#: the one device of a search by exact costs alone
ANYWHERE = "anywhere"


class Anywhere(CostSource):
    """One device and no cost: what a search by exact costs alone begins with.

    Args:
        space: the search space.
        networks: random ones beside the references, for predictors of costs that have no formula.
        seed: fixes which.
    """

    executes = "live"

    def __init__(self, space: SearchSpace, networks: int = 0, seed: int = 0) -> None:
        self.space = space
        self.metrics, self.kinds = {}, {}
        self.splits: dict[str, Split] = {ANYWHERE: "search"}
        self.complete = True
        self._known = KnownCosts(self.splits)
        drawn = space.sample(networks, torch.Generator().manual_seed(seed))
        others = [architecture.text for architecture in space.decode(space.canonical(drawn))]
        for text in (*self.references, *others):
            self._known.add(ANYWHERE, text, ())

    def begin(self, reporter: Reporter) -> None:
        """Nothing is left to learn."""

    @property
    def notes(self) -> list[str]:
        return [
            f"no machine and no table of costs was asked: on every device costs are as on the one called {ANYWHERE}"
        ]

    @property
    def known(self) -> KnownCosts:
        return self._known

    def judging(self, device: str) -> Mapping[str, Values]:
        return {}

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing is lost."""


class WithFormulas(CostSource):
    """A source with exact costs added to its own.

    Args:
        source: of the devices and the other costs.
        metrics: names of all costs, in the order of the objectives; what the source lacks is exact.
        exact: costs by name.
    """

    def __init__(self, source: CostSource, metrics: Sequence[str], exact: ExactCosts) -> None:
        self._source = source
        self._costs = exact
        self._computed: dict[str, tuple[float, ...]] = {}
        self._exact = [name for name in metrics if name not in source.metrics]
        self.space, self.splits, self.executes = source.space, source.splits, source.executes
        self.limit, self.complete, self.tabulated = source.limit, source.complete, source.tabulated
        self.judges, self.by_rows = source.judges, source.by_rows
        self.metrics = {name: source.metrics[name] if name in source.metrics else exact.units[name] for name in metrics}
        self.kinds = {name: source.kinds.get(name, "exact") for name in metrics}
        own = list(source.metrics)
        #: per cost, whether it is exact, and its column there or in the source
        self._order = [
            (True, self._exact.index(name)) if name in self._exact else (False, own.index(name)) for name in metrics
        ]

    def _compute(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """The exact costs of networks, each computed once."""
        new = [text for text in dict.fromkeys(texts) if text not in self._computed]
        if new:
            onehot = self.space.canonical(self.space.encode([self.space.parse(text) for text in new]))
            found = self._costs(onehot)
            columns = torch.stack([found[name] for name in self._exact], dim=-1)
            self._computed.update(zip(new, map(tuple, columns.tolist())))
        return [self._computed[text] for text in texts]

    def _merge(self, own: Mapping[str, Values]) -> dict[str, Values]:
        exact = self._compute(list(own))
        return {text: self._ordered(values, e) for (text, values), e in zip(own.items(), exact)}

    def _ordered(self, own: Sequence[float], exact: Sequence[float]) -> Values:
        return tuple(exact[column] if is_exact else own[column] for is_exact, column in self._order)

    def begin(self, reporter: Reporter) -> None:
        self._costs.check_references()  # before minutes of measuring
        self._source.begin(reporter)

    def measure(self, onehot: Tensor) -> None:
        self._source.measure(onehot)

    def finish(self, chosen: Sequence[str], reporter: Reporter) -> None:
        self._source.finish(chosen, reporter)

    @property
    def known(self) -> KnownCosts:
        own, merged = self._source.known, KnownCosts(self.splits)
        for device in self.splits:
            for text, values in self._merge(own.on(device)).items():
                merged.add(device, text, values)
        return merged

    def count_known(self, device: str) -> int:
        return self._source.count_known(device)

    @property
    def held_out(self) -> frozenset[str]:
        return self._source.held_out

    def judging(self, device: str) -> Mapping[str, Values]:
        return self._merge(self._source.judging(device))

    def judged_by(self, device: str) -> Judging:
        """Rows have no exact costs: they are no networks."""
        if not self.by_rows:
            return super().judged_by(device)
        names, onehot, values = self._source.judged_by(device)
        return Judging(names, onehot, self._beside_unknown(values))

    def training_table(self) -> tuple[Tensor, Tensor]:
        """Raises InputError where predictors should learn an exact cost from rows."""
        if not self.by_rows:
            return super().training_table()
        learned = [name for name in self._exact if not has_formula(self.space, name)]
        if learned:
            raise InputError(
                f"objectives: {learned[0]} has no formula, so it is learned from networks, of which the table of rows "
                "has none; leave it out"
            )
        onehot, target = self._source.training_table()
        return onehot, self._beside_unknown(target)

    def _beside_unknown(self, own: Tensor) -> Tensor:
        """Costs [..., C] of the source in their columns; NaN in those of exact ones."""
        unknown = torch.full_like(own[..., 0], float("nan"))
        return torch.stack([unknown if is_exact else own[..., column] for is_exact, column in self._order], dim=-1)

    def found(self, device: str) -> Mapping[str, Values]:
        return self._merge(self._source.found(device))

    def candidates(self, count: int, generator: torch.Generator) -> Tensor:
        return self._source.candidates(count, generator)

    def drawn(self, count: int, generator: torch.Generator) -> Tensor:
        return self._source.drawn(count, generator)

    def listed(self, device: str, texts: Sequence[str]) -> Tensor:
        return self._beside_exact(self._source.listed(device, texts), texts)

    def table_costs(self, device: str) -> Tensor:
        return self._beside_exact(self._source.table_costs(device), self.tabulated)

    @property
    def listed_as(self) -> dict[str, Source]:
        return {name: self._source.listed_as.get(name, "exact") for name in self.metrics}

    def _beside_exact(self, own: Tensor, texts: Sequence[str]) -> Tensor:
        exact = torch.tensor(self._compute(texts), dtype=torch.float64).reshape(len(texts), len(self._exact))
        columns = [(exact if is_exact else own)[:, column] for is_exact, column in self._order]
        return torch.stack(columns, dim=-1)

    def noise(self, device: str) -> dict[str, float]:
        return self._source.noise(device)

    def doubts(self, device: str) -> dict[str, str]:
        return self._source.doubts(device)

    @property
    def notes(self) -> list[str]:
        return [*self._source.notes, f"{', '.join(self._exact)}: exact, counted from the networks"]

    def state(self) -> dict[str, Any]:
        return self._source.state()

    def restore(self, state: dict[str, Any]) -> None:
        self._source.restore(state)

"""Costs of networks as sums over their parts, which a table has: exact, and known of every network of the space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from modnas_fast.devices.cost_source import CostSource, KnownCosts, Source, Values
from modnas_fast.devices.device import Split
from modnas_fast.runtime.progress import Reporter
from modnas_fast.spaces import SearchSpace
from modnas_fast.spaces.parts import PartTable

#: random networks that judge the predictors
JUDGING = 500


class PartCosts(CostSource):
    """Devices whose table has the parts of networks.

    Predictors learn from sums of `networks` networks; in an answer stand sums.

    Args:
        space: the search space.
        table: of its parts.
        name: of the table, for words.
        metrics: those of the table that are objectives, in their order.
        search, unseen: names of devices.
        networks: those that predictors learn from.
        seed: fixes which judge them.
    """

    executes = "live"

    def __init__(
        self,
        space: SearchSpace,
        table: PartTable,
        name: str,
        metrics: Sequence[str],
        search: Sequence[str],
        unseen: Sequence[str],
        *,
        networks: int,
        seed: int,
    ) -> None:
        self.space = space
        self.metrics = {metric: table.metrics[metric] for metric in metrics}
        self.kinds = dict.fromkeys(self.metrics, "tabulated")
        self.splits: dict[str, Split] = {**dict.fromkeys(search, "search"), **dict.fromkeys(unseen, "unseen")}
        self.limit = networks
        self.complete = self.judges = True
        self._columns = [list(table.metrics).index(metric) for metric in metrics]
        self._table = table
        self._name = name
        self._known = KnownCosts(self.splits)
        drawn = space.sample(JUDGING, torch.Generator().manual_seed(seed))
        self._judging = tuple(dict.fromkeys(a.text for a in space.decode(space.canonical(drawn))))

    def begin(self, reporter: Reporter) -> None:
        for device in self.splits:
            self._learn(device, self.references)

    def _learn(self, device: str, texts: Sequence[str]) -> None:
        for text, values in zip(texts, self.listed(device, texts).tolist()):
            self._known.add(device, text, tuple(values))

    def measure(self, onehot: Tensor) -> None:
        canonical = self.space.canonical(onehot)
        texts = list(dict.fromkeys(architecture.text for architecture in self.space.decode(canonical)))
        known = self._known.on(self.search_names[0])
        new = [text for text in texts if text not in known][: max(self.limit - len(known), 0)]
        for device in self.search_names:
            self._learn(device, new)

    @property
    def known(self) -> KnownCosts:
        return self._known

    def judging(self, device: str) -> Mapping[str, Values]:
        return dict(zip(self._judging, map(tuple, self.listed(device, self._judging).tolist())))

    def listed(self, device: str, texts: Sequence[str]) -> Tensor:
        onehot = self.space.encode([self.space.parse(text) for text in texts])
        return self._table.costs(device, onehot)[:, self._columns]

    @property
    def listed_as(self) -> dict[str, Source]:
        return dict(self.kinds)

    @property
    def notes(self) -> list[str]:
        count = len(self._known.on(self.search_names[0]))
        return [
            f"{' and '.join(self.metrics)}: sums over the parts of a network in the table {self._name}, exact for "
            "every network",
            f"predictors learned from sums of {count} networks on each search device and of ten on an unseen one",
        ]

    def state(self) -> dict[str, Any]:
        return {"measured": list(self._known.on(self.search_names[0]))}

    def restore(self, state: dict[str, Any]) -> None:
        for device, split in self.splits.items():
            self._learn(device, list(state["measured"]) if split == "search" else self.references)

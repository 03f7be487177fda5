"""Costs from a table: one that is counted, of which a search may know a few, or one of its user's, which it knows all.

A published table is counted, whether it has all networks of the space or some; so is any table of all networks. What a
table of some networks does not know is judged where the table has a judge, and else predicted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from modnas_fast.devices.cost_source import CostSource, Judging, KnownCosts, Values
from modnas_fast.devices.device import Split
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Reporter
from modnas_fast.spaces import SearchSpace
from modnas_fast.spaces.published import CostTable

#: networks per device that a table needs at least, the reference networks among them
LEAST_NETWORKS = 30
#: share of the networks of a table that has not all that judges the predictor at most
HELD_OUT_SHARE = 0.2


class TableCosts(CostSource):
    """Devices of a table.

    Of a counted table, the search knows those that are measured, up to `networks`, and predictions are judged by all.
    Of any other table it knows all; some of them, up to `heldout`, judge the predictor, which fills the rest.

    Args:
        space: the search space.
        table: with the metrics that are objectives.
        name: of the table, for words.
        search, unseen: names of devices.
        networks: those that may be measured, of a counted table.
        heldout: networks that judge the predictor at most, of another.
        seed: fixes which.
        published: counted though it may not have all networks.

    Raises InputError where the table has too few networks.
    """

    executes = "written"

    def __init__(
        self,
        space: SearchSpace,
        table: CostTable,
        name: str,
        search: Sequence[str],
        unseen: Sequence[str],
        *,
        networks: int,
        heldout: int,
        seed: int,
        published: bool = False,
    ) -> None:
        self.space = space
        self.metrics = dict(table.metrics)
        self.kinds = dict.fromkeys(table.metrics, "tabulated")
        self.splits: dict[str, Split] = {**dict.fromkeys(search, "search"), **dict.fromkeys(unseen, "unseen")}
        self.table = table
        self.tabulated = table.architectures
        self.complete = len(table.architectures) == space.num_architectures
        self.judges = not self.complete and table.judge is not None
        self._counted = self.complete or published
        self.limit = networks if self._counted else 0
        self._name = name
        self._known = KnownCosts(self.splits)
        self._held_out = frozenset() if self._counted else self._draw_held_out(heldout, seed)
        if len(table.architectures) < LEAST_NETWORKS:
            raise InputError(
                f"devices.table: {name} has {len(table.architectures)} networks per device, wanted at least "
                f"{LEAST_NETWORKS}, the ten reference networks among them"
            )

    def _draw_held_out(self, most: int, seed: int) -> frozenset[str]:
        others = [text for text in self.table.architectures if text not in set(self.space.references)]
        count = min(most, int(HELD_OUT_SHARE * len(self.table.architectures)))
        order = torch.randperm(len(others), generator=torch.Generator().manual_seed(seed))
        return frozenset(others[row] for row in order[:count].tolist())

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {text: row for row, text in enumerate(self.table.architectures)}

    def begin(self, reporter: Reporter) -> None:
        self.table.rows(self.space.references)  # refuses a table without them
        for device, split in self.splits.items():
            all_known = not self._counted and split == "search"
            self._learn(device, self.table.architectures if all_known else self.references)

    def _learn(self, device: str, texts: Sequence[str]) -> None:
        rows = [self._row_of[text] for text in texts]
        for text, values in zip(texts, self.table.values[device][rows].tolist()):
            self._known.add(device, text, tuple(values))

    def measure(self, onehot: Tensor) -> None:
        texts = list(dict.fromkeys(architecture.text for architecture in self.space.decode(onehot)))
        known = self._known.on(self.search_names[0])
        new = [text for text in texts if text not in known][: max(self.limit - len(known), 0)]
        missing = [text for text in new if text not in self._row_of]
        if missing:
            raise InputError(f"devices: the table has no measurements of {missing[0]}")
        for device in self.search_names:
            self._learn(device, new)

    @property
    def known(self) -> KnownCosts:
        return self._known

    @property
    def held_out(self) -> frozenset[str]:
        return self._held_out

    def judging(self, device: str) -> Mapping[str, Values]:
        if self._counted:
            texts: Sequence[str] = self.table.architectures
        elif self.splits[device] == "search":
            texts = [text for text in self.table.architectures if text in self._held_out]
        else:
            texts = [text for text in self.table.architectures if text not in self._known.on(device)]
        rows = [self._row_of[text] for text in texts]
        return dict(zip(texts, map(tuple, self.table.values[device][rows].tolist())))

    def judged_by(self, device: str) -> Judging:
        if not self._counted:
            return super().judged_by(device)
        return Judging(list(self.table.architectures), self._onehot, self.table.values[device])

    @cached_property
    def _onehot(self) -> Tensor:
        """Of the table's networks, [n, N]."""
        return self.space.encode([self.space.parse(text) for text in self.table.architectures])

    def candidates(self, count: int, generator: torch.Generator) -> Tensor:
        if self.complete or not self._counted:
            return super().candidates(count, generator)
        return self._onehot[torch.randperm(len(self._onehot), generator=generator)[:count]]

    def drawn(self, count: int, generator: torch.Generator) -> Tensor:
        if self.complete or not self._counted:
            return super().drawn(count, generator)
        return self._onehot[torch.randint(len(self._onehot), (count,), generator=generator)]

    def table_costs(self, device: str) -> Tensor:
        return self.table.values[device]

    def listed(self, device: str, texts: Sequence[str]) -> Tensor:
        if self.judges:
            assert self.table.judge is not None
            return self.table.judge(device, self.space.encode([self.space.parse(text) for text in texts]))
        unknown = torch.full((1, len(self.metrics)), float("nan"), dtype=torch.float64)
        values = torch.cat([self.table.values[device], unknown])
        return values[[self._row_of.get(text, -1) for text in texts]]

    @property
    def notes(self) -> list[str]:
        names = " and ".join(self.metrics)
        count = len(self._known.on(self.search_names[0]))
        if self._counted:
            told = f"{names}: measurements of the table {self._name}"
            if self.judges:
                told += (
                    f" for {len(self.table.architectures):,} networks; of an answer they are judged, by models fitted "
                    "to all of these"
                )
            return [
                told,
                f"the search knew {names} of {count} networks on each search device and of ten on an unseen one",
            ]
        return [
            f"{names}: measurements of the table {self._name} for its {len(self.table.architectures)} networks, "
            f"predicted for all others; {len(self._held_out)} of them judge the predictor alone",
        ]

    def state(self) -> dict[str, Any]:
        return {"measured": list(self._known.on(self.search_names[0]))}

    def restore(self, state: dict[str, Any]) -> None:
        for device, split in self.splits.items():
            texts = list(state["measured"]) if split == "search" else self.references
            for text in texts:
                if text not in self._row_of:
                    raise InputError(
                        f"devices.table: {self._name} has no {text}, which the run began with; give it the table as it "
                        "was, or start a new run"
                    )
            self._learn(device, texts)

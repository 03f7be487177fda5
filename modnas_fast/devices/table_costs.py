"""Costs from a table: of all networks of a space, of which a search may know a few, or of some, which it knows all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from modnas_fast.devices.cost_source import CostSource, KnownCosts, Values
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

    Of a table of all networks, the search knows those that are measured, up to `networks`, and predictions are judged
    by all. Of any other table it knows all; some of them, up to `heldout`, judge the predictor, which fills the rest.

    Args:
        space: the search space.
        table: with the metrics that are objectives.
        name: of the table, for words.
        search, unseen: names of devices.
        networks: those that may be measured, of a table of all.
        heldout: networks that judge the predictor at most, of another.
        seed: fixes which.

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
    ) -> None:
        self.space = space
        self.metrics = dict(table.metrics)
        self.kinds = dict.fromkeys(table.metrics, "tabulated")
        self.splits: dict[str, Split] = {**dict.fromkeys(search, "search"), **dict.fromkeys(unseen, "unseen")}
        self.table = table
        self.tabulated = table.architectures
        self.complete = len(table.architectures) == space.num_architectures
        self.limit = networks if self.complete else 0
        self._name = name
        self._known = KnownCosts(self.splits)
        self._held_out = frozenset() if self.complete else self._draw_held_out(heldout, seed)
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
            all_known = not self.complete and split == "search"
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
        if self.complete:
            texts: Sequence[str] = self.table.architectures
        elif self.splits[device] == "search":
            texts = [text for text in self.table.architectures if text in self._held_out]
        else:
            texts = [text for text in self.table.architectures if text not in self._known.on(device)]
        rows = [self._row_of[text] for text in texts]
        return dict(zip(texts, map(tuple, self.table.values[device][rows].tolist())))

    def listed(self, device: str, texts: Sequence[str]) -> Tensor:
        unknown = torch.full((1, len(self.metrics)), float("nan"), dtype=torch.float64)
        values = torch.cat([self.table.values[device], unknown])
        return values[[self._row_of.get(text, -1) for text in texts]]

    @property
    def notes(self) -> list[str]:
        names = " and ".join(self.metrics)
        count = len(self._known.on(self.search_names[0]))
        if self.complete:
            return [
                f"{names}: measurements of the table {self._name}",
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

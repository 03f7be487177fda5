"""Costs from a table of rows: devices share no networks, and none of the rows is a network that can be written down.

Of a search device, a search knows some rows, drawn at random; of an unseen one those ten that lie next to the ten
reference networks. Nobody measured a reference network: its cost is estimated, on a search device by a regression on
the rows known there, on an unseen one by what the search devices' regressions say, moved to fit its ten rows. Costs of
an answer are judged by models of all rows.
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
from modnas_fast.spaces.rows import LinearModel, RowTable

#: rows of a search device at least
LEAST_ROWS = 30
#: penalty of the regression on known rows, per row
PENALTY = 1e-3
#: strengths of the penalty that holds an unseen device to what the search devices say; the best by leaving out counts
RIDGES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
#: share of the least cost that was measured below which none is estimated
LEAST_SHARE = 0.5


class RowCosts(CostSource):
    """Devices of a table of rows.

    Args:
        space: the search space.
        table: with the metrics that are objectives.
        name: of the table, for words.
        search, unseen: names of devices.
        networks: rows that the search knows of each search device.
        seed: fixes which.

    Raises InputError where a device has too few rows for that.
    """

    executes = "written"
    judges = True
    by_rows = True

    def __init__(
        self,
        space: SearchSpace,
        table: RowTable,
        name: str,
        search: Sequence[str],
        unseen: Sequence[str],
        *,
        networks: int,
        seed: int,
    ) -> None:
        self.space = space
        self.metrics = dict(table.metrics)
        self.kinds = dict.fromkeys(table.metrics, "tabulated")
        self.splits: dict[str, Split] = {**dict.fromkeys(search, "search"), **dict.fromkeys(unseen, "unseen")}
        self.table = table
        self._name, self._networks, self._seed = name, networks, seed
        self._known = KnownCosts(self.splits)
        self._rows: dict[str, list[int]] = {}
        most = min(len(table.samples[device]) for device in search) // 2
        if not LEAST_ROWS <= networks <= most:
            raise InputError(
                f"devices.networks: wanted {LEAST_ROWS} to {most}, half of the rows of the table, got {networks}"
            )

    # ---- what the search may know ----

    def begin(self, reporter: Reporter) -> None:
        generator = torch.Generator().manual_seed(self._seed)
        for device, split in self.splits.items():
            samples = self.table.samples[device]
            if split == "search":
                self._rows[device] = torch.randperm(len(samples), generator=generator)[: self._networks].tolist()
            else:
                self._rows[device] = self._next_to_references(samples)
        self._estimate_references()

    def _next_to_references(self, samples: Tensor) -> list[int]:
        """The row next to each of the reference networks by standardised features, no row twice."""
        features, wanted = self._features(samples), self._features(self._references)
        spread = (features - features.mean(0)).square().mean(0).sqrt().clamp(min=1e-9)
        away = ((features[None] - wanted[:, None]) / spread).square().sum(-1)  # [10, n]
        rows: list[int] = []
        for distances in away:
            distances[rows] = torch.inf
            rows.append(int(distances.argmin()))
        return rows

    def _estimate_references(self) -> None:
        texts = self.references
        for device, split in self.splits.items():
            estimated = self._searched(device) if split == "search" else self._moved(device)
            least = LEAST_SHARE * self.table.values[device][self._rows[device]].amin(0)
            for text, values in zip(texts, torch.maximum(estimated, least).tolist()):
                self._known.add(device, text, tuple(values))

    def _searched(self, device: str) -> Tensor:
        """Costs of the reference networks [10, C] by the regression on the known rows of a search device."""
        return self._regressions[device](self._counts(self._references))

    def _moved(self, device: str) -> Tensor:
        """The same of an unseen device, by the search devices' regressions and its ten rows."""
        rows = self._rows[device]
        samples, values = self.table.samples[device][rows], self.table.values[device][rows]
        usual, wanted = self._usual(samples), self._usual(self._references)
        features, at = self._features(samples), self._features(self._references)
        return torch.stack(
            [moved(u, f, v, w, at) for u, f, v, w in zip(usual.T, [features] * len(usual.T), values.T, wanted.T)],
            dim=-1,
        )

    @cached_property
    def _regressions(self) -> dict[str, LinearModel]:
        """By search device, on its known rows."""
        return {
            device: LinearModel(
                self._counts(self.table.samples[device][rows]), self.table.values[device][rows], PENALTY
            )
            for device, rows in self._rows.items()
            if self.splits[device] == "search"
        }

    def _usual(self, samples: Tensor) -> Tensor:
        """What the search devices take as a share of their means, in logarithms and on average, [n, C]."""
        counts, found = self._counts(samples), []
        for device, model in self._regressions.items():
            known = self.table.values[device][self._rows[device]]
            found.append((model(counts).clamp(min=LEAST_SHARE * known.amin(0)) / known.mean(0)).log())
        return torch.stack(found).mean(0)

    @property
    def known(self) -> KnownCosts:
        """The reference networks, estimated."""
        return self._known

    def count_known(self, device: str) -> int:
        return len(self._rows[device])

    def training_table(self) -> tuple[Tensor, Tensor]:
        """The known rows of the search devices; each has a cost on its own device alone."""
        devices = self.search_devices
        samples, targets = [], []
        for column, device in enumerate(devices):
            rows = self._rows[device.name]
            values = self.table.values[device.name][rows]
            normal = [device.normalize(v, metric) for v, metric in zip(values.T, self.metrics)]
            target = torch.full((len(rows), len(devices), len(self.metrics)), float("nan"))
            target[:, column] = torch.stack(normal, dim=-1).float()
            samples.append(self.table.samples[device.name][rows].float())
            targets.append(target)
        return torch.cat(samples), torch.cat(targets)

    # ---- what judges ----

    def judging(self, device: str) -> Mapping[str, Values]:
        return {}

    def judged_by(self, device: str) -> Judging:
        """All rows of the device that no search knew of."""
        known = set(self._rows[device])
        rows = [row for row in range(len(self.table.samples[device])) if row not in known]
        names = [f"row {self.table.numbers[device][row]}" for row in rows]
        return Judging(names, self.table.samples[device][rows].float(), self.table.values[device][rows])

    def listed(self, device: str, texts: Sequence[str]) -> Tensor:
        return self.table.judge(device, self.space.encode([self.space.parse(text) for text in texts]))

    @property
    def notes(self) -> list[str]:
        names = " and ".join(self.metrics)
        notes = [
            f"{names}: the table {self._name} has rows of averages, of other networks on every device; the search knew "
            f"{self._networks} on each search device, and on an unseen one the ten next to the reference networks, "
            "whose own costs are estimated",
            f"{names} of an answer are judged, by models fitted to all rows of the device: {self._fits()}",
        ]
        left_out = [f"{words} of {d}" for d, words in self.table.left_out.items() if d in self.splits]
        return [*notes, f"left out of the table: {'; '.join(left_out)}"] if left_out else notes

    def _fits(self) -> str:
        found = []
        for device in self.splits:
            of_costs = [f"R² {fit.r2:.3f}, Spearman {fit.spearman:.3f}" for fit in self.table.judge.fits(device)]
            found.append(f"{device} {'; '.join(of_costs)}")
        return ", ".join(found)

    # ---- over a stop ----

    def state(self) -> dict[str, Any]:
        return {"rows": self._rows}

    def restore(self, state: dict[str, Any]) -> None:
        self._rows = {device: [int(row) for row in state["rows"][device]] for device in self.splits}
        for device, rows in self._rows.items():
            if max(rows) >= len(self.table.samples[device]):
                raise InputError(
                    f"devices.table: {self._name} has fewer rows of {device} than the run began with; give it the "
                    "table as it was, or start a new run"
                )
        self._estimate_references()

    # ---- rows and networks as numbers ----

    @cached_property
    def _references(self) -> Tensor:
        return self.space.encode([self.space.parse(text) for text in self.references]).double()

    def _features(self, samples: Tensor) -> Tensor:
        canonical = self.space.canonical(samples.double())
        return canonical if self.space.num_features is None else self.space.features(canonical)

    def _counts(self, samples: Tensor) -> Tensor:
        return self.space.details(self.space.canonical(samples.double()))


def moved(usual: Tensor, features: Tensor, costs: Tensor, wanted: Tensor, at: Tensor) -> Tensor:
    """Costs [m] on a device, from what others usually say and some measurements of its own.

    The logarithm of a cost is the usual one and a line in features and in the usual one itself, held to 0 by a
    penalty: of the strengths in `RIDGES` the one with the least error where measurements are left out one by one.

    Args:
        usual: logarithms, up to a constant, that others say of the networks measured, [n].
        features: of these, [n, F].
        costs: measured, [n].
        wanted: what others say of the networks asked for, [m].
        at: features of these, [m, F].
    """
    known, asked = torch.cat([features, usual[:, None]], dim=-1), torch.cat([at, wanted[:, None]], dim=-1)
    misses = costs.log() - usual
    best, found = torch.inf, torch.zeros_like(wanted)
    identity = torch.eye(len(costs), dtype=costs.dtype)
    centre = known.mean(0)
    for ridge in RIDGES:
        similar = (known - centre) @ (known - centre).T
        inverse = torch.linalg.inv(similar + ridge * identity)
        offset = (inverse @ misses).sum() / inverse.sum()  # free of penalty
        weights = inverse @ (misses - offset)
        error = float((weights / inverse.diagonal()).abs().mean())
        if error < best:
            best, found = error, offset + (asked - centre) @ (known - centre).T @ weights
    return (wanted + found).exp()

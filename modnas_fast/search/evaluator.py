"""Evaluation of a hypernetwork: MAP architectures on rays and their objectives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from modnas_fast.devices import Device, embeddings
from modnas_fast.devices.cost_source import CostSource, Source
from modnas_fast.evaluation.fronts import Point
from modnas_fast.method.metahypernet import logits_on_host
from modnas_fast.method.preferences import rays, sobol
from modnas_fast.method.region import Region
from modnas_fast.predictors.metapredictor import CostModel
from modnas_fast.spaces import SearchSpace

#: architectures whose predicted cost sets the bounds where a space is too large to enumerate
BOUND_SAMPLE = 20_000
#: preferences whose answers are looked through for those within a region
ASKED = 2048


class Evaluator:
    """Objectives of architectures: errors from their source, costs by the MetaPredictors.

    The error of an architecture is computed once per state of the source: `forget()` after changing it.

    Args:
        space: the search space.
        source: errors in percent [n] of canonical one-hots [n, N].
        costs: frozen, one per metric of the devices, in their order.
        known: where some costs are known and stand before predictions.
    """

    def __init__(
        self,
        space: SearchSpace,
        source: Callable[[Tensor], Tensor],
        costs: CostModel,
        known: CostSource | None = None,
    ) -> None:
        self._space = space
        self._source = source
        self._costs = costs
        self._known = known
        self._errors: dict[str, float] = {}

    def forget(self) -> None:
        """Drops remembered errors."""
        self._errors.clear()

    def remember(self, onehot: Tensor, qualities: Tensor) -> None:
        """Takes qualities [n] of canonical architectures [n, N] that the source told before."""
        texts = [architecture.text for architecture in self._space.decode(onehot)]
        self._errors.update(zip(texts, qualities.tolist(), strict=True))

    @torch.no_grad()
    def map_architectures(self, hypernet: nn.Module, device: Device, preferences: Tensor) -> Tensor:
        """The viable MAP architecture of every preference [n, M] on a device, canonical one-hots [n, N]."""
        d = embeddings([device]).expand(len(preferences), -1)
        return self._space.canonical(self._space.viable_mode(logits_on_host(hypernet, preferences, d)))

    def points(self, onehot: Tensor, device: Device, preferences: Tensor | None = None) -> list[Point]:
        """The points of canonical architectures [n, N] on a device; errors must be known by `compute_errors`."""
        names = [architecture.text for architecture in self._space.decode(onehot)]
        costs, sources = self._best_known(onehot, names, device)
        chosen = [None] * len(names) if preferences is None else [tuple(r) for r in preferences.tolist()]
        return [
            Point(name, (self._errors[name], *row), r, source)
            for name, row, r, source in zip(names, costs, chosen, sources)
        ]

    @torch.no_grad()
    def points_within(self, hypernet: nn.Module, device: Device, regions: Sequence[Region], count: int) -> list[Point]:
        """Points of up to `count` distinct answers that lie within one of the regions of a device, in its units.

        Of more, those evenly spread by the first cost; of the preferences that lead to a network, one in the middle.
        """
        r = sobol(ASKED, 1 + len(self._costs.predictors), generator=torch.Generator().manual_seed(0))
        r = r[r[:, 0].argsort()]
        chosen = self.map_architectures(hypernet, device, r)
        names = [architecture.text for architecture in self._space.decode(chosen)]
        costs = torch.tensor(self._best_known(chosen, names, device)[0], dtype=torch.float64)
        unknown = torch.full_like(costs[:, :1], float("nan"))
        outside = torch.stack([region.outside(r, torch.cat([unknown, costs], 1)) for region in regions]).amin(0)
        leading: dict[str, list[int]] = {}
        for row in (outside == 0).nonzero().flatten().tolist():
            leading.setdefault(names[row], []).append(row)
        rows = sorted((found[len(found) // 2] for found in leading.values()), key=lambda row: float(costs[row, 0]))
        if len(rows) > count:
            rows = [rows[place] for place in torch.linspace(0, len(rows) - 1, count).round().long().tolist()]
        self.compute_errors(chosen[rows])
        points = self.points(chosen[rows], device, r[rows])
        values = torch.tensor([point.values for point in points], dtype=torch.float64).reshape(len(points), r.shape[1])
        inside = torch.stack([region.outside(r[rows], values) for region in regions]).amin(0) == 0
        return [point for point, keep in zip(points, inside.tolist()) if keep]

    def _best_known(
        self, onehot: Tensor, names: Sequence[str], device: Device
    ) -> tuple[list[list[float]], list[tuple[Source, ...]]]:
        """Costs in the units of the metrics, [n] of [C], and where each comes from."""
        predicted = self.costs(onehot, device).double()
        if self._known is None:
            return predicted.tolist(), [()] * len(names)
        listed, kinds = self._known.listed(device.name, names), tuple(self._known.listed_as.values())
        unknown = listed.isnan()
        sources: list[tuple[Source, ...]] = [
            tuple("predicted" if missing else kind for missing, kind in zip(row, kinds)) for row in unknown.tolist()
        ]
        return torch.where(unknown, predicted, listed).tolist(), sources

    def costs(self, onehot: Tensor, device: Device) -> Tensor:
        """Predicted costs in the units of the device's metrics, [n, C]."""
        return predicted_costs(self._costs, onehot, device)

    @torch.no_grad()
    def compute_errors(
        self, onehot: Tensor, chunk: int = 16, on_chunk: Callable[[int], None] = lambda done: None
    ) -> None:
        """Errors in percent of canonical architectures [n, N] not seen before, `chunk` networks at a time."""
        texts = [architecture.text for architecture in self._space.decode(onehot)]
        new = list({text: row for row, text in enumerate(texts) if text not in self._errors}.items())
        for start in range(0, len(new), chunk):
            part = new[start : start + chunk]
            errors = self._source(onehot[[row for _, row in part]])
            self._errors.update(zip([text for text, _ in part], errors.tolist()))
            on_chunk(start + len(part))

    def errors(self, onehot: Tensor) -> Tensor:
        """Errors in percent of canonical architectures [n, N], computed where they are not known yet."""
        self.compute_errors(onehot)
        return torch.tensor([self._errors[architecture.text] for architecture in self._space.decode(onehot)])

    def cost_bounds(self, device: Device) -> list[tuple[float, float]]:
        """Per metric, the lowest and the highest predicted cost of all networks (of a sample of a large space)."""
        if self._space.num_architectures <= BOUND_SAMPLE:
            onehot = self._space.enumerate()
        else:
            onehot = self._space.sample(BOUND_SAMPLE, torch.Generator().manual_seed(0))
        costs = self.costs(onehot, device)
        return list(zip(costs.amin(0).tolist(), costs.amax(0).tolist()))

    def ray_points(
        self,
        hypernet: nn.Module,
        devices: Sequence[Device],
        count: int,
        on_chunk: Callable[[int], None] = lambda done: None,
    ) -> list[list[Point]]:
        """Per device, the points of the MAP architectures on `count` rays."""
        preferences = rays(count, 1 + len(self._costs.predictors))
        chosen = [self.map_architectures(hypernet, device, preferences) for device in devices]
        self.compute_errors(torch.cat(chosen), on_chunk=on_chunk)
        return [self.points(onehot, device, preferences) for onehot, device in zip(chosen, devices)]


@torch.no_grad()
def predicted_costs(costs: CostModel, onehot: Tensor, device: Device) -> Tensor:
    """Costs [n, C] that predictors give networks [n, N] on a device, in the units of its metrics."""
    normalized = costs(onehot, embeddings([device])).unbind(-1)
    values = [device.denormalize(value, metric) for value, metric in zip(normalized, device.metrics, strict=True)]
    return torch.stack(values, dim=-1)

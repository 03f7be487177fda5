"""How well the predictors of a run do: predictions beside what is known, per device and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from modnas_fast.devices import Device, embeddings
from modnas_fast.devices.cost_source import CostSource, Judging
from modnas_fast.predictors.metapredictor import CostModel, predictor_quality
from modnas_fast.runtime.objective import costs_of

#: networks per device whose predicted and true costs are kept for the report, at most; of many devices together, and
#: of each of them still
SHOWN_NETWORKS, SHOWN_ALTOGETHER, LEAST_SHOWN = 200, 40_000, 20
#: devices whose costs are predicted at once
TOGETHER = 64


@torch.no_grad()
def predictor_entries(source: CostSource, devices: Sequence[Device], model: CostModel, seed: int) -> dict[str, Any]:
    """Per device `split`, and `costs`: by key of a cost that is predicted, how well, with a sample of the networks.

    Args:
        source: knows the networks that judge.
        devices: those told of.
        model: trained.
        seed: of the sample, where there are many networks.
    """
    most = max(LEAST_SHOWN, min(SHOWN_NETWORKS, SHOWN_ALTOGETHER // max(1, len(devices))))
    judged = {device.name: source.judged_by(device.name) for device in devices}
    found = {}
    for alike in _judged_alike(devices, judged):
        texts, onehot, known = judged[alike[0].name]
        columns = onehot.new_empty(0, len(alike), known.shape[-1])
        if texts:
            columns = model.on_devices(onehot, embeddings(alike))
        shown = _sample(len(texts), most, seed)
        for device, predicted in zip(alike, columns.unbind(1), strict=True):
            values = judged[device.name].values
            found[device.name] = _costs_entry(source, device, texts, predicted.double(), values, shown)
    return {device.name: {"split": device.split, "costs": found[device.name]} for device in devices}


def _judged_alike(devices: Sequence[Device], judged: Mapping[str, Judging]) -> list[list[Device]]:
    """Devices that the same networks judge, next to each other and `TOGETHER` at most: one pass predicts them all."""
    groups: list[list[Device]] = []
    for device in devices:
        own, last = judged[device.name], judged[groups[-1][0].name] if groups else None
        alike = last is not None and last.names == own.names and torch.equal(last.onehot, own.onehot)
        if alike and len(groups[-1]) < TOGETHER:
            groups[-1].append(device)
        else:
            groups.append([device])
    return groups


def _costs_entry(
    source: CostSource, device: Device, texts: Sequence[str], predicted: Tensor, values: Tensor, shown: Sequence[int]
) -> dict[str, Any]:
    """Of one device: costs [n, C] as predicted, in its normalised ranges, and as known; `shown` are listed."""
    found = {}
    for column, cost in enumerate(costs_of(device.metrics)):
        if source.kinds[cost.name] != "exact":
            in_units, known = device.denormalize(predicted[:, column], cost.name), values[:, column]
            found[cost.key] = {
                **_quality(in_units.tolist(), known.tolist()),
                "networks": len(texts),
                "judged": [float(known.min()), float(known.max())] if texts else [],
                "architectures": [texts[row] for row in shown],
                "predicted": in_units[shown].tolist(),
                "measured": known[shown].tolist(),
            }
    return found


def _sample(count: int, most: int, seed: int) -> list[int]:
    """Which of `count` networks are shown."""
    if count <= most:
        return list(range(count))
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:most].tolist()


def _quality(predicted: Sequence[float], known: Sequence[float]) -> dict[str, float | None]:
    """Correlations and relative error; None where there are too few networks."""
    if len(known) < 2:
        return {"spearman": None, "kendall": None, "mape": None}
    return asdict(predictor_quality(predicted, known))

"""How well the predictors of a run do: predictions beside what is known, per device and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from modnas_fast.devices import Device, embeddings
from modnas_fast.devices.cost_source import CostSource
from modnas_fast.predictors.metapredictor import CostModel, predictor_quality
from modnas_fast.runtime.objective import costs_of

#: networks per device whose predicted and true costs are kept for the report, at most
SHOWN_NETWORKS = 200


@torch.no_grad()
def predictor_entries(source: CostSource, devices: Sequence[Device], model: CostModel, seed: int) -> dict[str, Any]:
    """Per device `split`, and `costs`: by key of a cost that is predicted, how well, with a sample of the networks.

    Args:
        source: knows the networks that judge.
        devices: those told of.
        model: trained.
        seed: of the sample, where there are many networks.
    """
    return {
        device.name: {"split": device.split, "costs": _costs_entry(source, device, model, seed)} for device in devices
    }


def _costs_entry(source: CostSource, device: Device, model: CostModel, seed: int) -> dict[str, Any]:
    texts, onehot, values = source.judged_by(device.name)
    predicted = torch.empty_like(values)
    if texts:
        predicted = model.on_devices(onehot, embeddings([device]))[:, 0].double()
    shown = _sample(len(texts), seed)
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


def _sample(count: int, seed: int) -> list[int]:
    """Which of `count` networks are shown."""
    if count <= SHOWN_NETWORKS:
        return list(range(count))
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:SHOWN_NETWORKS].tolist()


def _quality(predicted: Sequence[float], known: Sequence[float]) -> dict[str, float | None]:
    """Correlations and relative error; None where there are too few networks."""
    if len(known) < 2:
        return {"spearman": None, "kendall": None, "mape": None}
    return asdict(predictor_quality(predicted, known))

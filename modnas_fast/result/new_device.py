"""Costs on a device that the run never saw, in NumPy, from what answers.npz holds; `BestCosts` is the reference."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from modnas_fast.devices.device import LINEAR_DOWN_TO, Device
from modnas_fast.result.answers import JUDGED_SLACK
from modnas_fast.result.answers_file import SOURCES, AnswersFile, Array
from modnas_fast.result.hypernetworks import silu
from modnas_fast.runtime.objective import Objective


class Costs(NamedTuple):
    """Costs of n networks on one device."""

    #: in the units of the costs, [n, C]
    value: Array
    #: places in SOURCES, [n, C]
    source: Array
    #: bool [n, C]
    extrapolated: Array


def costs_on_new_device(file: AnswersFile, block: str, device: Device, costs: tuple[Objective, ...]) -> Costs:
    """The best known costs of the networks of a block: exact, measured at the device's references, else predicted."""
    shape = (len(file[f"{block}.text"]), len(costs))
    found = Costs(np.empty(shape), np.empty(shape, np.uint8), np.zeros(shape, bool))
    for column, cost in enumerate(costs):
        if file.header["cost_sources"][cost.key] == "exact":
            found.value[:, column] = file[f"{block}.costs"][0, :, column]
            found.source[:, column] = SOURCES.index("exact")
            continue
        width = len(file.header["references"])
        part = np.array(device.embedding[column * width : (column + 1) * width])
        value = denormalized(_predicted(file, block, cost.key, part), *device.ranges[cost.name])
        found.value[:, column] = value
        found.source[:, column] = SOURCES.index("predicted")
        found.extrapolated[:, column] = _beyond(file, column, device, normalized(value, *device.ranges[cost.name]))
        rows = file[f"{block}.reference"]
        known = np.flatnonzero(rows >= 0)
        found.value[known, column] = denormalized(part, *device.ranges[cost.name])[rows[known]]
        found.source[known, column] = SOURCES.index("measured")
        found.extrapolated[known, column] = False
    return found


def _predicted(file: AnswersFile, block: str, key: str, d: Array) -> Array:
    """Costs in the device's normalised range, [n]: features times prices."""
    centred = 2 * d.astype(np.float32) - 1
    hidden = file[f"predictor.{key}.weight"] @ centred + file[f"predictor.{key}.bias"]
    seen = np.concatenate([np.ones(1, np.float32), centred, silu(hidden)])
    return np.asarray(file[f"{block}.features.{key}"] @ (file[f"predictor.{key}.prices"] @ seen), dtype=float)


def denormalized(value: Array, low: float, high: float) -> Array:
    """Costs in their unit, see `Device.denormalize`."""
    knee = low * LINEAR_DOWN_TO
    linear = low + (high - low) * value
    continued = knee / (1 + np.log1p((knee - np.minimum(linear, knee)) / knee))
    return np.asarray(np.where(linear < knee, continued, linear))


def normalized(value: Array, low: float, high: float) -> Array:
    """Costs in the device's range, see `Device.normalize`; values are positive."""
    knee = low * LINEAR_DOWN_TO
    continued = knee * (2 - np.exp(knee / np.minimum(value, knee) - 1))
    return np.asarray((np.where(value < knee, continued, value) - low) / (high - low))


def _beyond(file: AnswersFile, column: int, device: Device, value: Array) -> Array:
    """Whether predictions, in the device's range, are extrapolated: nothing judges them, bool [n]."""
    judged = file["devices.judged"][:, column]
    judged = judged[~np.isnan(judged[:, 0])]
    if not len(judged):
        return np.zeros(value.shape, bool)
    embeddings = file["devices.embedding"].tolist()
    if _nearest(list(device.embedding), embeddings) > file.header["largest_gap"]:
        return np.ones(value.shape, bool)
    lowest, highest = judged[:, 0].min() - JUDGED_SLACK, judged[:, 1].max() + JUDGED_SLACK
    return np.asarray((value < lowest) | (value > highest))


def _nearest(embedding: list[float], others: list[list[float]]) -> float:
    return min((math.dist(embedding, other) for other in others), default=0.0)

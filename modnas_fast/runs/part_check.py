"""Sums over measured parts beside a regression on whole networks: how well each tells networks of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from modnas_fast.devices import Device
from modnas_fast.devices.machine import Setting
from modnas_fast.devices.part_measuring import measure_together
from modnas_fast.predictors.metapredictor import (
    MetaPredictor,
    PredictorQuality,
    predictor_quality,
    train_metapredictor,
)
from modnas_fast.spaces import SearchSpace
from modnas_fast.spaces.parts import Part, PartTable

#: whole networks that the regression learns from, the references among them, as a search measures by default
LEARNED = 48
STEPS, LEARNING_RATE = 800, 3e-3


class PartCheck(NamedTuple):
    """How well networks that were measured whole are told by both ways, and why not to trust that, in words."""

    sums: PredictorQuality
    regression: PredictorQuality
    doubt: str


def check_parts(
    space: SearchSpace, table: PartTable, setting: Setting, count: int, repeats: int, **network: Any
) -> PartCheck:
    """Measures `count` random networks whole, and as many more as a regression learns from, in the same rounds.

    Args:
        space: the search space.
        table: with one device, this machine's setting.
        setting: of this machine.
        count: networks that judge.
        repeats: counted rounds.
        network: keyword arguments of `space.build`; `input_shape` is that of one sample.
    """
    references = [space.parse(text) for text in space.references]
    drawn = space.canonical(space.sample(LEARNED + count, torch.Generator().manual_seed(0)))
    networks = [*references, *space.decode(drawn)][: LEARNED + count]
    shape = network["input_shape"]
    parts = [Part(f"{place}", space.build(each, **network), shape) for place, each in enumerate(networks)]
    found, doubt = measure_together(parts, setting, repeats, (), {})
    measured = torch.tensor([found[part.key]["mean"] for part in parts], dtype=torch.float64)
    onehot = space.encode(networks)
    metric = next(iter(table.metrics))
    told: dict[str, Sequence[float]] = {metric: measured[: len(references)].tolist()}
    device = Device.from_references(setting.name, told, table.metrics, "search")
    predictor = MetaPredictor(space, len(references), generator=torch.Generator().manual_seed(0))
    d = torch.tensor(device.embedding, dtype=torch.float32).expand(LEARNED, -1)
    target = device.normalize(measured[:LEARNED], metric).float()
    train_metapredictor(predictor, onehot[:LEARNED], d, target, steps=STEPS, learning_rate=LEARNING_RATE)
    with torch.no_grad():
        predicted = device.denormalize(predictor(onehot[LEARNED:], d[:1]).double(), metric)
    sums = table.costs(table.devices[0], onehot[LEARNED:])[:, 0]
    judged = measured[LEARNED:].tolist()
    return PartCheck(predictor_quality(sums.tolist(), judged), predictor_quality(predicted.tolist(), judged), doubt)

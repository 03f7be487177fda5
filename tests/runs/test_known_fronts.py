"""What a search knows beside its answers: on each device the front of all that it evaluated, by its own beliefs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from modnas_fast.devices import Device, embeddings
from modnas_fast.predictors.metapredictor import CostModel
from modnas_fast.runs.known_fronts import known_fronts
from modnas_fast.search.refine import Archive
from modnas_fast.spaces import NB201Space

space = NB201Space()
NETWORKS = 120


class Sums(torch.nn.Module):
    """In place of a MetaPredictor: prices of options that turn with the device."""

    def forward(self, onehot: Tensor, d: Tensor) -> Tensor:
        prices = torch.linspace(0, 1, space.num_options).roll(3)
        return (onehot * prices).sum(-1) * d[..., 0] + (onehot * prices.flip(0)).sum(-1) * d[..., 1]


class Believed:
    """In place of an objective: qualities from prices of options, in percent."""

    whole = 100.0

    def errors(self, onehot: Tensor) -> Tensor:
        return 90 - 10 * (onehot @ torch.linspace(0.1, 1, space.num_options).sqrt())


def make_devices() -> tuple[Device, ...]:
    draws = torch.rand(3, 10, generator=torch.Generator().manual_seed(1)) + 0.5
    splits = ("search", "search", "unseen")
    return tuple(
        Device.from_reference_latencies(f"device {i}", row.tolist(), split)
        for i, (row, split) in enumerate(zip(draws, splits))
    )


def make_answer(queried: dict[str, float], measured: dict[str, Tensor] | None = None) -> Any:
    """Of a search whose archive has some random networks."""
    costs, devices = CostModel([Sums()]), make_devices()
    d = embeddings(devices[:2])
    archive = Archive(space, Believed(), costs, d, measured or {}, NETWORKS)  # type: ignore[arg-type]
    archive.add(space.sample(NETWORKS, torch.Generator().manual_seed(2)))
    prepared = SimpleNamespace(
        devices=devices, search_devices=devices[:2], costs=costs, objective=Believed(), queried=queried
    )
    return SimpleNamespace(search=SimpleNamespace(archive=archive), prepared=prepared)


def texts_of(onehot: Tensor) -> list[str]:
    return [architecture.text for architecture in space.decode(onehot)]


def test_fronts_are_those_of_all_that_is_known_on_every_device() -> None:
    further = [a.text for a in space.decode(space.canonical(space.sample(40, torch.Generator().manual_seed(3))))]
    answer = make_answer(dict.fromkeys(further, 0.0))
    archive, found = answer.search.archive, known_fronts(answer, space, 1000)
    everything = torch.cat([archive.onehot, space.encode([space.parse(text) for text in further])])
    quality = Believed().errors(everything)
    for device, front in zip(answer.prepared.devices, found, strict=True):
        cost = answer.prepared.costs.on_devices(everything, embeddings([device]))[:, 0, 0]
        best = {
            text
            for text, q, c in zip(texts_of(everything), quality, cost)
            if not ((quality <= q) & (cost <= c) & ((quality < q) | (cost < c))).any()
        }
        assert set(texts_of(front)) == best and len(front) == len(best) > 2
        shown = answer.prepared.costs.on_devices(front, embeddings([device]))[:, 0, 0]
        assert (shown.diff() > 0).all(), "by rising cost"
    assert {text for front in found for text in texts_of(front)} & set(further), "queried networks count, too"


@pytest.mark.parametrize("most", [2, 3, 5])
def test_a_longer_front_is_thinned_out_and_keeps_its_ends(most: int) -> None:
    answer = make_answer({})
    for whole, some in zip(known_fronts(answer, space, 1000), known_fronts(answer, space, most), strict=True):
        whole_texts, texts = texts_of(whole), texts_of(some)
        assert len(texts) == min(most, len(whole_texts)) == len(set(texts))
        assert (texts[0], texts[-1]) == (whole_texts[0], whole_texts[-1])
        assert [text for text in whole_texts if text in texts] == texts


def test_what_was_measured_goes_before_predictions() -> None:
    worst = texts_of(
        make_answer({}).search.archive.onehot[Believed().errors(make_answer({}).search.archive.onehot).argmax()][None]
    )
    cheap = {worst[0]: torch.full((2, 1), -1.0)}
    first, second, unseen = known_fronts(make_answer({}, cheap), space, 1000)
    assert texts_of(first)[0] == texts_of(second)[0] == worst[0], "nothing costs less on the devices it was measured on"
    assert worst[0] not in texts_of(known_fronts(make_answer({}), space, 1000)[0])
    assert texts_of(unseen) == texts_of(known_fronts(make_answer({}), space, 1000)[2])

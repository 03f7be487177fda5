"""Searches on a made-up table: what they count, that they read nothing else, and that they can be continued."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up_tables import SPACE, TEXTS, make_benchmark
from torch import Tensor

from modnas_fast.config import Config, make_config
from modnas_fast.devices import embeddings
from modnas_fast.devices.table_costs import TableCosts
from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.method.preferences import rays
from modnas_fast.reproduction.searching import prepare, search
from modnas_fast.runs.preparation import Prepared
from modnas_fast.runs.searching import Answer, advance, start
from modnas_fast.runtime.checkpoint import load_checkpoint, save_checkpoint
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Silent
from modnas_fast.search.bilevel import Search
from modnas_fast.search.scores import map_points, mean_by_split, scores
from modnas_fast.spaces.published import CostTable

SMALL = {
    "task": {"queries": 16},
    "devices": {"networks": 60},
    "predictor": {"steps": 30, "hidden": 8},
    "hypernetwork": {"intervals": 5},
    "search": {"steps": 3, "refine_steps": 5, "refine_networks": 300, "evaluations": 2, "log_every": 1},
    "evaluation": {"rays": 6},
}


@pytest.fixture(scope="module", autouse=True)
def _few_candidates() -> Iterator[None]:
    """A sample stands for the whole space: quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modnas_fast.runs.preparation.CANDIDATES", 800)
        patch.setattr("modnas_fast.search.bilevel.CANDIDATES", 800)
        yield


def config(seed: int = 0, objectives: Sequence[str] = ("error", "latency"), **changes: dict[str, Any]) -> Config:
    sections = {name: {**SMALL.get(name, {}), **changes.get(name, {})} for name in {**SMALL, **changes}}
    return make_config(preset="nb201", seed=seed, objectives=list(objectives), **sections)


@pytest.fixture(scope="module")
def known() -> Benchmark:
    return make_benchmark(3, 1)


def run(options: Config, tables: Benchmark) -> Answer:
    return search(options, tables, prepare(options, tables))


def state(answer: Answer) -> dict[str, Tensor]:
    return answer.hypernet.state_dict()


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


# ---- what is counted ----


@pytest.fixture(scope="module")
def answer(known: Benchmark) -> Answer:
    return run(config(), known)


def source_of(tables: Benchmark, networks: int) -> TableCosts:
    names = [[d.name for d in tables.devices if d.split == split] for split in ("search", "unseen")]
    source = TableCosts(SPACE, tables.table, "made up", *names, networks=networks, heldout=24, seed=0)
    source.begin(Silent())
    return source


def known_networks(prepared: Prepared) -> list[str]:
    return list(prepared.source.known.on("device 0"))


def test_a_network_is_measured_once_on_all_search_devices(known: Benchmark) -> None:
    source, onehot = source_of(known, 15), SPACE.encode([SPACE.parse(TEXTS[row]) for row in (5, 9, 5, 70)])
    references = list(SPACE.references)
    assert source.known.texts == references
    source.measure(onehot[:3])
    source.measure(onehot)
    wanted = [*references, TEXTS[5], TEXTS[9], TEXTS[70]]
    assert all(list(source.known.on(device.name)) == wanted for device in known.search_devices)
    assert list(source.known.on("device 3")) == references, "of an unseen device, the references alone"
    networks, costs = source.training_table()
    rows = known.rows(networks)
    assert [TEXTS[row] for row in rows] == wanted and torch.equal(costs, known.normalized_costs(rows))
    source.measure(SPACE.sample(50, torch.Generator().manual_seed(0)))
    source.measure(SPACE.sample(50, torch.Generator().manual_seed(1)))
    assert len(source.known.on("device 0")) == 15


@pytest.mark.parametrize("networks", [29, 60])
def test_a_search_measures_and_queries_as_many_as_allowed(known: Benchmark, networks: int) -> None:
    prepared = prepare(config(devices={"networks": networks}), known)
    assert len(prepared.queried) == 16 and networks - 18 <= len(known_networks(prepared)) <= networks
    assert set(SPACE.references) <= set(known_networks(prepared))
    assert prepared.queried.keys() <= set(known_networks(prepared)), "what is queried is measured, too"
    rows = [TEXTS.index(text) for text in prepared.queried]
    assert list(prepared.queried.values()) == known.errors[rows].tolist()
    assert list(prepared.seconds) == ["measure", "predict", "query", "predict again"]
    assert all(not p.requires_grad for p in prepared.costs.parameters())


def test_with_an_objective_given_no_error_is_read(known: Benchmark, answer: Answer) -> None:
    given = answer.prepared.objective
    blind = replace(known, errors=torch.full_like(known.errors, torch.nan))
    prepared = prepare(config(), blind, given)
    assert prepared.queried == {} and len(known_networks(prepared)) == 60 and prepared.objective is given


def blinded(known: Benchmark, answer: Answer) -> Benchmark:
    """The same tables with NaN in place of everything that the search must not know."""
    costs_known = torch.tensor([text in known_networks(answer.prepared) for text in TEXTS])
    errors_known = torch.tensor([text in answer.prepared.queried for text in TEXTS])
    values = {device.name: known.table.values[device.name].clone() for device in known.devices}
    for device in known.devices:
        references = torch.tensor([text in SPACE.references for text in TEXTS])
        values[device.name][~costs_known if device.split == "search" else ~references] = torch.nan
    errors = known.errors.where(errors_known, torch.nan)
    return replace(known, errors=errors, table=CostTable(TEXTS, known.table.metrics, values))


def test_nothing_but_what_is_counted_is_read(known: Benchmark, answer: Answer) -> None:
    options = config(search={"evaluations": 0})  # evaluations score against the whole table
    blind = run(options, blinded(known, answer))
    assert blind.prepared.queried == answer.prepared.queried
    assert same(state(blind), state(answer))
    assert all(value.isfinite().all() for value in state(blind).values())


# ---- same, continued, and further objectives ----


def test_a_seed_is_an_answer(known: Benchmark, answer: Answer) -> None:
    torch_state = torch.get_rng_state()
    again = run(config(), known)
    assert same(state(again), state(answer)) and again.prepared.queried == answer.prepared.queried
    assert torch.equal(torch_state, torch.get_rng_state()), "the global generator is left alone"
    other = prepare(config(1), known)
    assert other.queried.keys() != answer.prepared.queried.keys()


def test_the_way_there_is_scored(known: Benchmark, answer: Answer) -> None:
    assert [point["evaluations"] for point in answer.curve] == [16, 16]
    found = scores(known, answer.hypernet, 6)
    assert answer.curve[-1]["ratio"] == mean_by_split(known, found, "ratio")
    seconds = [point["seconds"] for point in answer.curve]
    assert sum(answer.prepared.seconds.values()) < seconds[0] < seconds[1] <= answer.total_seconds


class Broken(Exception):
    pass


@pytest.mark.parametrize("broken_after", [2, 3, 6])
def test_a_continued_search_equals_an_unbroken_one(
    known: Benchmark, answer: Answer, tmp_path: Path, broken_after: int
) -> None:
    """Broken in the bilevel steps, between the phases, and in the refinement."""
    first = start(config(), answer.prepared)

    def stop(search: Search) -> None:
        if search.finished_steps == broken_after:
            save_checkpoint(tmp_path / "state", search.state_dict())
            raise Broken

    with pytest.raises(Broken):
        advance(first, on_step=stop)
    second, seen = start(config(), answer.prepared), []
    second.search.load_state_dict(load_checkpoint(tmp_path / "state"))
    advance(second, on_step=lambda search: seen.append(search.finished_steps))
    assert seen == list(range(broken_after + 1, 9))
    assert same(state(second), state(answer))
    assert second.search.history.to_dict() == answer.search.history.to_dict()


def test_answers_are_viable_networks_of_the_rays(known: Benchmark, answer: Answer) -> None:
    for device in known.devices:
        points = map_points(known, answer.hypernet, device, 6)
        with torch.no_grad():
            logits = answer.hypernet(rays(6, 2), embeddings([device]).expand(6, -1))
        rows = known.rows(SPACE.canonical(SPACE.viable_mode(logits)))
        assert len(rows) == 6 and points.tolist() == known.fronts[device.name].values[sorted(set(rows))].tolist()
        assert bool(known.kept[rows].all())
        assert scores(known, answer.hypernet, 6)[device.name] == known.fronts[device.name].score(rows)


def test_means_are_those_of_each_split(known: Benchmark, answer: Answer) -> None:
    found = scores(known, answer.hypernet, 6)
    searched = [found[f"device {k}"].ratio for k in range(3)]
    assert mean_by_split(known, found, "ratio") == {
        "search": pytest.approx(sum(searched) / 3), "unseen": found["device 3"].ratio,
    }  # fmt: skip
    alone = replace(known, devices=known.search_devices)
    assert mean_by_split(alone, found, "networks")["unseen"] is None


def test_three_objectives() -> None:
    tables = make_benchmark(2, 1, ("latency", "energy"))
    options = config(hypernetwork={"kind": "mlp"}, objectives=["error", "latency", "energy"])
    answer = run(options, tables)
    assert answer.search.done and len(answer.prepared.costs.predictors) == 2
    assert len(known_networks(answer.prepared)) <= 60
    found = scores(tables, answer.hypernet, 6)
    assert list(found) == ["device 0", "device 1", "device 2"]
    assert all(0 < score.ratio <= 1 for score in found.values())


def test_the_published_predictor_serves_as_well(known: Benchmark) -> None:
    answer = run(config(predictor={"kind": "plain_graph"}), known)
    assert type(answer.prepared.costs.predictors[0]).__name__ == "PlainGraphPredictor" and answer.search.done


def test_a_longer_search_beats_as_many_random_networks() -> None:
    tables = make_benchmark(2, 1)
    longer = {"steps": 20, "refine_steps": 80, "refine_networks": 800}
    options = config(task={"queries": 40}, devices={"networks": 150}, predictor={"steps": 200}, search=longer)
    found = scores(tables, run(options, tables).hypernet, 6)
    for device, score in found.items():
        generator = torch.Generator().manual_seed(0)
        lucky = [
            tables.fronts[device].score(torch.randperm(len(TEXTS), generator=generator)[:40].tolist()).ratio
            for _ in range(20)
        ]
        assert score.ratio > sum(lucky) / 20, device


@pytest.mark.parametrize(
    ("networks", "text"),
    [
        (26, "devices.networks: wanted at least 29, for references, queries and fronts, .* got 26"),
        (7813, "at most 7812, half of the table; got 7813"),
    ],
)
def test_networks_that_cannot_be_measured(known: Benchmark, networks: int, text: str) -> None:
    with pytest.raises(InputError, match=text):
        prepare(config(devices={"networks": networks}), known)

"""What a configuration names as source of its costs and as truth."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
from made_up_tables import SPACE, TEXTS, costs, write_tables

from modnas_fast.config import Config, make_config
from modnas_fast.devices import MachineCosts, Metric
from modnas_fast.devices.cost_source import CostSource
from modnas_fast.devices.formula_costs import ANYWHERE, WithFormulas
from modnas_fast.devices.table_costs import TableCosts
from modnas_fast.runs.sources import check_quality, find_truth, make_source
from modnas_fast.runtime.choices import METRICS
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.objective import Objective
from modnas_fast.runtime.progress import Silent
from modnas_fast.spaces import NB201Space

NETWORK: dict[str, Any] = {"input_shape": (1, 8, 8), "image_channels": 1, "classes": 10, "channels": 4, "cells": 1}
SOME = sorted({*SPACE.references, *TEXTS[::400]})


class Opaque(NB201Space):
    name = "opaque"
    analytic_is_differentiable = False


def nobody() -> NoReturn:
    raise AssertionError("nothing is measured or told here")


def made(config: Config, space: NB201Space = SPACE) -> CostSource:
    return make_source(config, space, nobody, lambda: NETWORK)


def config(objectives: Sequence[str], **devices: Any) -> Config:
    return make_config(objectives=list(objectives), devices=devices)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A table with energy before latency, a column of memory, and devices whose names hold blanks."""
    with open(tmp_path / "my table.csv", "w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["architecture", "energy_mJ", "device", "Latency_ms", "memory_mb"])
        for place, device in enumerate(("my phone", "a board")):
            for text in SOME:
                row = TEXTS.index(text)
                energy, latency = costs(place, "energy")[row].item(), costs(place)[row].item()
                rows.writerow([text, energy, f" {device} ", latency, 3.0])
    return tmp_path / "my table.csv"


# ---- tables ----


@pytest.mark.parametrize("metrics", [("latency", "energy"), ("energy", "latency"), ("energy",)])
def test_costs_of_a_table_come_in_the_order_of_the_objectives(own: Path, metrics: tuple[str, ...]) -> None:
    source = made(config(["error", *metrics], table=str(own), unseen=["a board"]))
    assert isinstance(source, TableCosts) and list(source.metrics) == list(source.kinds) == list(metrics)
    assert source.splits == {"my phone": "search", "a board": "unseen"}
    source.begin(Silent())
    row = TEXTS.index(SOME[3])
    assert source.known.on("my phone")[SOME[3]] == tuple(costs(0, metric)[row].item() for metric in metrics)
    assert source.notes[0].startswith(f"{' and '.join(metrics)}: measurements of the table my table.csv")


def test_exact_costs_beside_a_table(own: Path) -> None:
    source = made(config(["error", "parameters", "energy", "flops"], table=str(own)))
    assert isinstance(source, WithFormulas)
    assert source.kinds == {"parameters": "exact", "energy": "tabulated", "flops": "exact"}
    assert source.splits == {"my phone": "search", "a board": "search"}


def test_a_column_of_an_exact_cost_is_not_left_out_in_silence(own: Path) -> None:
    made(config(["error", "energy"], table=str(own)))
    with pytest.raises(InputError, match="memory is counted from the networks, and the table .* such as device_memory"):
        made(config(["error", "energy", "memory"], table=str(own)))


def test_exact_costs_alone_ask_no_table(own: Path) -> None:
    source = made(config(["error", "memory"], table=str(own)))
    assert source.splits == {ANYWHERE: "search"} and source.metrics == {"memory": "MB"} and source.complete
    assert "no machine and no table" in source.notes[0]


@pytest.mark.parametrize(
    ("objectives", "devices", "told"),
    [
        (["error", "power"], {}, "objectives: the table .* gives no 'power'; it gives latency, energy, memory, and"),
        (["error", "latency"], {"search": ["phone"]}, "devices: the table has no 'phone'; .* it has my phone, a board"),
        (["error", "latency"], {"search": ["a board", "a board"]}, "a board is named twice"),
        (["error", "latency"], {"search": ["a board"], "unseen": ["a board"]}, "a board is named twice"),
        (["error", "latency"], {"unseen": ["a board", "my phone"]}, "at least one device must be searched"),
    ],
)  # fmt: skip
def test_what_a_table_has_not_is_refused(own: Path, objectives: list[str], devices: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        made(config(objectives, table=str(own), **devices))


def test_a_whole_table_has_its_rows_as_the_truth(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tables(tmp_path_factory.mktemp("data"), [])
    monkeypatch.setenv("MODNAS_DATA", str(folder))
    changes = {"objectives": ["error", "latency"], "devices": {"table": "hw-nas-bench-360"}}
    options = make_config(preset="nb201", **changes, task={"table": "cifar100"})
    truth, source = find_truth(options, SPACE), made(options)
    assert truth is not None and isinstance(source, TableCosts) and source.complete
    assert tuple(source.tabulated) == tuple(truth.architectures)
    listed = source.listed("pi5_onnx", [truth.architectures[77]])
    assert listed.tolist() == [[costs(3)[TEXTS.index(truth.architectures[77])].item()]]


# ---- this machine, and no devices ----


def test_this_machine_is_not_touched_before_it_is_measured() -> None:
    source = made(config(["error", "latency"]))
    assert isinstance(source, MachineCosts) and "search" in source.splits.values()
    mixed = made(config(["error", "flops", "latency"]))
    assert mixed.kinds == {"flops": "exact", "latency": "measured"} and mixed.splits == source.splits


def test_this_machine_gives_latency_alone() -> None:
    with pytest.raises(
        InputError, match="this machine gives no 'energy'; it gives latency, and networks have .* memory, .*or what a"
    ):
        made(config(["error", "energy"]))


@pytest.mark.parametrize(("space", "networks"), [(SPACE, 10), (Opaque(), 50)])
def test_without_formulas_predictors_have_networks_to_learn_from(space: NB201Space, networks: int) -> None:
    source = made(config(["error", "flops"], networks=40), space)
    assert len(source.training_table()[0]) == pytest.approx(networks, abs=networks // 10 - 1)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("error", "mine", "parameters", "other"), "two are called mine"),
        (("error", "latency", "third"), "two are called latency"),
        (("error", "latency", "fourth"), "two are called latency_ms"),
        (("error", "parameters", "fifth"), "two are called error"),
    ],
)
def test_objectives_of_one_name_are_refused(names: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called = {"mine": ("mine", ""), "other": ("mine", ""), "third": ("latency", "s"), "fourth": ("latency_ms", "")}
    called["fifth"] = ("error", "")
    monkeypatch.setattr(
        METRICS, "_registered", {key: Metric(*words, lambda network, input_shape: 1) for key, words in called.items()}
    )
    with pytest.raises(InputError, match=f"objectives: {told}; give one of them another name"):
        made(config(names))


# ---- truth ----


def test_truths_that_are_not_there() -> None:
    assert find_truth(make_config(), SPACE) is None
    with pytest.raises(InputError, match=r"task\.table: wanted one of cifar10, .*, got 'cifar11'"):
        find_truth(make_config(task={"table": "cifar11"}), SPACE)

    class Unpublished(NB201Space):
        name = "unpublished"
        published = None

    with pytest.raises(InputError, match="nothing is published of space unpublished, got 'cifar10'"):
        find_truth(make_config(task={"table": "cifar10"}), Unpublished())


def test_the_first_objective_is_the_quality() -> None:
    check_quality(config(["error", "latency"]), Objective("error", "%"))
    with pytest.raises(InputError, match="the first is the task's quality, 'error', .* got latency, error"):
        check_quality(config(["latency", "error"]), Objective("error", "%"))

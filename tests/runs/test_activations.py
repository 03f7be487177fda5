"""Tests of the number format that a run chooses for its activations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from modnas_fast.config import Config, make_config
from modnas_fast.devices import MeasurementCache, fingerprint
from modnas_fast.result.folder import create_run
from modnas_fast.runs import activations
from modnas_fast.runs.run import Run
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import make_space
from modnas_fast.tasks.make import make_task

CPU = torch.device("cpu")
TINY = {"space": {"channels": 2, "cells": 1}, "task": {"limit": 200}, "search": {"batch_size": 16}}


def native(monkeypatch: pytest.MonkeyPatch, *formats: str) -> None:
    monkeypatch.setattr(activations, "native_formats", lambda: formats)


@pytest.fixture
def cache(tmp_path: Path) -> MeasurementCache:
    return MeasurementCache(fingerprint(), {"network": "tiny"}, tmp_path / "cache")


def found(config: Config, cache: MeasurementCache) -> dict[str, Any]:
    space = make_space(config.space.name, config.space.arguments)
    return activations.faster(config, space, make_task(config), cache)


def test_the_format_is_open_on_cpus_with_instructions_for_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    native(monkeypatch, "float32", "bfloat16")
    assert activations.is_open(make_config(), CPU)
    assert not activations.is_open(make_config(), torch.device("cuda"))
    assert not activations.is_open(make_config(search={"activations": "bfloat16"}), CPU)
    assert not activations.is_open(make_config(search={"activations": "float32"}), CPU)
    native(monkeypatch, "float32")
    assert not activations.is_open(make_config(), CPU)


@pytest.mark.parametrize(("factor", "chosen"), [(1.5, "bfloat16"), (1.1, "float32"), (0.4, "float32")])
def test_bfloat16_is_taken_where_it_is_well_faster(
    cache: MeasurementCache, monkeypatch: pytest.MonkeyPatch, factor: float, chosen: str
) -> None:
    turns = []

    def milliseconds(objective: Any, networks: torch.Tensor) -> float:
        objective.train_step(networks, 0.0, True)  # as the real one
        turns.append(objective._activations)
        disturbed = 9.0 if len(turns) in (1, 3, 4, 7, 10) else 1.0
        return 100 * disturbed * (factor if objective._activations == torch.float32 else 1.0)

    monkeypatch.setattr(activations, "_milliseconds", milliseconds)
    monkeypatch.setattr(activations, "ENOUGH", 60.0)
    assert found(make_config(**TINY), cache) == {"activations": chosen, "speedup": factor}
    assert turns == [torch.float32] * 2 + [torch.float32, torch.bfloat16] * activations.TURNS
    again = MeasurementCache(fingerprint(), {"network": "tiny"}, cache.path.parents[1])
    monkeypatch.setattr(activations, "_milliseconds", pytest.fail)  # not timed again
    assert found(make_config(**TINY), again) == {"activations": chosen, "speedup": factor}


def test_short_steps_stay_in_float32(cache: MeasurementCache, monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([300.0, 20.0])
    monkeypatch.setattr(activations, "_milliseconds", lambda *_: next(told))
    assert found(make_config(**TINY), cache) == {"activations": "float32"} and not cache.path.exists()


def test_a_real_step_is_timed(cache: MeasurementCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activations, "LEAST_MS", 0.0)
    told = found(make_config(**TINY), cache)
    assert told["activations"] in activations.FORMATS and told["speedup"] > 0


def test_a_supernet_that_takes_float32_alone_is_not_timed(
    cache: MeasurementCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activations, "_milliseconds", pytest.fail)
    assert found(make_config(preset="gpt-small"), cache) == {"activations": "float32"}


def test_a_run_goes_on_in_the_format_that_it_began_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    native(monkeypatch, "float32", "bfloat16")
    config, told = make_config(**TINY), {"activations": "bfloat16", "speedup": 1.63}
    monkeypatch.setattr("modnas_fast.runs.run.faster", lambda *_: told)
    said: list[str] = []
    first = Run(create_run(tmp_path / "run", config), config)
    monkeypatch.setattr(first._reporter, "say", said.append)
    first._settle_activations()
    assert first.config.search.activations == first._inputs.config.search.activations == "bfloat16"
    assert any("activations in bfloat16, in which a step is 1.63 times as fast" in line for line in said)
    monkeypatch.setattr("modnas_fast.runs.run.faster", pytest.fail)  # not asked again
    again = Run(tmp_path / "run", config)
    again._settle_activations()
    assert again.config == first.config
    (tmp_path / "run" / "activations.json").write_text('{"seconds": 1}')
    with pytest.raises(InputError, match="activations.json is damaged"):
        Run(tmp_path / "run", config)._settle_activations()


def test_a_run_of_an_earlier_version_goes_on_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    native(monkeypatch, "float32", "bfloat16")
    monkeypatch.setattr("modnas_fast.runs.run.faster", pytest.fail)
    config = make_config(**TINY)
    run = Run(create_run(tmp_path / "run", config), config)
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"")
    run._settle_activations()
    assert run.config.search.activations == "float32" and not (tmp_path / "run" / "activations.json").exists()

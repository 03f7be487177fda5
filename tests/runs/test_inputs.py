"""What measures the costs of this machine: apart from each other, and in the time that they share."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from modnas_fast.config import Config, make_config
from modnas_fast.devices.measure import whole_pass
from modnas_fast.runs.inputs import Inputs
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Silent
from modnas_fast.tasks.language import further_token


def config(*costs: str, **task: object) -> Config:
    devices = {"networks": 4, "heldout": 4, "minutes": 6}
    return make_config(preset="gpt-small", objectives=["perplexity", *costs], devices=devices, task=task)


def test_each_time_has_a_profiler_and_a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODNAS_CACHE", str(tmp_path))
    inputs = Inputs(config("latency", "cache_memory", "token_latency"), Silent(), False)
    assert inputs.source.metrics == {"latency": "ms", "cache_memory": "MB", "token_latency": "ms"}
    assert inputs.source.kinds == {"latency": "measured", "cache_memory": "exact", "token_latency": "measured"}
    whole, token = (inputs.profiler(cost) for cost in ("latency", "token_latency"))
    assert whole._prepare is whole_pass and whole._minutes == token._minutes == 3
    assert isinstance(token._prepare, partial) and token._prepare.func is further_token
    assert token._prepare.keywords == {"seen": 32}, "half a context"
    alone = Inputs(config("latency"), Silent(), False)
    assert alone.profiler("latency")._minutes == 6
    assert alone.profiler("latency")._cache.path == whole._cache.path != token._cache.path


def test_only_tasks_that_generate_have_the_time_of_a_token() -> None:
    images = make_config(objectives=["error", "token_latency"])
    with pytest.raises(InputError, match="this machine gives no 'token_latency'; it gives latency, and networks have"):
        _ = Inputs(images, Silent(), False).source
    cells = make_config(objectives=["error", "cache_memory"])
    with pytest.raises(InputError, match="networks of space nb201 have no cache_memory; leave it out"):
        Inputs(cells, Silent(), False).source.begin(Silent())

"""The profiler measures what its cache lacks, once per function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from modnas_fast.devices import Fingerprint, Measurement, MeasurementCache, Profiler, Setting
from modnas_fast.devices import profile as profile_module
from modnas_fast.devices.measure import Anchor, Inputs, Job, Prepare, normals_of
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import NB201Space

space = NB201Space()
TASK = {"image_channels": 1, "classes": 2, "channels": 2, "cells": 1}
FIRST, SECOND = Setting("cpu", 1, 1, torch.float32), Setting("cpu", 1, 2, torch.float32)
PLAIN = space.architecture([0, 0, 0, 1, 0, 0])
WITH_DEAD_EDGE = space.architecture([3, 0, 0, 1, 0, 0])
LARGE = space.architecture([3] * 6)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What was measured so far; the values count up from 1 ms."""
    log: list[tuple[str, str]] = []

    def fake(
        jobs: Sequence[Job],
        inputs: Inputs,
        repeats: int,
        on_percent: Callable[[int], None],
        *,
        spare: int,
        limit_s: float,
        anchors: Sequence[Anchor],
        prepare: Prepare,
    ) -> dict[tuple[str, str], Measurement]:
        assert inputs(2, "cpu", torch.float32).shape == (2, 1, 4, 4) and repeats == 3
        assert spare == 1 and limit_s == 600
        log.extend((job.setting.name, job.key) for job in jobs)
        return {(job.setting.name, job.key): Measurement(float(i + 1), 0.0) for i, job in enumerate(jobs)}

    monkeypatch.setattr(profile_module, "measure", fake)
    monkeypatch.setattr(profile_module, "seconds_per_round", lambda *arguments: 0.1)
    return log


def make_profiler(folder: Path) -> Profiler:
    cache = MeasurementCache(Fingerprint("cpu", 1, 1, "2", ()), {}, folder)
    return Profiler(space, TASK, normals_of((1, 4, 4)), cache, repeats=3)


def test_what_is_in_the_cache_is_not_repeated(tmp_path: Path, measured: list) -> None:
    profiler = make_profiler(tmp_path)
    profiler.latencies([(FIRST, [PLAIN])])
    assert measured == [(FIRST.name, PLAIN.text)]
    latencies = profiler.latencies([(FIRST, [PLAIN, LARGE]), (SECOND, [PLAIN])])
    assert measured[1:] == [(FIRST.name, LARGE.text), (SECOND.name, PLAIN.text)]
    assert latencies == {
        FIRST.name: {PLAIN.text: Measurement(1.0, 0.0), LARGE.text: Measurement(1.0, 0.0)},
        SECOND.name: {PLAIN.text: Measurement(2.0, 0.0)},
    }
    assert make_profiler(tmp_path).latencies([(FIRST, [LARGE])]) == {FIRST.name: {LARGE.text: Measurement(1.0, 0.0)}}
    assert len(measured) == 3


def test_reference_networks_go_along_with_their_first_latencies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On each setting of a campaign, and on no other; what had no first latency is kept as such."""
    campaigns: list[dict[tuple[str, str], float | None]] = []

    def fake(jobs: Sequence[Job], *_: object, anchors: Sequence[Anchor], **__: object) -> dict:
        campaigns.append({(a.job.setting.name, a.job.key): a.first_ms for a in anchors})
        new = [a.job for a in anchors if a.first_ms is None]
        return {(job.setting.name, job.key): Measurement(2.0 + job.setting.batch, 0.0) for job in [*jobs, *new]}

    monkeypatch.setattr(profile_module, "measure", fake)
    profiler = make_profiler(tmp_path)
    profiler.latencies([(FIRST, [PLAIN])])
    other = space.architecture([2, 2, 3, 3, 2, 2])
    profiler.latencies([(FIRST, [other]), (SECOND, [PLAIN])])
    onehot = space.canonical(space.encode([space.parse(text) for text in space.references]))
    references = {a.text for a in space.decode(onehot)}
    assert len(references) >= 9 and other.text not in references
    assert campaigns[0] == {(FIRST.name, text): None for text in references}
    assert campaigns[1] == {
        **{(FIRST.name, text): 3.0 for text in references},
        **{(SECOND.name, text): None for text in references},
    }


def test_equal_functions_are_measured_once(tmp_path: Path, measured: list) -> None:
    latencies = make_profiler(tmp_path).latencies([(FIRST, [WITH_DEAD_EDGE, PLAIN, PLAIN])])
    assert measured == [(FIRST.name, PLAIN.text)] and list(latencies[FIRST.name]) == [PLAIN.text]


def test_a_setting_without_networks_gives_an_empty_entry(tmp_path: Path, measured: list) -> None:
    assert make_profiler(tmp_path).latencies([(FIRST, []), (SECOND, [LARGE])]) == {
        FIRST.name: {},
        SECOND.name: {LARGE.text: Measurement(1.0, 0.0)},
    }


def test_real_networks_on_this_machine(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    profiler = make_profiler(tmp_path)
    done: list[int] = []
    half = Setting("cpu", 1, 2, torch.bfloat16)
    latencies = profiler.latencies([(FIRST, [PLAIN, LARGE]), (half, [LARGE])], done.append)
    assert all(m.latency_ms > 0 and m.noise >= 0 for values in latencies.values() for m in values.values())
    assert latencies[FIRST.name][LARGE.text].latency_ms > latencies[FIRST.name][PLAIN.text].latency_ms
    assert done == sorted(set(done)) and done[-1] == 100 and torch.get_num_threads() == threads


def test_what_takes_too_long_is_measured_less_often_and_said_or_refused(
    tmp_path: Path, measured: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeats: list[int] = []
    monkeypatch.setattr(profile_module, "seconds_per_round", lambda *arguments: 60.0)
    monkeypatch.setattr(profile_module, "measure", lambda jobs, shape, count, tell, **more: repeats.append(count) or {})
    lines: list[str] = []

    def profiler(minutes: float) -> Profiler:
        cache = MeasurementCache(Fingerprint("cpu", 1, 1, "2", ()), {}, tmp_path)
        return Profiler(space, TASK, normals_of((1, 4, 4)), cache, repeats=15, minutes=minutes)

    for minutes in (17, 10, 5, 1):
        profiler(minutes).latencies([(FIRST, [PLAIN])], say=lines.append)
    assert repeats == [15, 8, 3, 3]
    assert [line.partition(" instead")[0] for line in lines] == [
        "1 networks on 1 settings are measured 8 times each",
        "1 networks on 1 settings are measured 3 times each",
        "1 networks on 1 settings are measured 3 times each",
        "that takes about 5 minutes still; task.resize, devices.networks and space.channels shorten it",
    ]
    with pytest.raises(
        InputError, match="devices.minutes: measuring 1 networks .* takes about 5 minutes with 3 repeats"
    ):
        profiler(0.8).latencies([(FIRST, [PLAIN])])
    profiler(0.8).latencies([(FIRST, [PLAIN])], refuse=False)
    assert repeats[-1] == 3


def test_what_does_not_fit_into_memory_is_refused_before_it_is_made(
    tmp_path: Path, measured: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_module, "free_memory", lambda device: 10**9)
    cache = MeasurementCache(Fingerprint("cpu", 1, 1, "2", ()), {}, tmp_path)
    large = Profiler(space, TASK, normals_of((1, 1280, 960)), cache, repeats=15)
    with pytest.raises(
        InputError, match="task.resize: measuring 10 networks with batches of up to 32 inputs of 1×1280×960"
    ):
        large.latencies([(Setting("cpu", 1, 32, torch.float32), [LARGE])])
    assert not measured

"""The settings that a machine offers, with and without a second core or GPUs."""

from __future__ import annotations

import pytest
import torch

from modnas_fast.devices import fingerprint, machine_settings
from modnas_fast.devices.machine import available_cores, default_unseen


def pretend(monkeypatch: pytest.MonkeyPatch, threads: int, gpus: int) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"gpu {index}")


@pytest.mark.parametrize("gpus", [0, 1, 2])
@pytest.mark.parametrize("threads", [1, 2, 16])
def test_there_are_at_least_eight_settings_with_unique_names(
    monkeypatch: pytest.MonkeyPatch, threads: int, gpus: int
) -> None:
    pretend(monkeypatch, threads, gpus)
    settings = machine_settings()
    cpu = [setting for setting in settings if setting.processor == "cpu"]
    names = [setting.name for setting in settings]
    assert len(cpu) >= 8 and len(settings) == len(cpu) + 3 * gpus
    assert len(set(names)) == len(names)
    assert {setting.threads for setting in cpu} == {1, threads}
    assert {setting.dtype for setting in cpu} == {torch.float32, torch.bfloat16}
    assert [setting.batch for setting in settings if setting.processor != "cpu"] == [1, 32, 256] * gpus


@pytest.mark.parametrize("gpus", [0, 1, 2])
@pytest.mark.parametrize("threads", [1, 2, 16])
def test_held_out_settings_resemble_searched_ones(
    monkeypatch: pytest.MonkeyPatch, threads: int, gpus: int
) -> None:
    pretend(monkeypatch, threads, gpus)
    settings = machine_settings()
    names = default_unseen(settings)
    unseen = [setting for setting in settings if setting.name in names]
    searched = [setting for setting in settings if setting.name not in names]
    assert len(unseen) == len(set(names)) == 2 + gpus and len(searched) >= 6
    for setting in unseen:
        alike = [other for other in searched if other.processor == setting.processor]
        assert {setting.dtype} <= {other.dtype for other in alike}
        assert {setting.threads} <= {other.threads for other in alike}
        assert setting.processor != "cpu" or setting.batch in {other.batch for other in alike}


def test_fingerprint_changes_with_threads_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 2, 0)
    plain = fingerprint()
    assert plain == fingerprint() and plain.cpu and plain.cores == available_cores() >= 1
    assert plain.to_dict()["threads"] == 2 and plain.to_dict()["torch"] == torch.__version__
    pretend(monkeypatch, 1, 0)
    assert fingerprint() != plain
    pretend(monkeypatch, 2, 1)
    assert fingerprint().to_dict()["gpus"] == ["gpu 0"]

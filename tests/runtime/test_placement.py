"""Where a search computes: the choice of the device, and the ways there and back."""

from __future__ import annotations

import pytest
import torch
from stand_in_gpu import GPU, stand_in_gpu

from modnas_fast.config import make_config
from modnas_fast.runtime import placement
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.implementations import Availability
from modnas_fast.runtime.placement import search_device, to_device, to_host

CPU = torch.device("cpu")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "gpus", lambda: Availability(True, ""))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "gpus", lambda: Availability(False, "torch sees no CUDA device"))


def test_a_gpu_is_taken_where_there_is_one(gpu: None) -> None:
    assert search_device("auto") == search_device("cuda") == torch.device("cuda", 1)
    assert search_device("cpu") == CPU


def test_without_a_gpu_the_cpu_serves(no_gpu: None) -> None:
    assert search_device("auto") == search_device("cpu") == CPU


def test_a_gpu_that_is_asked_for_and_missing_is_an_error_with_its_remedy(no_gpu: None) -> None:
    with pytest.raises(InputError, match=r"^search\.device: .*torch sees no CUDA device; set search\.device to auto"):
        search_device("cuda")


def test_an_old_gpu_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: [(9, 0), (7, 5)][index])
    assert search_device("auto") == CPU
    with pytest.raises(InputError, match=r"compute capability 7\.5 is older than 8\.0"):
        search_device("cuda")


@pytest.mark.parametrize("choice", ["auto", "cpu", "cuda"])
def test_the_configuration_knows_the_choices(choice: str) -> None:
    assert make_config(overrides=[f"search.device={choice}"]).search.device == choice


def test_other_choices_are_refused() -> None:
    with pytest.raises(InputError, match=r"search\.device: .*'gpu'"):
        make_config(overrides=["search.device=gpu"])


def test_a_surrogate_search_has_nothing_to_do_on_a_gpu() -> None:
    assert make_config(preset="nb201").search.device == "auto"
    with pytest.raises(InputError, match=r"search\.device: a search by surrogate runs on the CPU"):
        make_config(preset="nb201", overrides=["search.device=cuda"])


def test_on_the_cpu_nothing_is_copied() -> None:
    tensor = torch.arange(3.0)
    assert to_device(tensor, CPU) is tensor


def test_to_a_gpu_tensors_go_through_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """And those that are there already do not."""
    seen = []
    with stand_in_gpu():
        monkeypatch.setattr(placement, "_pinned", lambda tensor: seen.append(tensor) or tensor)
        there = to_device(torch.zeros(2, 3), GPU)
        assert there.device == GPU and there.shape == (2, 3) and len(seen) == 1
        assert to_device(there, GPU) is there and len(seen) == 1


def test_copies_on_the_host_keep_shapes_and_values() -> None:
    single, double, whole = torch.rand(2, 3), torch.rand(4, dtype=torch.float64), torch.tensor(7)
    found = to_host(single.requires_grad_(), double, whole)
    assert [tuple(t.shape) for t in found] == [(2, 3), (4,), ()]
    assert all(t.dtype == torch.float64 and not t.requires_grad for t in found)
    assert found[0].tolist() == single.tolist() and torch.equal(found[1], double) and float(found[2]) == 7

"""What measuring will take: seconds by a clock of the test, bytes by hand and beside what a process really takes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from modnas_fast.devices import Setting
from modnas_fast.devices import measure as measure_module
from modnas_fast.devices.expense import LIVE_OUTPUTS, check_memory, parameter_bytes, seconds_per_round
from modnas_fast.devices.measure import Job, normals_of
from modnas_fast.runtime.errors import InputError

SHAPE = (3, 8, 8)
INPUTS = normals_of(SHAPE)


class PerImage(nn.Module):
    """Takes `seconds` per image on the test's clock; the first pass takes a hundred times as long."""

    def __init__(self, seconds: float, clock: SimpleNamespace) -> None:
        super().__init__()
        self.seconds, self.clock, self.calls = seconds, clock, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.clock.now += self.seconds * len(x) * (100 if self.calls == 1 else 1)
        return x


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(measure_module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def jobs_of(clock: SimpleNamespace, batches: tuple[int, ...], seconds: list[float]) -> list[Job]:
    settings = [Setting("cpu", 1, batch, torch.float32) for batch in batches]
    return [Job(setting, str(i), PerImage(value, clock)) for setting in settings for i, value in enumerate(seconds)]


def test_seconds_of_a_round(clock: SimpleNamespace) -> None:
    jobs = jobs_of(clock, (32, 1), [1.0, 2.0, 3.0])
    assert seconds_per_round(jobs, INPUTS) == pytest.approx(6 + 32 * 6)
    assert sum(job.network.calls for job in jobs) == 12


def test_of_many_networks_few_are_timed(clock: SimpleNamespace) -> None:
    jobs = jobs_of(clock, (1,), [float(i) for i in range(1, 102)])
    assert seconds_per_round(jobs, INPUTS) == pytest.approx(101 * 51)  # the first, the middle and the last
    assert [i for i, job in enumerate(jobs) if job.network.calls] == [0, 50, 100]


def test_large_batches_are_not_tried_where_small_ones_tell_enough(clock: SimpleNamespace) -> None:
    jobs = jobs_of(clock, (1, 256), [1.0] * 4)
    assert seconds_per_round(jobs, INPUTS, enough=100) == pytest.approx(4 + 256)  # a quarter of 4 × 256 images
    assert all(job.network.calls == 0 for job in jobs if job.setting.batch == 256)


def test_memory_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.AvgPool2d(2))
    settings = [Setting("cpu", t, b, d) for t in (1, 2) for b in (1, 8) for d in (torch.float32, torch.bfloat16)]
    assert parameter_bytes(network) == 4 * 3 * 16 * 9
    inputs = (1 + 8) * (4 + 2) * 3 * 64
    needed = 5 * parameter_bytes(network) + LIVE_OUTPUTS * 8 * 4 * 16 * 64 + inputs
    check_memory([network], 5, settings, INPUTS, int(needed / 0.8) + 1)
    check_memory([network], 5, settings, INPUTS, None)
    with pytest.raises(
        InputError, match=r"task.resize: measuring 5 networks with batches of up to 8 inputs of 3×8×8 takes"
    ):
        check_memory([network], 5, settings, INPUTS, int(needed / 0.8) - 1)

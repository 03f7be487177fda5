"""The measuring loop on networks that record their calls and move a clock of the test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from modnas_fast.devices import Setting
from modnas_fast.devices import measure as measure_module
from modnas_fast.devices.contention import Reading
from modnas_fast.devices.measure import Anchor, Job, measure, normals_of

SINGLE = Setting("cpu", 1, 1, torch.float32)
SHAPE = (3, 4, 4)
INPUTS = normals_of(SHAPE)


class Clock:
    """Seconds that pass only when a network says so, on a machine without others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(measure_module, "Watch", lambda: SimpleNamespace(look=Reading))
        monkeypatch.setattr(measure_module, "time", SimpleNamespace(perf_counter=lambda: self.now))


class Recorder(nn.Module):
    """Takes `seconds[i]` (the last for ever) at its i-th call and notes every call in a log."""

    def __init__(self, name: str, log: list, clock: Clock, seconds: Sequence[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.name, self.log, self.clock, self.seconds, self.calls = name, log, clock, list(seconds), 0

    def forward(self, x: Tensor) -> Tensor:
        self.clock.now += self.seconds[min(self.calls, len(self.seconds) - 1)]
        self.calls += 1
        self.log.append((self.name, tuple(x.shape), x.dtype, torch.get_num_threads(), self.training))
        return x


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture(autouse=True)
def threads() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_median_and_noise_by_hand(clock: Clock) -> None:
    warmup, counted = [9.0, 9.0], [0.004, 0.002, 0.003, 0.010, 0.001]
    network = Recorder("a", [], clock, warmup + counted)
    measured = measure([Job(SINGLE, "a", network)], INPUTS, repeats=5)
    assert list(measured) == [(SINGLE.name, "a")]
    result = measured[SINGLE.name, "a"]
    assert result.latency_ms == pytest.approx(3.0)  # deviations 1, 1, 0, 7, 2: median 1
    assert result.noise == pytest.approx(1 / 3)
    assert network.calls == 7


def rounds_of(names: list[str], width: int) -> list[list[str]]:
    return [names[i : i + width] for i in range(0, len(names), width)]


def test_every_round_visits_every_network_once_in_changing_order(clock: Clock) -> None:
    log: list = []
    jobs = [Job(SINGLE, name, Recorder(name, log, clock, [0.001])) for name in "abcde"]
    done: list[int] = []
    measure(jobs, INPUTS, 4, done.append)
    rounds = rounds_of([entry[0] for entry in log], 5)
    assert len(rounds) == 2 + 4 and all(sorted(visited) == list("abcde") for visited in rounds)
    assert all(first != second for first, second in pairwise(rounds))
    assert done == sorted(set(done)) and done[-1] == 100  # each percent once, in rising order


def test_progress_within_a_round_goes_by_the_time_that_networks_take(clock: Clock) -> None:
    """Of two networks one takes nine tenths of each round: after the first round the progress knows."""
    jobs = [
        Job(SINGLE, "long", Recorder("long", [], clock, [9.0])),
        Job(SINGLE, "short", Recorder("short", [], clock, [1.0])),
    ]
    told: list[tuple[int, float]] = []
    began = clock.now
    measure(jobs, INPUTS, 2, lambda percent: told.append((percent, clock.now - began)))
    assert told[:2] == [(12, 1.0), (25, 10.0)]  # one of eight passes, then the round
    assert all(percent == pytest.approx(100 * seconds / 40, abs=1) for percent, seconds in told[1:])


def test_settings_of_one_kind_share_an_input(clock: Clock) -> None:
    seen: set[int] = set()

    class Looking(Recorder):
        def forward(self, x: Tensor) -> Tensor:
            seen.add(x.data_ptr())
            return super().forward(x)

    settings = [Setting("cpu", threads, 4, torch.float32) for threads in (1, 2)]
    jobs = [Job(setting, f"{i}", Looking(f"{i}", [], clock, [0.001])) for setting in settings for i in range(5)]
    measure(jobs, INPUTS, 1)
    assert len(seen) == 1


def test_a_slow_phase_of_the_machine_touches_all_networks_alike(clock: Clock) -> None:
    """Rounds 4 to 6 of 2 + 9 are ten times slower: a minority of the samples of each network."""
    seconds = [0.001] * 4 + [0.01] * 3 + [0.001] * 4
    jobs = [Job(SINGLE, name, Recorder(name, [], clock, seconds)) for name in "abc"]
    for result in measure(jobs, INPUTS, 9).values():
        assert result.latency_ms == pytest.approx(1.0) and result.noise == pytest.approx(0.0)


def test_settings_decide_threads_batch_and_number_format(clock: Clock) -> None:
    log: list = []
    settings = [Setting("cpu", t, b, d) for t in (1, 2) for b in (1, 4) for d in (torch.float32, torch.bfloat16)]
    jobs = [Job(setting, "net", Recorder(setting.name, log, clock, [0.001])) for setting in settings]
    measured = measure(jobs, INPUTS, 3)
    assert set(measured) == {(setting.name, "net") for setting in settings}
    by_name = {setting.name: setting for setting in settings}
    for name, shape, dtype, threads, training in log:
        setting = by_name[name]
        assert (shape, dtype, threads) == ((setting.batch, *SHAPE), setting.dtype, setting.threads)
        assert not training
    for setting in settings:
        assert sum(entry[0] == setting.name for entry in log) >= 5
    assert torch.get_num_threads() == 1


def test_the_first_pass_with_another_thread_count_is_not_measured(clock: Clock) -> None:
    """Every call that follows a change of threads takes a second; every other one a millisecond."""
    log: list = []

    class Sensitive(Recorder):
        def forward(self, x: Tensor) -> Tensor:
            self.seconds = [1.0 if not log or log[-1][3] != torch.get_num_threads() else 0.001]
            return super().forward(x)

    jobs = [
        Job(Setting("cpu", threads, 1, torch.float32), name, Sensitive(name, log, clock, [0.0]))
        for threads, name in ((1, "a"), (1, "b"), (2, "c"), (2, "d"))
    ]
    for result in measure(jobs, INPUTS, 3).values():
        assert result.latency_ms == pytest.approx(1.0)
    changes = sum(first[3] != second[3] for first, second in pairwise(log))
    assert changes <= 2 + 3 + 1  # about one per round, not one per network


def test_threads_are_restored_after_a_failure(clock: Clock) -> None:
    class Broken(Recorder):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("broken network")

    job = Job(Setting("cpu", 2, 1, torch.float32), "a", Broken("a", [], clock, [0.0]))
    with pytest.raises(RuntimeError, match="broken network"):
        measure([job], INPUTS, 1)
    assert torch.get_num_threads() == 1


def test_no_gradient_is_recorded(clock: Clock) -> None:
    class Checking(Recorder):
        def forward(self, x: Tensor) -> Tensor:
            assert not torch.is_grad_enabled()
            return super().forward(x)

    assert measure([Job(SINGLE, "a", Checking("a", [], clock, [0.001]))], INPUTS, 1)


def test_nothing_to_measure() -> None:
    assert measure([], INPUTS, 3) == {}


def test_what_is_measured_is_in_the_units_of_the_anchors_first_values(clock: Clock) -> None:
    """The machine is three times as slow as it was on one setting, as it was on the other: each has its own drift."""
    settings = SINGLE, Setting("cpu", 1, 4, torch.float32)
    jobs = [Job(setting, "net", Recorder("net", [], clock, [0.006])) for setting in settings]
    first = {SINGLE: 1.0, settings[1]: 3.0}
    anchors = [
        Anchor(Job(setting, name, Recorder(name, [], clock, [0.003])), first[setting])
        for setting in settings
        for name in "abc"
    ]
    measured = measure(jobs, INPUTS, 3, anchors=anchors)
    assert {key: value.latency_ms for key, value in measured.items()} == {
        (SINGLE.name, "net"): pytest.approx(2.0),
        (settings[1].name, "net"): pytest.approx(6.0),
    }


def test_anchors_without_a_first_value_are_measured_and_the_unit(clock: Clock) -> None:
    job, known, new = (Job(SINGLE, name, Recorder(name, [], clock, [0.004])) for name in ("net", "known", "new"))
    assert measure([job], INPUTS, 2, anchors=[Anchor(new)])[SINGLE.name, "new"].latency_ms == pytest.approx(4.0)
    measured = measure([job, known], INPUTS, 2, anchors=[Anchor(known, 2.0), Anchor(new)])
    assert [value.latency_ms for value in measured.values()] == pytest.approx([2.0, 2.0, 2.0])


def test_what_stays_noisy_is_marked(clock: Clock) -> None:
    calm = Job(SINGLE, "calm", Recorder("calm", [], clock, [0.001]))
    assert measure([calm], INPUTS, 6)[SINGLE.name, "calm"].doubt == ""
    noisy = Job(SINGLE, "noisy", Recorder("noisy", [], clock, [0.001, 0.001, *[0.001, 0.002] * 5]))
    assert measure([noisy], INPUTS, 6, spare=2)[SINGLE.name, "noisy"].doubt.startswith("values known to ±")
    assert noisy.network.calls == 2 + 6 + 2


def test_inputs_are_random_possible_and_always_the_same() -> None:
    first, second = (INPUTS(2, "cpu", torch.bfloat16) for _ in range(2))
    assert first.dtype == torch.bfloat16 and torch.equal(first, second) and first.std() > 0.5
    assert INPUTS(10**9, "meta", torch.float32).shape == (10**9, *SHAPE)


def test_a_gpu_is_timed_between_two_events_around_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[object] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            log.append("event")

        def synchronize(self) -> None:
            log.append("waited")

        def elapsed_time(self, later: Event) -> float:
            return 2.5  # ms

    stand_in = SimpleNamespace(
        Event=Event, synchronize=lambda: log.append("idle"), device=lambda index: nullcontext(index)
    )
    monkeypatch.setattr(torch, "cuda", stand_in)
    seconds = measure_module._cuda_seconds(lambda: log.append("called"), torch.device("cpu"))
    assert seconds == pytest.approx(0.0025) and log == ["idle", "event", "called", "event", "waited"]


def test_a_gpu_s_clock_is_noted_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    setting, watch = Setting("cuda:0", 1, 1, torch.float32), SimpleNamespace(look=lambda: Reading(0.1, clock_mhz=5.0))
    monkeypatch.setattr(torch.cuda, "clock_rate", lambda processor: 1980)
    assert measure_module._look(watch, setting) == Reading(0.1, clock_mhz=1980.0)
    assert measure_module._look(watch, SINGLE) == Reading(0.1, clock_mhz=5.0)

    def refuse(processor: str) -> int:
        raise ModuleNotFoundError("nvidia-ml-py does not seem to be installed")

    monkeypatch.setattr(torch.cuda, "clock_rate", refuse)
    assert measure_module._look(watch, setting).clock_mhz is None


def test_what_is_prepared_is_not_timed(clock: Clock) -> None:
    network = Recorder("a", [], clock, [0.001])
    made: list[int] = []

    def prepare(network: nn.Module, x: torch.Tensor) -> Callable[[], object]:
        clock.now += 5.0
        made.append(len(x))
        return lambda: (network(x), network(x))

    (found,) = measure([Job(SINGLE, "a", network)], INPUTS, 3, prepare=prepare).values()
    assert found.latency_ms == pytest.approx(2.0) and made == [1] * 5

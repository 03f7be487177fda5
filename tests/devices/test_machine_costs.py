"""Costs measured on this machine, with a profiler that measures nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence

import pytest
import torch

from modnas_fast.devices import Campaign, Latencies, MachineCosts, Measurement, Setting, plan_campaign
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Silent
from modnas_fast.spaces import Architecture, NB201Space

space = NB201Space()
SETTINGS = [Setting("cpu", threads, batch, torch.float32) for threads in (1, 2) for batch in (1, 4)]
NAMES = [setting.name for setting in SETTINGS]
CHOSEN = space.architecture([3, 0, 0, 1, 3, 0])


class Formula:
    """A profiler whose latencies follow from the networks."""

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = campaign
        self.refused: list[bool] = []

    def latencies(
        self,
        wanted: Iterable[tuple[Setting, Sequence[Architecture]]],
        on_percent: Callable[[int], None],
        say: Callable[[str], None],
        *,
        refuse: bool = True,
    ) -> Latencies:
        self.refused.append(refuse)
        say(f"call {len(self.refused)}")
        found: Latencies = {}
        for setting, architectures in wanted:
            texts = [architecture.text for architecture in self.campaign.canonical(architectures)]
            scale = 1.0 + NAMES.index(setting.name)
            found[setting.name] = {
                text: Measurement(
                    scale * (1 + text.count("3x3") + 0.3 * text.count("1x1") + 0.1 * text.count("skip")), 0.01 * scale
                )
                for text in texts
            }
        return found


def source(settings: Sequence[Setting] = SETTINGS, unseen: Sequence[str] = NAMES[1:2]) -> tuple[MachineCosts, Formula]:
    campaign = plan_campaign(space, settings, unseen, networks=12, heldout=5, seed=0)
    profiler = Formula(campaign)
    return MachineCosts(campaign, lambda cost: profiler), profiler


@pytest.fixture
def begun() -> tuple[MachineCosts, Formula]:
    made, profiler = source()
    made.begin(Silent())
    return made, profiler


def judges(made: MachineCosts) -> set[str]:
    return {architecture.text for architecture in made._campaign.canonical(made._campaign.heldout)}


def test_before_the_search(begun: tuple[MachineCosts, Formula]) -> None:
    made, profiler = begun
    assert list(made.splits.items()) == [
        (NAMES[0], "search"), (NAMES[2], "search"), (NAMES[3], "search"), (NAMES[1], "unseen"),
    ]  # fmt: skip
    assert profiler.refused == [True] and made.notes == ["call 1"] and not made.limit and not made.complete
    assert set(made.known.on(NAMES[1])) == set(made.references)
    onehot, target = made.training_table()
    learned = {architecture.text for architecture in space.decode(onehot)}
    assert learned >= set(made.references) and not learned & made.held_out and target.shape[1:] == (3, 1)
    assert set(made.judging(NAMES[0])) == judges(made)
    assert set(made.judging(NAMES[1])) <= set(made.references)  # before the rest is measured there
    assert made.noise(NAMES[2]) == {"latency": pytest.approx(0.03)}
    assert made.listed(NAMES[0], made.references).isnan().all()  # answers are predicted


def test_behind_the_search(begun: tuple[MachineCosts, Formula]) -> None:
    made, profiler = begun
    known = {name: dict(made.known.on(name)) for name in made.splits}
    made.finish([CHOSEN.text], Silent())
    (chosen,) = made._campaign.canonical([CHOSEN])
    assert profiler.refused == [True, False] and made.notes == ["call 1", "call 2"]
    for name in made.splits:
        assert made.found(name)[chosen.text] == (pytest.approx((1 + NAMES.index(name)) * (1 + 2 + 0.1)),)
        assert set(made.judging(name)) == judges(made)
    assert {name: dict(made.known.on(name)) for name in made.splits} == known  # the search learns no more


def test_one_that_goes_on_knows_the_same_and_measures_nothing(begun: tuple[MachineCosts, Formula]) -> None:
    made, _ = begun
    made.finish([CHOSEN.text], Silent())
    again, profiler = source()
    again.restore(json.loads(json.dumps(made.state())))
    assert again.state() == made.state() and again.devices == made.devices and again.notes == made.notes
    assert all(again.found(name) == made.found(name) for name in made.splits) and not profiler.refused


@pytest.mark.parametrize("settings", [SETTINGS[:3], [*SETTINGS, Setting("cpu", 3, 1, torch.float32)]])
def test_a_machine_with_other_settings_does_not_go_on(
    begun: tuple[MachineCosts, Formula], settings: list[Setting]
) -> None:
    other, _ = source(settings)
    with pytest.raises(InputError, match=f"the run measured {NAMES[0]}, .* it began on another machine"):
        other.restore(begun[0].state())


def test_another_processor_of_the_same_settings_is_noted(
    begun: tuple[MachineCosts, Formula], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = begun[0].state()
    monkeypatch.setattr("modnas_fast.devices.machine_costs._processors", lambda: ["CPU of another"])
    other, _ = source()
    other.restore(state)
    assert other.notes == ["call 1"]
    other.finish([CHOSEN.text], Silent())
    assert other.notes[:2] == ["call 1", "call 1"] and len(other.notes) == 3
    assert "on CPU of another behind it" in other.notes[2] and state["processors"][0] in other.notes[2]
    assert other.state()["processors"] == state["processors"]


def test_several_costs_are_measured_one_after_the_other() -> None:
    campaign = plan_campaign(space, SETTINGS, NAMES[1:2], networks=12, heldout=5, seed=0)
    told: list[str] = []

    class Scaled(Formula):
        def __init__(self, scale: float) -> None:
            super().__init__(campaign)
            self.scale = scale

        def latencies(self, *arguments: object, **options: bool) -> Latencies:
            doubt = "hot" * (self.scale > 1)
            return {
                device: {text: Measurement(self.scale * m.latency_ms, m.noise, doubt) for text, m in row.items()}
                for device, row in super().latencies(*arguments, **options).items()
            }

    def profiler(cost: str) -> Scaled:
        told.append(cost)
        return Scaled({"latency": 1.0, "token_latency": 3.0}[cost])

    made = MachineCosts(campaign, profiler, ("latency", "token_latency"))
    made.begin(Silent())
    made.finish([CHOSEN.text], Silent())
    assert told == ["latency", "token_latency"] and made.metrics == {"latency": "ms", "token_latency": "ms"}
    for device in made.splits:
        assert all(3 * first == pytest.approx(second) for first, second in made.found(device).values())
        assert set(made.noise(device)) == {"latency", "token_latency"}
        assert made.doubts(device) == {"latency": "", "token_latency": "hot"}
    assert made.training_table()[1].shape[-1] == 2 and len(made.devices[0].embedding) == 20
    again = MachineCosts(campaign, profiler, ("latency", "token_latency"))
    again.restore(json.loads(json.dumps(made.state())))
    assert again.state() == made.state() and again.found(NAMES[0]) == made.found(NAMES[0])

"""What a run keeps of its measurements, and what it doubts."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import torch

from modnas_fast.devices import MachineCosts, Measurement, Setting, plan_campaign
from modnas_fast.runtime.progress import Silent
from modnas_fast.spaces import NB201Space

SPACE = NB201Space()
SETTINGS = [Setting("cpu", 1, batch, torch.float32) for batch in (1, 2, 4)]
NAMES = [setting.name for setting in SETTINGS]
CHOSEN = SPACE.architecture([3] * 6)


def make_costs(*doubts: dict[str, str]) -> MachineCosts:
    """Costs whose n-th campaign has the n-th of the doubts by setting."""
    campaigns = iter(doubts)

    def latencies(wanted: Any, *_: object, **__: object) -> dict[str, dict[str, Measurement]]:
        doubt = next(campaigns)
        return {
            setting.name: {a.text: Measurement(1.0, 0.1, doubt.get(setting.name, "")) for a in architectures}
            for setting, architectures in wanted
        }

    campaign = plan_campaign(SPACE, SETTINGS, (NAMES[2],), networks=2, heldout=4, seed=0)
    return MachineCosts(campaign, lambda cost: SimpleNamespace(latencies=latencies))


def test_doubts_of_both_campaigns_stand_by_the_device_and_survive() -> None:
    costs = make_costs({NAMES[0]: "busy"}, {NAMES[0]: "throttled", NAMES[2]: "busy"})
    costs.begin(Silent())
    assert [costs.doubts(name) for name in NAMES] == [{"latency": "busy"}, {"latency": ""}, {"latency": ""}]
    costs.finish([CHOSEN.text], Silent())
    again = make_costs()
    again.restore(json.loads(json.dumps(costs.state())))
    for seen in (costs, again):
        assert seen.doubts(NAMES[0]) == {"latency": "busy; throttled"} and seen.doubts(NAMES[1]) == {"latency": ""}
        assert seen.doubts(NAMES[2]) == {"latency": "busy"}


def test_a_run_kept_before_there_were_doubts_has_none() -> None:
    costs = make_costs({})
    costs.begin(Silent())
    state = json.loads(json.dumps(costs.state()))
    for networks in state["latencies"].values():
        for value in networks.values():
            value.pop()
    costs.restore(state)
    assert costs.doubts(NAMES[0]) == {"latency": ""} and costs.noise(NAMES[0]) == {"latency": 0.1}

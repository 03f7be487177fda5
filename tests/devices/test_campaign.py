"""What is measured when, on which devices, and what the predictor learns from."""

from __future__ import annotations

import pytest
import torch

from modnas_fast.devices import Campaign, Latencies, Measurement, Setting, plan_campaign
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import NB201Space

space = NB201Space()
SETTINGS = [Setting("cpu", t, b, torch.float32) for t in (1, 2) for b in (1, 4)]
NAMES = [setting.name for setting in SETTINGS]


def plan(unseen: object = (NAMES[1],), seed: int = 0, networks: int = 6, heldout: int = 5) -> Campaign:
    return plan_campaign(space, SETTINGS, unseen, networks=networks, heldout=heldout, seed=seed)


def cost(text: str, setting: int) -> float:
    return 1.0 + 2.0 * text.count("3x3") * (1 + setting) + text.count("1x1") + 0.5 * text.count("skip")


def made_up_latencies(campaign: Campaign) -> Latencies:
    """The latencies of everything that is wanted before the search."""
    latencies: Latencies = {}
    for setting, architectures in campaign.before_search():
        texts = [a.text for a in campaign.canonical(architectures)]
        latencies[setting.name] = {t: Measurement(cost(t, NAMES.index(setting.name)), 0.0) for t in texts}
    return latencies


def test_only_reference_networks_run_on_unseen_devices_before_the_search() -> None:
    campaign = plan((NAMES[1], NAMES[2]))
    wanted = {setting.name: [str(a) for a in architectures] for setting, architectures in campaign.before_search()}
    assert list(wanted) == [NAMES[0], NAMES[3], NAMES[1], NAMES[2]]
    for name in (NAMES[1], NAMES[2]):
        assert wanted[name] == list(space.references)
    for name in (NAMES[0], NAMES[3]):
        assert len(wanted[name]) == 10 + 5 + 6 and wanted[name][:10] == list(space.references)
        assert wanted[name][10:15] == [str(a) for a in campaign.heldout]
    assert wanted[NAMES[0]][15:] != wanted[NAMES[3]][15:]


def test_after_the_search_the_chosen_networks_run_everywhere() -> None:
    campaign = plan()
    chosen = [space.architecture([3] * 6), space.architecture([1] * 6)]
    wanted = {setting.name: architectures for setting, architectures in campaign.after_search(chosen)}
    assert set(wanted) == set(NAMES)
    assert wanted[NAMES[0]] == chosen and wanted[NAMES[1]] == [*chosen, *campaign.heldout]


def test_a_plan_is_made_again_from_its_seed() -> None:
    assert plan(seed=3) == plan(seed=3)
    assert plan(seed=3).heldout != plan(seed=4).heldout and plan(seed=3).train != plan(seed=4).train


def test_devices_carry_their_split_and_embedding() -> None:
    campaign = plan()
    latencies = made_up_latencies(campaign)
    devices = campaign.devices(latencies)
    assert [(d.name, d.split) for d in devices] == [
        (NAMES[0], "search"), (NAMES[2], "search"), (NAMES[3], "search"), (NAMES[1], "unseen")
    ]  # fmt: skip
    for device in devices:
        texts = [a.text for a in campaign.canonical(campaign.references)]
        values = torch.tensor([latencies[device.name][text].latency_ms for text in texts])
        wanted = (values - values.min()) / (values.max() - values.min())
        torch.testing.assert_close(torch.tensor(device.embedding), wanted)


def test_training_table_holds_every_measured_network_of_the_search_devices() -> None:
    campaign = plan()
    latencies = made_up_latencies(campaign)
    onehot, d, target = campaign.training_table(latencies)
    rows = 3 * (10 + 6)
    assert onehot.shape == (rows, 30) and d.shape == (rows, 10) and target.shape == (rows,)
    assert onehot.dtype == d.dtype == target.dtype == torch.float32
    assert torch.equal(space.canonical(onehot), onehot)
    for position, device in enumerate(campaign.devices(latencies)[:3]):
        own = slice(16 * position, 16 * position + 16)
        texts = [a.text for a in space.decode(onehot[own])]
        measured = torch.tensor([latencies[device.name][text].latency_ms for text in texts])
        torch.testing.assert_close(target[own], device.normalize(measured))
        torch.testing.assert_close(d[own], torch.tensor(device.embedding).expand(16, -1))
        assert target[own][:10].min() == 0 and target[own][:10].max() == 1


@pytest.mark.parametrize(
    ("unseen", "message"),
    [
        (("toaster",), r"devices\.unseen: unknown device 'toaster'; this machine has .*" + NAMES[0]),
        (tuple(NAMES), r"devices\.unseen: at least one device must remain"),
        ((*NAMES, NAMES[0]), r"devices\.unseen: at least one device must remain"),
    ],
)
def test_impossible_plans_are_refused(unseen: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(unseen)


def test_unseen_devices_may_be_named_twice_or_not_at_all() -> None:
    assert plan((NAMES[1], NAMES[1])) == plan((NAMES[1],))
    assert plan(()).unseen == () and len(plan(()).search) == 4


def test_automatic_choice_leaves_devices_for_the_search() -> None:
    settings = [*SETTINGS, *(Setting("cpu", s.threads, s.batch, torch.bfloat16) for s in SETTINGS)]
    campaign = plan_campaign(space, settings, "auto", networks=1, heldout=4, seed=0)
    assert len(campaign.unseen) == 2 and len(campaign.search) == 6

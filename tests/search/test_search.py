"""The bilevel loop on a tiny task: reproducible, resumable, free of side effects, and it learns."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from small_searches import config, make_images, make_search, space
from torch import Tensor

from modnas_fast.runtime.checkpoint import load_checkpoint, save_checkpoint
from modnas_fast.search.bilevel import Search, initial_hypernet
from modnas_fast.tasks.task_objective import initial_supernet


def advance(search: Search, steps: int) -> Search:
    for _ in range(steps):
        search.step()
    return search


def assert_same(first: object, second: object, place: str = "state") -> None:
    assert type(first) is type(second), place
    if isinstance(first, Tensor):
        assert first.dtype == second.dtype and torch.equal(first, second), place
    elif isinstance(first, dict):
        assert list(first) == list(second), place
        for key, value in first.items():
            assert_same(value, second[key], f"{place}.{key}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), place
        for number, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_same(a, b, f"{place}[{number}]")
    else:
        assert first == second, place


def snapshot(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


VARIANTS = [
    *({"mgd": {"scheme": scheme}} for scheme in ("mean", "sequential", "sample")),
    {"mgd": {"normalize": "none"}},
    *({"architect": {"kind": kind}} for kind in ("reinmax", "gdas", "gumbel_softmax", "softmax")),
    *({"scalarization": {"kind": kind}, "mgd": {"scheme": "mgd"}} for kind in ("linear", "smooth_chebyshev", "cosine")),
    {"scalarization": {"normalize": False}},
    {"hypernetwork": {"kind": "bank", "interpolate": True}, "preferences": {"shared": True}},
    {"hypernetwork": {"kind": "mlp"}, "task": {"augment": True}},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_every_variant_runs_moves_both_networks_and_reproduces(changes: dict) -> None:
    options = config(**{**changes, "search": {"warmup_steps": 1}})
    state = torch.get_rng_state()
    first, again = (advance(make_search(options), 3) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert_same(first.state_dict(), again.state_dict())
    start = make_search(options)
    for module, before in ((first._objective.supernet, start._objective.supernet), (first.hypernet, start.hypernet)):
        weights = torch.cat([p.detach().flatten() for p in module.parameters()])
        assert weights.isfinite().all()
        assert not torch.equal(weights, torch.cat([p.detach().flatten() for p in before.parameters()]))


def test_another_seed_is_another_search() -> None:
    first, other = (advance(make_search(config(seed)), 4).state_dict() for seed in (0, 1))
    first["supernet"], other["supernet"] = first["objective"]["supernet"], other["objective"]["supernet"]
    for one, two in ((first[part], other[part]) for part in ("supernet", "hypernet")):
        assert not all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"search": {"steps": 5, "refine_steps": 3, "refine_preferences": 2}},
        {"mgd": {"scheme": "sample"}, "task": {"augment": True}},
        {"architect": {"kind": "gdas"}, "scalarization": {"normalize": False}},
        {"preferences": {"kind": "sobol", "adaptive": True, "focus": 0.9}},
    ],
    ids=str,
)
def test_a_resumed_search_equals_an_unbroken_one(tmp_path: Path, changes: dict) -> None:
    """Broken in every phase, on the edge of an epoch of 3 batches and inside one."""
    options = config(**changes)
    unbroken = make_search(options)
    for broken_after in range(12):
        if broken_after in (0, 2, 3, 5, 10):
            save_checkpoint(tmp_path / f"{broken_after}", unbroken.state_dict())
        if not unbroken.done:
            unbroken.step()
    for path in tmp_path.iterdir():
        resumed = make_search(options)
        resumed.load_state_dict(load_checkpoint(path))
        assert resumed.finished_steps == int(path.name) and not resumed.done
        advance(resumed, 11 - int(path.name))
        assert resumed.done and unbroken.done
        assert_same(resumed.state_dict(), unbroken.state_dict())


def test_warm_up_moves_the_supernet_alone() -> None:
    search = make_search(config())
    supernet, hypernet = snapshot(search._objective.supernet), snapshot(search.hypernet)
    advance(search, 3)
    assert_same(snapshot(search.hypernet), hypernet)
    assert not torch.equal(search._objective.supernet.stem.weight, supernet["stem.weight"])
    advance(search, 1)
    assert any(not torch.equal(value, hypernet[name]) for name, value in search.hypernet.state_dict().items())


@pytest.mark.parametrize("scheme", ["mgd", "mean", "sequential", "sample"])
def test_the_hypernetworks_part_leaves_the_supernet_alone(scheme: str) -> None:
    search = make_search(config(mgd={"scheme": scheme}))
    supernet, hypernet = snapshot(search._objective.supernet), snapshot(search.hypernet)
    search._hyper_step(log=False)
    assert_same(snapshot(search._objective.supernet), supernet)
    assert all(p.grad is None for p in search._objective.supernet.parameters())
    assert any(not torch.equal(value, hypernet[name]) for name, value in search.hypernet.state_dict().items())


@pytest.mark.parametrize("scheme", ["mgd", "sequential"])
def test_the_refinement_moves_the_hypernetwork_alone(scheme: str) -> None:
    options = {"steps": 2, "warmup_steps": 1, "refine_steps": 2, "refine_preferences": 3}
    search = advance(make_search(config(search=options, mgd={"scheme": scheme})), 3)
    supernet, hypernet, logged = (
        snapshot(search._objective.supernet),
        snapshot(search.hypernet),
        list(search.history.step),
    )
    advance(search, 2)
    assert search.done and search.history.step == logged
    assert_same(snapshot(search._objective.supernet), supernet)
    assert any(not torch.equal(value, hypernet[name]) for name, value in search.hypernet.state_dict().items())


def test_the_refinement_teaches_the_best_networks_known() -> None:
    """Whatever the bilevel search left behind: rays are answered nearly as well as the archive could."""
    options = {"steps": 1, "warmup_steps": 10, "refine_steps": 60, "refine_preferences": 8}
    search = advance(make_search(config(search=options, hypernetwork={"intervals": 3})), 71)
    r = torch.stack([torch.linspace(0.1, 0.9, 5), torch.linspace(0.9, 0.1, 5)], dim=-1)
    for device in range(3):
        d = search._d[device].expand(5, -1)
        chosen = space.canonical(space.viable_mode(search.hypernet(r, d)))
        search._refinement.archive.add(chosen)
        best = search._refinement._best(r[None], torch.tensor([device]))[0]
        archive = search._refinement.archive
        rows = [int((archive.onehot == row).all(-1).nonzero()[0]) for row in torch.cat([chosen, best])]
        cost = search._costs(archive.onehot[rows], search._d[device])
        losses = search._refinement._scale(archive.errors[rows, None], cost[:, None], torch.tensor([device]))[:, 0]
        value = search._scalarize(losses, r.repeat(2, 1))
        assert (value[:5] - value[5:]).mean() < 0.1


def test_the_supernets_part_leaves_the_hypernetwork_alone() -> None:
    search = make_search(config())
    supernet, hypernet = snapshot(search._objective.supernet), snapshot(search.hypernet)
    search._weight_step(spread_share=0.5)
    assert_same(snapshot(search.hypernet), hypernet)
    assert all(p.grad is None for p in search.hypernet.parameters())
    assert not torch.equal(search._objective.supernet.stem.weight, supernet["stem.weight"])


def test_the_predictor_stays_frozen() -> None:
    search = make_search(config())
    before = snapshot(search._costs)
    advance(search, 5)
    assert_same(snapshot(search._costs), before)
    assert all(p.grad is None for p in search._costs.parameters())


def test_the_task_loss_falls() -> None:
    options = config(search={"steps": 40, "warmup_steps": 120, "log_every": 1, "weight_learning_rate": 0.05})
    search = advance(make_search(options), 160)
    losses = torch.tensor(search.history.task_loss)
    assert losses[-15:].mean() < 0.6 * torch.tensor(3.0).log()
    untrained = make_search(options)
    x, y = next(make_images().batches("train", 30))
    sample = space.encode([space.architecture([3] * 6)])
    with torch.no_grad():
        assert search._objective.supernet(x, sample, y) < 0.5 * untrained._objective.supernet(x, sample, y)


@pytest.mark.parametrize("devices", [1, 3])
def test_history_has_one_entry_per_logged_step(devices: int) -> None:
    search = advance(make_search(config(), devices), 11)
    history = search.history
    assert history.devices == [f"device {i}" for i in range(devices)]
    assert history.step == [3, 5, 7, 9]
    assert all(len(values) == 1 for row in history.costs for values in row)
    for name in ("task_loss", "costs", "mgd_weights"):
        rows = getattr(history, name)
        assert [len(row) for row in rows] == [devices] * 4, name
        assert torch.tensor(rows).isfinite().all(), name
    assert len(history.gradient_cosine) == len(history.learning_rate_w) == 4
    for row, cosine in zip(history.mgd_weights, history.gradient_cosine, strict=True):
        assert sum(row) == pytest.approx(1) and min(row) >= 0
        assert cosine is None if devices == 1 else -1 - 1e-9 <= cosine <= 1 + 1e-9


def test_the_learning_rate_falls_to_its_twenty_fifth() -> None:
    search = make_search(config(search={"steps": 100, "warmup_steps": 0, "weight_learning_rate": 0.1}))
    rates = []
    for finished in (0, 50, 100):
        search.finished_steps = finished
        search._weight_step(spread_share=1.0)
        rates.append(search._objective.learning_rate)
    assert rates == pytest.approx([0.1, 0.052, 0.004])


@pytest.mark.parametrize(("steps", "evaluations"), [(8, 2), (8, 3), (8, 8), (3, 8), (8, 0), (8, 1)])
def test_evaluations_are_spread_over_the_search_and_end_with_it(steps: int, evaluations: int) -> None:
    search = make_search(config(search={"steps": steps, "warmup_steps": 3, "evaluations": evaluations}))
    due = []
    for finished in range(1, search.total_steps + 1):
        search.finished_steps = finished
        if search.evaluation_due:
            due.append(finished)
    assert len(due) == min(steps, evaluations)
    assert not due or (due[-1] == search.total_steps and due[0] > 3)
    gaps = [b - a for a, b in pairwise(due)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_initial_networks_are_those_of_the_seed() -> None:
    options, task = config(7), make_images()
    state = torch.get_rng_state()
    search = make_search(options)
    assert_same(snapshot(search._objective.supernet), snapshot(initial_supernet(options, space, task)))
    assert_same(snapshot(search.hypernet), snapshot(initial_hypernet(options, space, 10)))
    assert torch.equal(state, torch.get_rng_state())


def test_steps_take_some_of_many_devices() -> None:
    """All take turns; where no device is left out, nothing is different."""
    options = {"search": {"devices_per_step": 2, "steps": 8, "refine_steps": 4, "log_every": 1}}
    search = make_search(config(**options), devices=3)
    while not search.done:
        search.step()
    history = search.history
    for losses, costs, weights in zip(history.task_loss, history.costs, history.mgd_weights, strict=True):
        assert sum(loss is None for loss in losses) == sum(cost == [None] for cost in costs) == 1
        assert weights[losses.index(None)] == 0 and sum(weights) == pytest.approx(1)
    assert len({losses.index(None) for losses in history.task_loss}) > 1
    assert all(len(entry["mgd_weights"]) == 3 for entry in history.refinement) and len(history.refinement) == 4
    found = []
    for count in (3, 40, None):
        search = make_search(config(search={**options["search"], "devices_per_step": count}), devices=3)
        while not search.done:
            search.step()
        found.append(search)
    for other in found[1:]:
        assert other.history == found[0].history
        for name, value in other.hypernet.state_dict().items():
            assert torch.equal(value, found[0].hypernet.state_dict()[name]), name

"""The search on a GPU, without one: its steps stay on the device, and nobody waits for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_searches import config, make_devices, make_images, seeded, space
from small_searches import make_search as make_search_on_cpu
from stand_in_gpu import GPU, StandInGraphs, Waited, stand_in_gpu
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from modnas_fast.predictors.graph_predictor import GraphMetaPredictor, PlainGraphPredictor
from modnas_fast.predictors.metapredictor import CostModel, MetaPredictor
from modnas_fast.runtime.checkpoint import load_checkpoint, save_checkpoint
from modnas_fast.runtime.implementations import chosen
from modnas_fast.runtime.placement import to_device
from modnas_fast.search.bilevel import CALIBRATION_NETWORKS, Search
from modnas_fast.supernets.captured import CapturedPasses
from modnas_fast.tasks import task_objective
from modnas_fast.tasks.task_objective import SupernetObjective, initial_supernet

PREDICTORS: dict[str, Callable[[], nn.Module]] = {
    "additive": lambda: MetaPredictor(space, 10, 16, seeded(3)),
    "graph": lambda: GraphMetaPredictor(space, 10, 16, generator=seeded(3)),
    "plain_graph": lambda: PlainGraphPredictor(space, 10, 16, generator=seeded(3)),
}
WAITS = (Waited, DataDependentOutputException, DynamicOutputShapeException)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device to search on")
MakeSearch = Callable[..., Search]


@pytest.fixture
def make_search(monkeypatch: pytest.MonkeyPatch) -> MakeSearch:
    """Makes a search that is set up as ever and then moved to the GPU that is not there."""
    place = Search._place

    def place_there(search: Search) -> None:
        with stand_in_gpu(may_wait=True):
            place(search)

    def make(**changes: dict[str, Any]) -> Search:
        changes = {**changes, "architect": {"samples": 2, **changes.get("architect", {})}}
        options, task = config(**changes), make_images()
        supernet = initial_supernet(options, space, task)
        monkeypatch.setattr(task_objective, "initial_supernet", lambda *arguments: supernet)
        with stand_in_gpu(may_wait=True):
            objective = SupernetObjective(options, space, task, GPU)
        predictor = PREDICTORS[options.predictor.kind]().requires_grad_(False)
        return Search(options, space, objective, make_devices(2), CostModel([predictor]))

    monkeypatch.setattr(Search, "_place", place_there)
    return make


def step(search: Search, finished: int) -> None:
    """The step after `finished` ones: 0 belongs to the warm-up; 4 to the search, and neither logs nor calibrates."""
    search.finished_steps = finished
    with stand_in_gpu():
        search.step()


def assert_on_gpu(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        assert parameter.device == GPU and parameter.grad is not None and parameter.grad.device == GPU, name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"architect": {"kind": "reinmax"}, "task": {"augment": True}, "search": {"spread_share": 1.0}},
        {"space": {"reduction": "residual"}},
    ],
    ids=str,
)
def test_no_step_waits_for_the_gpu_or_leaves_it(make_search: MakeSearch, changes: dict) -> None:
    search = make_search(**changes)
    step(search, 0)
    assert_on_gpu(search._objective.supernet)
    step(search, 4)
    assert_on_gpu(search._objective.supernet)
    assert_on_gpu(search.hypernet)


@pytest.mark.parametrize(
    "changes",
    [
        *({"architect": {"kind": kind}} for kind in ("gdas", "gumbel_softmax", "softmax")),
        *({"mgd": {"scheme": scheme}} for scheme in ("mean", "sequential", "sample")),
        *({"scalarization": {"kind": kind}} for kind in ("linear", "cosine")),
        {"scalarization": {"normalize": False}, "mgd": {"normalize": "none"}, "search": {"viability": False}},
        {"hypernetwork": {"interpolate": False}, "predictor": {"kind": "graph"}},
        {"hypernetwork": {"kind": "mlp"}, "predictor": {"kind": "plain_graph"}},
    ],
    ids=str,
)
def test_no_variant_of_the_hypernetwork_s_step_waits(make_search: MakeSearch, changes: dict) -> None:
    search = make_search(**changes)
    search.finished_steps = 4
    with stand_in_gpu():
        search._hyper_step(log=False)
    assert_on_gpu(search.hypernet)


@pytest.mark.parametrize("kind", ["leave_one_out", "reinmax"])
def test_captured_passes_make_the_same_search(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins for graphs, on the CPU: 3 steps of warm-up, then 4 of both networks, one of which calibrates."""
    options = config(architect={"kind": kind})
    plain, graphs = make_search_on_cpu(options), StandInGraphs.instead_of_cuda(monkeypatch)
    captured = make_search_on_cpu(options)
    captured._objective._passes = CapturedPasses(captured._objective.supernet)
    for search in (plain, captured):
        for _ in range(7):
            search.step()
    pairs = [(search.hypernet, search._objective.supernet) for search in (captured, plain)]
    for first, second in zip(*pairs, strict=True):
        for mine, wanted in zip(first.parameters(), second.parameters(), strict=True):
            torch.testing.assert_close(mine, wanted, rtol=1e-3, atol=1e-3)  # Adam raises rounding errors
    assert len(graphs.captured) == 3


@needs_gpu
@pytest.mark.parametrize("kind", ["leave_one_out", "reinmax"])
def test_torch_sees_no_waiting_on_a_gpu(kind: str) -> None:
    """After the first steps, which capture graphs; neither of the two looked at logs or calibrates."""
    if chosen("min_norm", "cuda").name != "cuda":
        pytest.skip("the compiled core has no CUDA: the reference of the solver waits")
    search = make_search_on_cpu(config(architect={"kind": kind}, search={"device": "cuda", "warmup_steps": 1}))
    for _ in range(3):
        search.step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        search.finished_steps = 4
        search.step()
        search.finished_steps = 0
        search.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(p.device.type == "cuda" and p.isfinite().all() for p in search.hypernet.parameters())


@needs_gpu
@pytest.mark.parametrize("capture", [True, False])
def test_a_gpu_goes_the_way_of_the_cpu(capture: bool) -> None:
    """From the same numbers, as long as rounding has not led them apart."""
    options = {"warmup_steps": 2, "steps": 2, "refine_steps": 2, "log_every": 1, "capture": capture}
    found = {}
    for device in ("cpu", "cuda"):
        search = make_search_on_cpu(config(architect={"kind": "reinmax"}, search={**options, "device": device}))
        while not search.done:
            search.step()
        found[device] = search
    first, second = (torch.tensor(found[device].history.task_loss[0]) for device in ("cpu", "cuda"))
    torch.testing.assert_close(first, second, rtol=0.02, atol=0.02)
    assert len(found["cuda"].history.refinement) == 2


@needs_gpu
@pytest.mark.parametrize("activations", ["bfloat16", "float32"])
def test_a_gpu_repeats_itself(activations: str) -> None:
    """Bit for bit, through both networks: kernels, convolutions, solver and optimisers."""
    options = {"warmup_steps": 2, "steps": 3, "device": "cuda", "device_chunk": 2, "activations": activations}
    found = []
    for _ in range(2):
        search = make_search_on_cpu(config(architect={"kind": "reinmax"}, search=options))
        while not search.done:
            search.step()
        found.append([*search.hypernet.parameters(), *search._objective.supernet.parameters()])
    assert all(torch.equal(first, again) for first, again in zip(*found, strict=True))


# ---- where waiting is meant, it is done once ----


def test_calibration_hands_losses_to_the_host(make_search: MakeSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    search, seen = make_search(), []
    monkeypatch.setattr(search._scale, "observe", lambda losses, chance: seen.append(losses))
    with stand_in_gpu(may_wait=True):
        search._calibrate()
    assert [(losses.device.type, losses.shape) for losses in seen] == [("cpu", (CALIBRATION_NETWORKS,))]


def test_a_logged_step_copies_everything_at_once(make_search: MakeSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    search, seen = make_search(), []

    def to_host(*tensors: Tensor) -> list[SimpleNamespace]:
        seen.append(tensors)
        return [SimpleNamespace(tolist=lambda: [1.0, 1.0]) for _ in tensors]

    monkeypatch.setattr("modnas_fast.search.bilevel.to_host", to_host)
    monkeypatch.setattr("modnas_fast.search.bilevel._conflict", lambda weights, cosines: ([0.5, 0.5], 0.0))
    with stand_in_gpu():
        search._hyper_step(log=True)
    assert len(seen) == 1 and all(tensor.device == GPU for tensor in seen[0])
    assert search.history.task_loss == search.history.costs == [[1.0, 1.0]]


def test_the_refinement_s_host_work_gets_tensors_of_the_host(make_search: MakeSearch) -> None:
    search, seen = make_search(search={"refine_steps": 4, "refine_preferences": 3}), []

    def elites(samples: Tensor, r: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
        seen.append([value.device.type for value in (samples, r, chosen)])
        return samples

    search._refinement.elites = elites
    search.finished_steps = 12  # of 3 + 8 before the refinement: no entry of the log is due
    with stand_in_gpu(may_wait=True):
        search.step()
    assert seen == [["cpu"] * 3]
    assert_on_gpu(search.hypernet)
    assert search._refinement.archive._d.device.type == "cpu"
    assert all(p.device.type == "cpu" for p in search._refinement.archive._cost_model.parameters())


def test_a_search_begun_on_the_cpu_goes_on_on_a_gpu(make_search: MakeSearch, tmp_path: Path) -> None:
    changes = {"architect": {"samples": 2}}
    begun = make_search_on_cpu(config(**changes), devices=2)
    while begun.finished_steps < 6:
        begun.step()
    save_checkpoint(tmp_path / "state", begun.state_dict())
    search, state = make_search(**changes), load_checkpoint(tmp_path / "state")
    with stand_in_gpu(may_wait=True):
        search.load_state_dict(state)
    step(search, search.finished_steps)
    assert search.finished_steps == 7
    assert_on_gpu(search.hypernet)
    assert_on_gpu(search._objective.supernet)


# ---- what these tests rest on: waiting is noticed ----

ON_CPU = torch.zeros(3)
WAITING: dict[str, Callable[[Tensor], object]] = {
    "a number": lambda there: there.sum().item(),
    "a list": lambda there: there.tolist(),
    "a branch": lambda there: bool(there.sum() > 0),
    "equality": lambda there: torch.equal(there, there + 1),
    "a mask": lambda there: there[there > 0],
    "positions": lambda there: there.nonzero(),
    "distinct values": lambda there: there.unique(),
    "a copy back": lambda there: there.cpu(),
    "a copy back into a tensor": lambda there: torch.zeros(3).copy_(there, non_blocking=True),
    "a copy that blocks": lambda there: ON_CPU.to(there.device),
    "a copy into a tensor that blocks": lambda there: there.clone().copy_(ON_CPU),
    "another device": lambda there: there + ON_CPU,
    "an index on another device": lambda there: there[torch.arange(2)],
    "numbers of Python": lambda there: there.new_tensor([1.0, 2.0]),
}
FREE: dict[str, Callable[[Tensor], Tensor]] = {
    "arithmetic": lambda there: (there * 2).sum().double(),
    "a single number": lambda there: there * torch.tensor(2.0),
    "an index": lambda there: there[torch.arange(2, device=there.device)],
    "a queued copy": lambda there: there + to_device(ON_CPU, there.device),
    "a queued copy into a tensor": lambda there: there.clone().copy_(ON_CPU, non_blocking=True),
}


@pytest.mark.parametrize("name", WAITING)
def test_waiting_is_noticed(name: str) -> None:
    with stand_in_gpu():
        there = to_device(ON_CPU, GPU)
        with pytest.raises((*WAITS, RuntimeError)):
            WAITING[name](there)


@pytest.mark.parametrize("name", FREE)
def test_what_does_not_wait_is_let_through(name: str) -> None:
    with stand_in_gpu():
        assert FREE[name](to_device(ON_CPU, GPU)).device == GPU


@pytest.mark.parametrize("name", ["a number", "a mask", "a copy back"])
def test_a_step_that_waits_is_noticed(make_search: MakeSearch, name: str) -> None:
    search = make_search()
    scalarize = search._scalarize

    def waiting(losses: Tensor, r: Tensor) -> Tensor:
        WAITING[name](losses)
        return scalarize(losses, r)

    search._scalarize = waiting
    with pytest.raises(WAITS):
        step(search, 4)

"""Tasks without images and a space with a supernet of its own, through all that a run does with them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import pytest
import torch
from other_tasks import MASKS, ElasticSpace, ElasticVectors, OtherTask, language, regression
from small_searches import config, make_devices, seeded
from torch import Tensor, nn

from modnas_fast.config import Config, VerifyConfig
from modnas_fast.devices import Fingerprint, MeasurementCache, Profiler, Setting
from modnas_fast.predictors.metapredictor import CostModel, MetaPredictor
from modnas_fast.runs.forecast import foresee
from modnas_fast.runtime.errors import InputError
from modnas_fast.search.bilevel import Search
from modnas_fast.supernets.passes import Passes
from modnas_fast.supernets.supernet import Supernet
from modnas_fast.tasks.supernet_errors import SupernetErrors
from modnas_fast.tasks.task_objective import (
    SupernetObjective,
    initial_supernet,
    network_arguments,
    supernet_errors,
)
from modnas_fast.tasks.training import network_quality, train_network

SPACE = ElasticSpace()
MakeTask = Callable[[], OtherTask]
SEARCH = {"warmup_steps": 200, "steps": 20, "refine_steps": 10, "refine_networks": 16, "batch_size": 50}


@pytest.fixture(params=[regression, language])
def make_task(request: pytest.FixtureRequest) -> MakeTask:
    return request.param


def make_search(make_task: MakeTask, options: Config) -> Search:
    objective = SupernetObjective(options, SPACE, make_task())
    costs = CostModel([MetaPredictor(SPACE, 10, 16, seeded(3)).requires_grad_(False)])
    return Search(options, SPACE, objective, make_devices(2), costs)


def test_a_search_learns_and_goes_on_where_it_was(make_task: MakeTask) -> None:
    options = config(search={**SEARCH, "weight_learning_rate": 0.05})
    search, again = make_search(make_task, options), make_search(make_task, options)
    widest = SPACE.encode([SPACE.parse("8-8")])
    before = float(search._objective.errors(widest))
    while search.finished_steps < 210:
        search.step()
    again.load_state_dict(copy.deepcopy(search.state_dict()))
    for one in (search, again):
        while not one.done:
            one.step()
    after = float(search._objective.errors(widest))
    assert after < 0.6 * before and after < 0.6 * search._objective.chance_error
    for mine, other in zip(search.hypernet.parameters(), again.hypernet.parameters(), strict=True):
        assert torch.equal(mine, other)
    assert torch.equal(again._objective.errors(widest), search._objective.errors(widest))


def test_quality_is_that_of_whole_parts_whatever_is_computed_together(make_task: MakeTask) -> None:
    task, onehot = make_task(), SPACE.enumerate()
    supernet = initial_supernet(config(), SPACE, task)
    x, y = task.parts["validation"]
    with torch.no_grad():
        wanted = task.quality_of(task.counts(supernet.predict(x, onehot), y), "validation")
    found = [supernet_errors(config(evaluation={"batch_size": 40}), supernet, task)(onehot)]
    found += [SupernetErrors(supernet, task, "validation", 90, at_a_time)(onehot) for at_a_time in (1, 5, None)]
    for quality in found:
        assert quality.dtype == torch.float64 and len(quality.unique()) > 8
        torch.testing.assert_close(quality, wanted, rtol=1e-5, atol=0)


@pytest.mark.parametrize("chunk", [None, 3])
def test_losses_and_gradients_are_those_of_one_network_at_a_time(make_task: MakeTask, chunk: int | None) -> None:
    options, task = config(search={"device_chunk": chunk, "batch_size": 20}), make_task()
    objective, onehot = SupernetObjective(options, SPACE, task), SPACE.sample(5, seeded(1)).requires_grad_()
    objective.new_batch()
    losses, factors = objective.loss(onehot), torch.arange(1.0, 6.0)
    (found,) = torch.autograd.grad((losses * factors).sum(), onehot)
    alone = [task.losses(objective.supernet.predict(objective._x, row[None]), objective._y) for row in onehot]
    (wanted,) = torch.autograd.grad((torch.cat(alone) * factors).sum(), onehot, retain_graph=True)
    torch.testing.assert_close(losses, torch.cat(alone))
    torch.testing.assert_close(found, wanted)
    assert found.any() and all(p.grad is None for p in objective.supernet.parameters())
    weights = list(objective.supernet.parameters())
    mean = torch.autograd.grad(torch.cat(alone).mean(), weights)
    Passes(objective.supernet, task.losses).add_weight_gradients(objective._x, onehot, objective._y, chunk)
    for weight, gradient in zip(weights, mean, strict=True):
        torch.testing.assert_close(weight.grad, gradient)


def test_networks_are_trained_from_scratch(make_task: MakeTask) -> None:
    task, qualities = make_task(), []
    for text in ("1-1", "8-8"):
        torch.manual_seed(0)
        network = SPACE.build(SPACE.parse(text), **network_arguments(config(), task))
        options = VerifyConfig(epochs=60, batch_size=32, learning_rate=0.05)
        quality = train_network(network, task, options, augment=False, seed=0)
        assert quality == network_quality(network, task, "test")
        qualities.append(quality)
    assert qualities[1] < qualities[0] and qualities[1] < 0.6 * task.chance


def test_what_a_run_takes_is_foreseen(make_task: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    task, options = make_task(), config(verify={"networks": 2, "epochs": 3})
    found = foresee(options, SPACE, task, 2, 1)
    assert found.search > 0 and found.evaluate > 0 and found.verify > 0
    monkeypatch.setattr("modnas_fast.runs.forecast.free_memory", lambda device: 2000)
    with pytest.raises(InputError, match="verify.batch_size: training a network on 64 samples at a time takes about"):
        foresee(options, SPACE, task, 2, 1)


def test_networks_are_measured_with_the_task_s_inputs(make_task: MakeTask, tmp_path: object) -> None:
    task = make_task()
    cache = MeasurementCache(Fingerprint("cpu", 1, 1, "2", ()), {}, tmp_path)
    settings = [Setting("cpu", 1, 4, dtype) for dtype in (torch.float32, torch.bfloat16)]
    network = network_arguments(config(), task)
    found = Profiler(SPACE, network, task.inputs, cache, repeats=2).latencies(
        (setting, [SPACE.parse("8-8")]) for setting in settings
    )
    assert all(found[setting.name]["8-8"].latency_ms > 0 for setting in settings)


def test_a_result_can_tell_of_any_task(make_task: MakeTask) -> None:
    task = make_task()
    told = json.loads(json.dumps(task.description()))
    assert told["name"] == task.name and told["sizes"] == {"train": 200, "validation": 90, "test": 70}
    again = SPACE.build(SPACE.parse("2-4"), **network_arguments(config(), told["network"]))
    assert again(task.inputs(3)).shape[:2] == (3, task.input_shape[0])


# ---- the contract of supernets ----


def test_ids_may_be_what_networks_share() -> None:
    """`predict` alone on tokens: what is embedded are the ids themselves, which have no gradient."""

    class Lookup(Supernet):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(5, 8, generator=seeded(2)))

        def predict(self, x: Tensor, onehot: Tensor) -> Tensor:
            return self.table[x] * (onehot[:, :4] @ MASKS)[:, None, None]

    task, supernet, onehot = language(), Lookup(), SPACE.sample(3, seeded(1)).requires_grad_()
    x, y = next(task.batches("train", 10))
    passes = Passes(supernet, lambda outputs, y: (outputs.sum(-1) - y).square().flatten(1).mean(1))
    (gradient,) = torch.autograd.grad(passes.device_losses(x, onehot, y, 1).sum(), onehot)
    assert gradient[:, :4].any()
    wanted = torch.autograd.grad(supernet(x, onehot, y, passes._losses).mean(), supernet.table)[0]
    passes.add_weight_gradients(x, onehot, y, 2)
    torch.testing.assert_close(supernet.table.grad, wanted)


def test_without_an_own_plan_networks_come_one_at_a_time() -> None:
    supernet = ElasticVectors(3, 1)
    assert supernet.plan(torch.zeros(9, 1, 3), 13, "all", 10**12, 2) == (1, False)
    assert supernet.networks_at_a_time(torch.zeros(9, 1, 3), None) == 1 and not supernet.capturable


def test_what_is_no_supernet_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ElasticSpace, "supernet", lambda self, **network: nn.Linear(1, 1))
    with pytest.raises(InputError, match="space.name: the supernet of elastic is a Linear, no modnas_fast.supernets"):
        initial_supernet(config(), SPACE, regression())


def test_a_number_format_that_a_supernet_does_not_take_is_refused() -> None:
    with pytest.raises(InputError, match="search.activations: ElasticVectors takes float32 alone; set it to auto"):
        SupernetObjective(config(search={"activations": "bfloat16"}), SPACE, regression())


def test_a_supernet_without_predictions_says_what_is_missing() -> None:
    class Nothing(Supernet):
        pass

    with pytest.raises(NotImplementedError, match="Nothing: implement predict, or embed and predict_from"):
        Nothing().predict(torch.zeros(1, 3), SPACE.sample(1))

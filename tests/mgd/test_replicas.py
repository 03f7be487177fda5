"""mgd_backward on two processes that hold replicas, beside one process with the whole batch (gloo, on the CPU)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("torch.distributed")
if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
    pytest.skip("this torch has no gloo", allow_module_level=True)

import replica_ranks
from replica_ranks import Network, losses_of, train

from modnas_fast.mgd import mgd_backward

Answers = tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    """What each of the two ranks found in every scenario."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-W", "ignore", replica_ranks.__file__]
    ranks = [subprocess.Popen([*command, str(rank), str(folder)]) for rank in range(2)]
    try:
        assert [rank.wait(timeout=600) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    yield tuple(torch.load(folder / f"{rank}.pt") for rank in range(2))


def alone(**options: Any) -> dict[str, Tensor]:
    """One process with the whole batch."""
    net = Network()
    return train(net, None, net, **options)


def assert_both(answers: Answers, key: str, expected: dict[str, Tensor], *path: str) -> None:
    """Both ranks have the same bits, and the numbers expected."""
    first, second = (answer[key] for answer in answers)
    for name in path:
        first, second = first[name], second[name]
    for name, tensor in expected.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], tensor)


@pytest.mark.parametrize("normalize", ["none", "l2", "loss", "loss+"])
def test_data_parallel_ranks_train_as_one_process_with_the_whole_batch(answers: Answers, normalize: Any) -> None:
    assert_both(answers, "module", alone(normalize=normalize), normalize)


@pytest.mark.parametrize("key", ["without_a_wrapper", "small_buckets_that_hold_the_gradients"])
def test_replicas_with_and_without_a_wrapper(answers: Answers, key: str) -> None:
    assert_both(answers, key, alone())


def test_the_trunk_alone_with_heads_that_follow_their_losses(answers: Answers) -> None:
    net = Network()
    trunk = [*net.trunk.parameters(), *net.rare.parameters()]
    assert_both(answers, "trunk_and_heads", train(net, None, trunk, list(net.heads.parameters())))


def test_tensor_hooks_need_the_module(answers: Answers) -> None:
    net = Network()
    net.trunk[0].weight.register_hook(lambda grad: 2 * grad)
    assert_both(answers, "tensor_hooks", train(net, None, net), "module")
    for answer in answers:
        assert answer["tensor_hooks"]["parameters"].startswith("parameters: with hooks on parameters and a process_")


def test_gradients_of_several_batches_are_averaged_once(answers: Answers) -> None:
    net = Network()
    for step in (0, 1):
        mgd_backward(losses_of(net, step, None), net)
    expected = torch.cat([p.grad.flatten() for p in net.parameters()])
    for answer in answers:
        torch.testing.assert_close(answer["several_batches_without_synchronisation"], expected)


def test_a_layer_that_one_rank_uses_counts_as_zeros_on_the_other(answers: Answers) -> None:
    net = Network()
    halves = [replica_ranks.batch(0, rank) for rank in (0, 1)]
    both = []
    for rank, (x, y) in enumerate(halves):
        outputs = net(x, rare=rank == 0)
        both.append([(out - target).square().mean() for out, target in zip(outputs, y.T, strict=True)])
    mgd_backward([(a + b) / 2 for a, b in zip(*both, strict=True)], net)
    expected = torch.cat([p.grad.flatten() for p in net.parameters()])
    first, second = (answer["a_layer_that_one_rank_uses"] for answer in answers)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, expected)


def test_an_overflow_of_one_rank_is_seen_by_the_scalers_of_all(answers: Answers) -> None:
    for answer in answers:
        assert answer["one_rank_overflows"] == {"scale": 2.0**15, "moved": 0.0}


def test_a_task_without_labels_on_one_rank_is_refused_or_left_out_on_all(answers: Answers) -> None:
    for answer in answers:
        assert answer["one_rank_has_no_labels"]["raise"].startswith("losses[1] is nan")
        weights = answer["one_rank_has_no_labels"]["skip"]
        assert weights[1] == 0 and weights.sum() == pytest.approx(1)
        assert torch.equal(weights, answers[0]["one_rank_has_no_labels"]["skip"])


def test_a_loss_may_reach_the_parameters_on_one_rank_alone(answers: Answers) -> None:
    first, second = (answer["a_loss_that_one_rank_does_not_compute"] for answer in answers)
    assert torch.equal(first["factors"], second["factors"]) and first["factors"][2] > 0
    assert first["none"] == second["none"] == "losses: none of them reaches any of the parameters"


def test_none_takes_each_rank_alone(answers: Answers) -> None:
    first, second = (answer["this_rank_alone"] for answer in answers)
    assert not torch.allclose(first["net"], second["net"])
    torch.testing.assert_close(first["net"], train(net := Network(), 0, net)["net"])


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("not_said", "process_group: torch.distributed runs 2 ranks; pass the DistributedDataParallel module"),
        ("static_graph", "losses: DistributedDataParallel with static_graph=True"),
        ("sharded", "parameters[0] is sharded over processes"),
        ("sparse", "parameters: one has sparse gradients"),
    ],
)
def test_what_cannot_be_right_is_refused_in_one_line(answers: Answers, key: str, text: str) -> None:
    for answer in answers:
        for found in [answer[key]] if isinstance(answer[key], str) else answer[key]:
            assert found.startswith(text) and "\n" not in found


def test_the_page_s_way_with_a_sharded_module_is_that_of_replicas(answers: Answers) -> None:
    """The code of docs/solver.md, on two ranks."""
    for answer in answers:
        for own, wanted in answer["sharded_as_the_page_tells"].values():
            torch.testing.assert_close(own, wanted, rtol=1e-10, atol=1e-12)

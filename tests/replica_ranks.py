"""One of two processes that train replicas by mgd_backward: `python replica_ranks.py RANK FOLDER` saves what it found.

Run by test_replicas.py. Each scenario returns tensors or texts; both ranks run the same scenarios in the same order.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel

from modnas_fast.mgd import mgd_backward

STEPS, RANKS, BATCH = 3, 2, 16
SCENARIOS: dict[str, Callable[[int], Any]] = {}


class Network(nn.Module):
    """A trunk, three heads, and a layer that only batches marked so use."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
        self.heads = nn.ModuleList(nn.Linear(4, 1) for _ in range(3))
        self.rare = nn.Linear(4, 4)
        self.double()

    def forward(self, x: Tensor, rare: bool = False) -> list[Tensor]:
        shared = self.trunk(x)
        shared = shared + self.rare(shared) if rare else shared + 0 * sum(p.sum() for p in self.rare.parameters())
        return [head(shared)[:, 0] for head in self.heads]


def batch(step: int, rank: int | None) -> tuple[Tensor, Tensor]:
    """Inputs and targets of a step: a rank's half, or all of them."""
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(BATCH, 6, generator=generator, dtype=torch.float64)
    y = torch.randn(BATCH, 3, generator=generator, dtype=torch.float64)
    part = slice(None) if rank is None else slice(rank * BATCH // RANKS, (rank + 1) * BATCH // RANKS)
    return x[part], y[part]


def losses_of(net: nn.Module, step: int, rank: int | None) -> list[Tensor]:
    x, y = batch(step, rank)
    return [(out - target).square().mean() for out, target in zip(net(x), y.T, strict=True)]


def flat(net: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def whole(net: nn.Module) -> Any:
    return net


def train(net: nn.Module, rank: int | None, parameters: Any, heads: Any = None, **options: Any) -> dict[str, Tensor]:
    """Weights of the network and of the losses after some steps of SGD."""
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    factors = []
    for step in range(STEPS):
        optimizer.zero_grad()
        losses = losses_of(net, step, rank)
        found = mgd_backward(losses, parameters, retain_graph=heads is not None, **options)
        if heads is not None:
            torch.autograd.backward(sum(losses), inputs=heads)
        optimizer.step()
        factors.append(found.factors)
    return {"net": flat(net), "factors": torch.stack(factors)}


def scenario(function: Callable[[int], Any]) -> Callable[[int], Any]:
    SCENARIOS[function.__name__] = function
    return function


def refusal(function: Callable[[], object]) -> str:
    try:
        function()
    except ValueError as error:
        return str(error)
    return "accepted"


# ---- right ----


@scenario
def module(rank: int) -> Any:
    found = {}
    for normalize in ("none", "l2", "loss", "loss+"):
        net = DistributedDataParallel(Network())
        found[normalize] = train(net, rank, net, normalize=normalize)
    return found


@scenario
def sharded_as_the_page_tells(rank: int) -> Any:
    """The weights of docs/solver.md's example, and the whole gradients that it leaves."""
    page = (Path(__file__).parents[1] / "docs" / "solver.md").read_text(encoding="utf-8")
    code = next(
        block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "fully_shard(network)" in block
    )
    x, y = batch(0, rank)
    tasks = [(None, lambda out, target: (out - target).square().mean(), target) for target in y.T]
    names: dict[str, Any] = {"torch": torch, "network": Network(), "x": x, "tasks": tasks}
    exec(code, names)
    replica = DistributedDataParallel(Network())
    found = mgd_backward(losses_of(replica, 0, rank), replica)
    return {
        "weights": [names["weights"], found.weights],
        "gradients": [
            torch.cat([p.grad.full_tensor().flatten() for p in names["sharded"].parameters()]),
            torch.cat([p.grad.flatten() for p in replica.parameters()]),
        ],
    }


@scenario
def small_buckets_that_hold_the_gradients(rank: int) -> Any:
    net = DistributedDataParallel(Network(), bucket_cap_mb=0.0001, gradient_as_bucket_view=True)
    return train(net, rank, net, batched=True)


@scenario
def trunk_and_heads(rank: int) -> Any:
    net = DistributedDataParallel(Network())
    trunk = [*net.module.trunk.parameters(), *net.module.rare.parameters()]
    return train(net, rank, trunk, list(net.module.heads.parameters()), process_group=net.process_group)


@scenario
def without_a_wrapper(rank: int) -> Any:
    net = Network()
    return train(net, rank, net, process_group=distributed.group.WORLD)


@scenario
def tensor_hooks(rank: int) -> Any:
    net = DistributedDataParallel(Network())
    net.module.trunk[0].weight.register_hook(lambda grad: 2 * grad)
    text = refusal(lambda: train(net, rank, list(net.parameters()), process_group=net.process_group))
    return {"module": train(net, rank, net), "parameters": text}


@scenario
def several_batches_without_synchronisation(rank: int) -> Any:
    net = DistributedDataParallel(Network())
    with net.no_sync():
        mgd_backward(losses_of(net, 0, rank), net)
    mgd_backward(losses_of(net, 1, rank), net)
    return torch.cat([p.grad.flatten() for p in net.parameters()])


@scenario
def a_layer_that_one_rank_uses(rank: int) -> Any:
    class Sometimes(Network):
        def forward(self, x: Tensor, rare: bool = False) -> list[Tensor]:
            shared = self.trunk(x)
            return [head(shared + self.rare(shared) if rare else shared)[:, 0] for head in self.heads]

    net = DistributedDataParallel(Sometimes(), find_unused_parameters=True)
    x, y = batch(0, rank)
    mgd_backward([(o - t).square().mean() for o, t in zip(net(x, rank == 0), y.T, strict=True)], net)
    return torch.cat([p.grad.flatten() for p in net.parameters()])


@scenario
def one_rank_overflows(rank: int) -> Any:
    net = DistributedDataParallel(Network().float())
    optimizer, scaler = torch.optim.SGD(net.parameters(), 0.1), torch.amp.GradScaler("cpu", init_scale=2.0**16)
    before = flat(net)
    losses = [(out - 1).square().mean() for out in net(torch.ones(4, 6))]
    if rank == 1:
        losses[2] = losses[2] * 2.0**125
    mgd_backward(scaler.scale(losses), net)
    scaler.step(optimizer)
    scaler.update()
    return {"scale": scaler.get_scale(), "moved": float((flat(net) - before).abs().max())}


@scenario
def one_rank_has_no_labels(rank: int) -> Any:
    def losses(net: nn.Module) -> list[Tensor]:
        terms = losses_of(net, 0, rank)
        return [terms[0], terms[1] * (float("nan") if rank == 1 else 1.0), terms[2]]

    net = DistributedDataParallel(Network())
    text = refusal(lambda: mgd_backward(losses(net), net))
    net = DistributedDataParallel(Network())
    return {"raise": text, "skip": mgd_backward(losses(net), net, nonfinite="skip").weights}


@scenario
def a_loss_that_one_rank_does_not_compute(rank: int) -> Any:
    net = Network()
    losses = losses_of(net, 0, rank)
    other = torch.zeros((), dtype=torch.float64, requires_grad=True)
    losses[2] = losses[2] if rank == 0 else other * 1
    found = mgd_backward(losses, net.trunk, process_group=distributed.group.WORLD)
    text = refusal(lambda: mgd_backward([other * 1], net.trunk, process_group=distributed.group.WORLD))
    return {"factors": found.factors, "none": text}


@scenario
def this_rank_alone(rank: int) -> Any:
    net = Network()
    return train(net, rank, net, process_group=None)


# ---- refused ----


@scenario
def not_said(rank: int) -> Any:
    net = DistributedDataParallel(Network())
    return [refusal(lambda p=p: mgd_backward(losses_of(net, 0, rank), p)) for p in (net.parameters(), net.module)]


@scenario
def static_graph(rank: int) -> Any:
    net = DistributedDataParallel(Network(), static_graph=True)
    return refusal(lambda: mgd_backward(losses_of(net, 0, rank), net))


@scenario
def sharded(rank: int) -> Any:
    old, new = FullyShardedDataParallel(Network(), device_id=torch.device("cpu")), Network()
    flat_ = FullyShardedDataParallel(Network(), device_id=torch.device("cpu"), use_orig_params=True)
    mesh = distributed.device_mesh.init_device_mesh("cpu", (RANKS,))
    fully_shard(new, mesh=mesh)
    loss = [torch.ones((), requires_grad=True) * 2]
    return [refusal(lambda net=net: mgd_backward(loss, net)) for net in (old, flat_, new)]


@scenario
def sparse(rank: int) -> Any:
    table = nn.Embedding(4, 2, sparse=True)
    loss = [table(torch.tensor([rank])).square().sum()]
    return refusal(lambda: mgd_backward(loss, table, process_group=distributed.group.WORLD))


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS, timeout=timedelta(minutes=5)
    )
    torch.save({name: run(rank) for name, run in SCENARIOS.items()}, folder / f"{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))

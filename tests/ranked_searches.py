"""Several ranks: `python ranked_searches.py SIZE FOLDER` saves what each found in every scenario.

Run by tests/distributed/test_meshes.py. All ranks run the same scenarios in the same order, in float64.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from small_searches import config as images_config
from small_searches import make_devices, make_images, seeded
from small_searches import space as IMAGES_SPACE
from tasks.test_language import task as texts
from torch import Tensor, distributed
from torch.nn import functional as F

from modnas_fast.config import Config, make_config
from modnas_fast.predictors.metapredictor import CostModel, MetaPredictor
from modnas_fast.runs.searching import _check_alike
from modnas_fast.runtime.checkpoint import packed, unpacked
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.mesh import ALONE_MESH, Mesh, make_mesh
from modnas_fast.runtime.ranks import Ranks, joined_ranks
from modnas_fast.search.bilevel import Search
from modnas_fast.spaces import SearchSpace
from modnas_fast.spaces.gpt.space import GPTSpace
from modnas_fast.spaces.gpt.supernet import GPTSupernet
from modnas_fast.supernets.batch_statistics import statistics_over, whole_batch_norm
from modnas_fast.supernets.sharded import whole_weights
from modnas_fast.supernets.supernet import Plan
from modnas_fast.tasks import task_objective
from modnas_fast.tasks.task import Task
from modnas_fast.tasks.task_objective import SupernetObjective

SIZES = {"widths": [8, 16], "depths": [1, 2], "heads": [1, 2], "head_size": 8}
#: 7 samples in a minibatch and 3 devices: neither is divided evenly
STEPS = {"steps": 3, "warmup_steps": 1, "refine_steps": 1, "refine_preferences": 2, "refine_networks": 8}
PAPER = {"architect": {"kind": "reinmax"}, "search": {**STEPS, "batch_size": 7, "log_every": 1, "device": "cpu"}}
MESHES = {1: [(1, 1)], 2: [(2, 1), (1, 2)], 4: [(2, 2)]}
if os.environ.get("MODNAS_FAST_LONG_TESTS") == "1":
    MESHES[4].append((4, 1))


def images(**changes: Any) -> tuple[Config, SearchSpace, Task]:
    return images_config(**changes), IMAGES_SPACE, make_images()


def language(**changes: Any) -> tuple[Config, SearchSpace, Task]:
    return make_config(preset="gpt-small", space=SIZES, **changes), GPTSpace("small", **SIZES), texts()


#: the search in which each rank holds a part of w
IN_PARTS = "texts, w in parts"
#: searches by name
SEARCHES: dict[str, Callable[[], tuple[Config, SearchSpace, Task]]] = {
    "images": lambda: images(search={**PAPER["search"], "spread_share": 0.5}),
    "images side by side": lambda: images(**PAPER),
    "texts": lambda: language(**PAPER),
    IN_PARTS: lambda: language(architect=PAPER["architect"], search={**PAPER["search"], "shard": True}),
}


class WideCosts(CostModel):
    """Costs in float64, whatever the format of one-hots."""

    def forward(self, onehot: Tensor, d: Tensor) -> Tensor:
        found: Tensor = super().forward(onehot.double(), d.double())
        return found


def make_search(name: str, mesh: Mesh) -> Search:
    options, space, task = SEARCHES[name]()
    predictor = MetaPredictor(space, 10, 16, seeded(3)).requires_grad_(False)
    objective = SupernetObjective(options, space, task, mesh=mesh)
    return Search(options, space, objective, make_devices(3), WideCosts([predictor]).double())


def searched(name: str, mesh: Mesh) -> dict[str, Any]:
    """What a search came to: Φ, w, and all that was logged."""
    if name == IN_PARTS:  # layers are computed once more in the backward pass, for one network at a time
        with patch.object(GPTSupernet, "plan", lambda *_: Plan(1, recompute=mesh.ranks.joined)):
            return _searched(make_search(name, mesh))
    if name.endswith("side by side"):  # cells of all networks together, as on a GPU
        from modnas_fast.runtime import implementations

        with implementations.using("reference"):
            return _searched(make_search(name, mesh))
    return _searched(make_search(name, mesh))


def _searched(search: Search) -> dict[str, Any]:
    while not search.done:
        search.step()
    found = search.state_dict()
    return {
        "hypernet": dict(found["hypernet"]),
        "supernet": whole_weights(search._objective.supernet, keep=True),
        "archive": search._refinement.archive.state_dict(),
        "history": found["history"],
    }


def continued(first: Mesh, then: Mesh) -> dict[str, Any]:
    """What a search in parts comes to that goes on from its checkpoint with other ranks after three steps."""
    begun = make_search(IN_PARTS, first)
    for _ in range(3):
        begun.step()
    state = begun.state_dict()
    both = first.ranks if first.ranks.joined else then.ranks
    told = unpacked(both.bytes_from_first(lambda: packed(state)))
    search = make_search(IN_PARTS, then)
    search.load_state_dict(told)
    return _searched(search)


def held(mesh: Mesh) -> list[int]:
    """What of a search in parts this rank holds.

    Numbers of w, of its gradients and of its optimiser; whether what is kept of tied weights is one tensor; all of w.
    """
    search = make_search(IN_PARTS, mesh)
    search.step()
    objective = search._objective
    weights = list(objective.supernet.parameters())
    kept = [value for one in objective._optimizer.state.values() for value in one.values() if value.dim()]
    groups = weights, [weight.grad for weight in weights], kept
    whole = objective.weights()
    tied = mesh.ranks.first and whole["lm_head.weight"].data_ptr() == whole["transformer.wte.weight"].data_ptr()
    sizes = [sum(own(value).numel() for value in group) for group in groups]
    return [*sizes, int(tied), sum(w.numel() for w in weights)]


def own(value: Any) -> Tensor:
    return value.to_local() if hasattr(value, "to_local") else value


def messages(mesh: Mesh) -> dict[str, list[int]]:
    """Bytes of every message of a step of Φ, and of one of w."""
    search, found = make_search("images side by side", mesh), {}
    ranks, sent = search._objective._mesh.ranks, []
    counted = _Counting(ranks, sent)
    search._objective._mesh = replace(mesh, ranks=counted)
    for part, step in (
        ("phi", lambda: search._hyper_step(log=False)),
        ("w", lambda: search._weight_step(0.0)),
    ):
        sent.clear()
        step()
        found[part] = list(sent)
    return found


class _Counting(Ranks):
    """Ranks that note the bytes of their sums."""

    def __init__(self, ranks: Ranks, sent: list[int]) -> None:
        self.__dict__.update(ranks.__dict__)
        self._sent = sent

    def sum_(self, tensor: Tensor) -> Tensor:
        self._sent.append(tensor.numel() * tensor.element_size())
        return super().sum_(tensor)

    def begin_sum_(self, tensor: Tensor) -> Callable[[], None]:
        self._sent.append(tensor.numel() * tensor.element_size())
        return super().begin_sum_(tensor)


def normalized(mesh: Mesh) -> dict[str, Tensor]:
    """Batch normalisation of three networks' images, of which each rank has a part, with its gradients."""
    draws = [torch.randn(shape, generator=seeded(k)) for k, shape in enumerate([(3, 7, 4, 2, 3)] * 2 + [(4,)] * 2)]
    x, factors, weight, bias = draws
    part = mesh.part(7)
    own = (3 * x + 1)[:, part].flatten(0, 1).requires_grad_()
    weight.requires_grad_(), bias.requires_grad_()
    if mesh.data_group is None:
        each = [F.batch_norm(images, None, None, weight, bias, training=True) for images in own.chunk(3)]
        out = torch.cat(each)
    else:
        with statistics_over(mesh.data_group):
            out = whole_batch_norm(own, 3, weight, bias)
    gradients = torch.autograd.grad((out * factors[:, part].flatten(0, 1)).sum(), (own, weight, bias))
    named = dict(zip(("out", "x"), (t.detach().unflatten(0, (3, -1)) for t in (out, gradients[0]))))
    whole = [mesh.ranks.sum_(gradient.clone()) / mesh.devices for gradient in gradients[1:]]
    return {**named, "weight": whole[0], "bias": whole[1]}


def exchanged(ranks: Ranks) -> dict[str, Any]:
    """What ranks tell each other outside of steps."""
    found: dict[str, Any] = {
        "first": ranks.from_first(lambda: {"rank": ranks.rank, "π": 0.1}),
        "bytes": len(ranks.bytes_from_first(lambda: b"")),
        "gathered": ranks.gather("x" * ranks.rank),
        "largest": ranks.largest(-ranks.rank),
        "together": ranks.together(lambda: ranks.rank),
    }

    def fails(*where: int) -> Callable[[], None]:
        def work() -> None:
            if ranks.rank in where:
                raise InputError(f"rank {ranks.rank} cannot")

        return work

    for name, call in {
        "first fails": lambda: ranks.from_first(fails(0)),
        "last fails": lambda: ranks.together(fails(ranks.size - 1)),
        "all fail": lambda: ranks.together(fails(*range(ranks.size))),
    }.items():
        try:
            call()
        except (InputError, SystemExit) as ended:
            found[name] = f"{type(ended).__name__}: {ended}"
    search = make_search("images", ALONE_MESH)
    _check_alike(search, ranks)
    with torch.no_grad():
        next(search.hypernet.parameters()).view(-1)[0] += float(ranks.rank == 1)
    try:
        _check_alike(search, ranks)
    except (InputError, SystemExit) as ended:
        found["differs"] = f"{type(ended).__name__}: {ended}"
    return found


@contextmanager
def in_float64() -> Iterator[None]:
    """Weights and activations made within are in float64."""
    before, activations = torch.get_default_dtype(), task_objective._activations
    torch.set_default_dtype(torch.float64)
    task_objective._activations = lambda *_: torch.float64
    try:
        yield
    finally:
        torch.set_default_dtype(before)
        task_objective._activations = activations


@in_float64()
def found_on(mesh: Mesh) -> dict[str, Any]:
    """What a rank finds on a mesh."""
    searches = {name: searched(name, mesh) for name in SEARCHES}
    found = {**searches, "normalized": normalized(mesh), "messages": messages(mesh)}
    if mesh.data == 1 and mesh.devices < 4:
        found["held"] = held(mesh)
    if (mesh.devices, mesh.data) == (2, 1):
        found["continued"] = {"fewer": continued(mesh, ALONE_MESH), "more": continued(ALONE_MESH, mesh)}
    return found


def main(rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store-{size}", rank=rank, world_size=size, timeout=timedelta(minutes=5)
    )
    with joined_ranks() as ranks:
        found: dict[str, Any] = {
            f"{devices}x{data}": found_on(make_mesh((devices, data), ranks)) for devices, data in MESHES[size]
        }
        found["exchanged"] = exchanged(ranks)
    torch.save(found, folder / f"{size}-{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    forked = multiprocessing.get_context("fork")  # what ranks import takes seconds, and is imported once
    ranks = [
        forked.Process(target=main, args=(rank, int(sys.argv[1]), Path(sys.argv[2])))
        for rank in range(int(sys.argv[1]))
    ]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join()
    sys.exit(any(each.exitcode for each in ranks))

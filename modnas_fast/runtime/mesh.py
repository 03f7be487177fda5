"""How the ranks of a run divide its work: the searched devices along one axis, minibatches along the other."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.ranks import ALONE, Ranks, told

#: of gradients that are summed in one message
BUCKET_BYTES = 25 * 2**20


@dataclass(frozen=True)
class Mesh:
    """Ranks on a grid of `devices` × `data`; those that differ in the second place alone share networks.

    >>> ALONE_MESH.rows(5), ALONE_MESH.part(7)
    (slice(0, None, 1), slice(0, 7, None))
    """

    ranks: Ranks
    devices: int = 1
    data: int = 1
    #: of torch.distributed, the ranks with the same networks; None where that is this one alone
    data_group: Any = None

    def rows(self, count: int) -> slice:
        """Which of `count` networks are computed on this rank; possibly none."""
        return slice(self.ranks.rank // self.data, None, self.devices)

    def most(self, count: int) -> int:
        """How many of `count` networks are computed on the rank with most."""
        return -(-count // self.devices)

    def part(self, count: int) -> slice:
        """Which of the `count` samples of a minibatch are; possibly none."""
        place = self.ranks.rank % self.data
        return slice(place * count // self.data, (place + 1) * count // self.data)

    def least(self, number: int) -> int:
        """The smallest of the numbers of the ranks with the same networks."""
        if self.data_group is None:
            return number
        found = torch.tensor([number])
        with told():
            distributed.all_reduce(found, distributed.ReduceOp.MIN, group=self.data_group)
        return int(found)

    def sum_gradients_(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces gradients by their sums over all ranks, in messages of about 25 MB that are under way together.

        A gradient that is None on some ranks counts as zeros there; one that is None on all stays None.
        """
        if not self.ranks.joined:
            return
        wanted = [parameter for parameter in parameters if parameter.requires_grad]
        present = self.ranks.sum_(torch.tensor([parameter.grad is not None for parameter in wanted]).int()).tolist()
        some = [parameter for parameter, there in zip(wanted, present) if there]
        under_way = []
        for bucket in _buckets(some):
            flat = torch.cat([_gradient(parameter).reshape(-1) for parameter in bucket])
            under_way.append((bucket, flat, self.ranks.begin_sum_(flat)))
        for bucket, flat, end in under_way:
            end()
            for parameter, total in zip(bucket, flat.split([parameter.numel() for parameter in bucket])):
                parameter.grad = total.view_as(parameter)


#: of one process
ALONE_MESH = Mesh(ALONE)


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _buckets(parameters: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Parameters of one number format each, about 25 MB at a time, in their order."""
    filling: dict[torch.dtype, list[nn.Parameter]] = {}
    full = []
    for parameter in parameters:
        bucket = filling.setdefault(parameter.dtype, [])
        bucket.append(parameter)
        if sum(p.numel() * p.element_size() for p in bucket) >= BUCKET_BYTES:
            full.append(filling.pop(parameter.dtype))
    return full + list(filling.values())


def make_mesh(shape: tuple[int, int], ranks: Ranks, kind: str = "cpu") -> Mesh:
    """The mesh of all ranks, which call this together.

    Args:
        shape: of `shape_of_mesh`.
        ranks: as many.
        kind: of device that computes, `cpu` or `cuda`.

    Raises InputError where ranks of one host would share a GPU.
    """
    if not ranks.joined:
        return ALONE_MESH
    if kind == "cuda":
        found = ranks.gather(f"{torch.cuda.current_device()} of {platform.node()}")
        ranks.together(lambda: _check_gpus(found))
    from torch.distributed.device_mesh import init_device_mesh  # whose import takes a while

    with told():
        made = init_device_mesh(kind, shape, mesh_dim_names=("devices", "data"))
    return Mesh(ranks, *shape, made.get_group("data") if shape[1] > 1 else None)


def shape_of_mesh(wanted: str, ranks: int, devices: int, batch: int) -> tuple[int, int]:
    """How many ranks stand along each axis, of T `devices` and the smallest minibatch of `batch` samples.

    `auto` takes the largest divisor of the number of ranks that is not above T for the devices: between those, T × N
    numbers are exchanged in a step of Φ and nothing within a pass. The rest divides minibatches. `DxB` is taken as it
    is.
    Raises InputError where that is not the number of ranks, and where some would have no sample.

    >>> shape_of_mesh("auto", 16, 13, 256), shape_of_mesh("auto", 13, 13, 256), shape_of_mesh("2x2", 4, 13, 256)
    ((8, 2), (13, 1), (2, 2))
    """
    if wanted == "auto":
        along = max(d for d in range(1, min(ranks, devices) + 1) if ranks % d == 0)
        shape = along, ranks // along
    else:
        first, _, second = wanted.partition("x")
        shape = int(first), int(second)
    if shape[0] * shape[1] != ranks:
        raise InputError(
            f"search.mesh: {wanted} wants {shape[0] * shape[1]} ranks, there {'is' if ranks == 1 else 'are'} {ranks}; "
            "set it to auto, or start as many"
        )
    if shape[1] > batch:
        raise InputError(
            f"search.mesh: {shape[1]} ranks along the minibatches have none of the {batch} samples left; start fewer "
            f"ranks, at most {devices} × {batch}, or raise search.batch_size"
        )
    return shape


def _check_gpus(found: list[str]) -> None:
    for rank, name in enumerate(found):
        if (other := found.index(name)) != rank:
            raise InputError(
                f"search.device: ranks {other} and {rank} share the GPU {name}; start as many ranks on a host as it "
                "has GPUs, or set search.device to cpu"
            )

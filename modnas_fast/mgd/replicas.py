"""Gradients of replicas: each loss's gradient averaged over the processes that hold copies of one model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Group: TypeAlias = "ProcessGroup | Literal['auto'] | None"
Row: TypeAlias = list[Tensor | None]


class Replicas(NamedTuple):
    """The processes whose gradients are averaged."""

    group: Any  # of torch.distributed
    size: int
    reduces: bool  # DistributedDataParallel averages what is added to `.grad`: each rank adds its own part


def replicas(parameters: Any, process_group: Group) -> Replicas | None:
    """The replicas that `process_group` of `mgd_backward` means, or None where this process stands alone.

    Raises:
        ValueError: "auto" where several ranks run and nothing tells whether they hold replicas.
    """
    if process_group is None or not (distributed.is_available() and distributed.is_initialized()):
        return None
    if process_group == "auto" and isinstance(parameters, DistributedDataParallel):
        group, reduces = parameters.process_group, True
    elif process_group == "auto":
        if distributed.get_world_size() == 1:
            return None
        raise ValueError(
            f"process_group: torch.distributed runs {distributed.get_world_size()} ranks; pass the "
            "DistributedDataParallel module as parameters, or process_group= the group that each loss's gradient is "
            "to be averaged over, or None for this rank alone"
        )
    else:
        group, reduces = process_group, False
    size = distributed.get_world_size(group)
    return Replicas(group, size, reduces) if size > 1 else None


def check_whole(parameters: Iterable[Tensor]) -> None:
    """Raises a ValueError for parameters of which this process holds a part."""
    for k, parameter in enumerate(parameters):
        flat = getattr(parameter, "_is_flat_param", False) or getattr(parameter, "_fsdp_flattened", False)
        if flat or hasattr(parameter, "full_tensor"):  # a DTensor, without the second that its import takes
            raise ValueError(
                f"parameters[{k}] is sharded over processes (FullyShardedDataParallel, fully_shard or another "
                "DTensor), which allows one backward pass per step; use DistributedDataParallel"
            )


def average(
    gradients: Sequence[Row], parameters: Sequence[Tensor], losses: Tensor, among: Replicas
) -> tuple[list[Row], Tensor]:
    """Each loss's gradient and value [T], averaged over the replicas as DistributedDataParallel averages them.

    A gradient that is None on some ranks counts as zeros there; one that is None on all stays None. What a rank finds
    wrong with its numbers is in the average of all, so that all of them refuse together.
    """
    present = torch.tensor([[part is not None for part in row] for row in gradients], dtype=torch.int32)
    present = present.to(losses.device)
    distributed.all_reduce(present, distributed.ReduceOp.MAX, group=among.group)
    values = losses / among.size
    distributed.all_reduce(values, group=among.group)
    averaged = []
    for row, there in zip(gradients, present.tolist(), strict=True):
        whole = [
            (torch.zeros_like(parameter) if part is None else part).detach() / among.size if wanted else None
            for part, parameter, wanted in zip(row, parameters, there, strict=True)
        ]
        averaged.append(_summed(whole, among.group))
    return averaged, values


def _summed(row: Row, group: Any) -> Row:
    """The sum of one loss's gradients over the ranks: one message per number format."""
    parts = {k: part for k, part in enumerate(row) if part is not None}
    for dtype in dict.fromkeys(part.dtype for part in parts.values()):
        places = [k for k, part in parts.items() if part.dtype == dtype]
        flat = torch.cat([parts[k].reshape(-1) for k in places])
        distributed.all_reduce(flat, group=group)
        for k, total in zip(places, flat.split([parts[k].numel() for k in places]), strict=True):
            parts[k] = total.view_as(parts[k])
    return [parts.get(k) for k in range(len(row))]

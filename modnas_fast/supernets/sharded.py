"""Passes through a supernet whose weights are divided among all ranks: each holds a part of every tensor.

By FSDP2 (`torch.distributed.fsdp.fully_shard`; Zhao et al. 2023, arXiv 2304.11277): a layer's weights are gathered
when it is called, forward and backward, and dropped behind it; gradients are summed on the way to the rank that holds
the part. So all ranks call the same layers equally often: where one has fewer networks, it computes one of them again,
which counts for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.ranks import Ranks, told
from modnas_fast.supernets.passes import PartLosses, Passes
from modnas_fast.supernets.supernet import How, Losses, Supernet

if TYPE_CHECKING:
    from typing_extensions import Unpack


def shard_(supernet: Supernet, ranks: Ranks, kind: str) -> None:
    """Divides the weights among all ranks, which call this together with the same ones.

    Args:
        supernet: its layers are divided one by one, the rest as a whole. From then on it is called as a module alone.
        ranks: one process keeps all, and computes in the same way.
        kind: of device that computes, `cpu` or `cuda`.

    Raises InputError for a supernet that names no layers.
    """
    if not (layers := supernet.divisible_layers()):
        raise InputError(
            f"search.shard: {type(supernet).__name__} names no layers whose weights ranks could divide; set it to false"
        )
    supernet.divided = True
    if not ranks.joined:
        return
    from torch.distributed.device_mesh import init_device_mesh  # whose import takes a while
    from torch.distributed.fsdp import fully_shard

    with told():
        mesh = init_device_mesh(kind, (ranks.size,))
        for module in (*layers, supernet):
            divided: Any = fully_shard(module, mesh=mesh)
            divided.set_gradient_divide_factor(1.0)  # losses are shares of the whole: their gradients are summed
            divided.set_force_sum_reduction_for_comms(True)


class ShardedPasses(Passes):
    """As `Passes`, of a supernet divided by `shard_`; all ranks call with as many samples and the same `chunk`.

    A weight may be one for each sample here, [T].
    """

    @staticmethod
    def _at_a_time(device: torch.device, parts: int) -> int:
        return 1

    def _frozen_losses(self, x: Tensor, y: Tensor, how: How) -> PartLosses:
        return lambda part: self._supernet(x, part, y, self._losses, **how)

    def device_losses(
        self,
        x: Tensor,
        onehot: Tensor,
        y: Tensor,
        chunk: int | None = None,
        weight: Tensor | float = 1.0,
        **how: Unpack[How],
    ) -> Tensor:
        """See `Passes`; weights are not frozen, for fully_shard has the graph of its first pass in mind."""
        return self._device_losses(x, onehot, y, chunk, weight, how)

    def _add_gradients(
        self,
        x: Tensor,
        onehot: Tensor,
        y: Tensor,
        chunk: int | None,
        losses_of: Losses,
        count: int,
        weight: Tensor | float,
        how: How,
    ) -> Tensor:
        """`count` is of all ranks' samples; gradients are summed over ranks on the way."""
        weights = torch.as_tensor(weight, dtype=torch.float64).expand(len(onehot))
        step, found = chunk or len(onehot), []
        for part, share in zip(onehot.detach().split(step), weights.split(step), strict=True):
            losses = self._supernet(x, part, y, losses_of, **how)
            losses = share.to(losses) * losses
            (losses.sum() / count).backward()
            found.append(losses.detach())
        return torch.cat(found)


# ---- what is kept is whole, as of one process ----


def whole_weights(supernet: Supernet, keep: bool) -> dict[str, Tensor]:
    """w by name, see `gathered`; tied weights are one tensor."""
    found: dict[str, Tensor] = gathered(supernet.state_dict(keep_vars=True), keep)
    return found


@torch.no_grad()
def gathered(tree: Any, keep: bool) -> Any:
    """A tree of dicts and lists in which divided tensors are whole, on the CPU; all ranks call this together.

    Args:
        tree: such as `state_dict()` of a module or an optimiser.
        keep: whether this rank wants it; the others get empty tensors in place of divided ones.
    """
    made: dict[int, Tensor] = {}  # tied weights stay tied

    def whole(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: whole(part) for key, part in value.items()}
        if isinstance(value, list):
            return [whole(part) for part in value]
        if not _is_divided(value):
            return value.detach() if isinstance(value, Tensor) else value
        if id(value) not in made:
            found = value.full_tensor()
            made[id(value)] = found.cpu() if keep else found.new_empty(0, device="cpu")
        return made[id(value)]

    return whole(tree)


def load_module_(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Loads whole tensors into a module whose weights may be divided; all ranks call this together."""
    own = module.state_dict()
    module.load_state_dict({name: _like(value, own[name]) if name in own else value for name, value in state.items()})


def load_optimizer_(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Loads whole tensors into an optimiser of such weights; all ranks call this together."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    of_parameters = {
        place: {
            key: _like(value, parameters[place])
            if isinstance(value, Tensor) and value.shape == parameters[place].shape
            else value
            for key, value in one.items()
        }
        for place, one in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": of_parameters})


def _is_divided(value: Any) -> bool:
    return isinstance(value, Tensor) and hasattr(value, "full_tensor")


def _like(value: Tensor, like: Any) -> Tensor:
    """This rank's part of a whole tensor, divided as `like` is."""
    if not _is_divided(like):
        return value
    from torch.distributed.tensor import distribute_tensor

    with told():
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


def agreed(number: int, ranks: Ranks) -> int:
    """The smallest of all ranks' numbers."""
    return -ranks.largest(-number)


def filled(own: Tensor, onehot: Tensor, count: int) -> Tensor:
    """A rank's samples [t, N] and, up to `count`, the first of all [T, N] again, without a gradient.

    >>> filled(torch.ones(1, 2), torch.zeros(3, 2), 2).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    return torch.cat([own, onehot[:1].detach().expand(count - len(own), -1)])

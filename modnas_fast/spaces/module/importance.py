"""Channels in the order of their importance, so that the first ones are those to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import torch
from torch import Tensor

from modnas_fast.spaces.module.axes import Group
from modnas_fast.spaces.module.channel_groups import Slot


@torch.no_grad()
def sort_channels_(tensors: Mapping[str, Tensor], slots: Sequence[Slot], groups: Set[Group]) -> None:
    """Puts the units of groups in order, the most important first, in all tensors that have them.

    A unit's importance is the sum of the absolute values of the weights that make it, and of the scales of its
    normalisations (Li et al. 2017, "Pruning filters for efficient ConvNets"). The function stays as it is.

    Args:
        tensors: parameters and buffers, by name.
        slots: where they have units; those of tensors that are not there are passed over.
        groups: whose units are sorted.
    """
    for group in groups:
        those = [slot for slot in slots if slot.axis.root.group is group and slot.tensor in tensors]
        importance = torch.zeros(group.size, dtype=torch.float64)
        for slot in those:
            if slot.role == "gives":
                importance += _of_units(tensors[slot.tensor], slot, group.size)
        order = importance.argsort(descending=True, stable=True)
        for slot in those:
            tensor = tensors[slot.tensor]
            tensor.copy_(tensor.index_select(slot.dim, _entries(order, slot).to(tensor.device)))


def _of_units(tensor: Tensor, slot: Slot, units: int) -> Tensor:
    """Sums of absolute values [units]."""
    rows = tensor.detach().movedim(slot.dim, 0).reshape(slot.outer, units, -1)
    return rows.double().abs().sum(dim=(0, 2)).cpu()


def _entries(order: Tensor, slot: Slot) -> Tensor:
    """Places of a slot's entries, when units are in an order."""
    inner, units = slot.axis.root.multiple, len(order)
    outer = torch.arange(slot.outer)[:, None, None] * units * inner
    return (outer + order[None, :, None] * inner + torch.arange(inner)).flatten()

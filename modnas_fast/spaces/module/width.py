"""Sizes that are chosen, and how a pass of shared weights knows of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from modnas_fast.runtime.errors import InputError

#: of the pass that this thread makes, by the names of choices: either indices of options, and layers have no units but
#: those; or shares [options], by which layers of full size are mixed. Both None: the largest network
CHOSEN: ContextVar[Mapping[str, int] | None] = ContextVar("chosen", default=None)
SHARES: ContextVar[Mapping[str, Tensor] | None] = ContextVar("shares", default=None)


@dataclass(frozen=True)
class Width:
    """A number of channels or features among several; `width * 49` is what flattening 49 positions makes of it."""

    name: str
    sizes: tuple[int, ...]
    multiple: int = 1

    def __mul__(self, multiple: int) -> Width:
        return replace(self, multiple=self.multiple * multiple)

    @property
    def largest(self) -> int:
        """Of the sizes, times the multiple."""
        return self.multiple * self.sizes[-1]


Size = int | Width


def width(name: str, *sizes: int) -> Width:
    """A width to be chosen; layers that take one name have the same size.

    >>> (width("hidden", 64, 128) * 49).largest
    6272

    Args:
        name: letters, digits and underscores.
        sizes: at least one, positive, ascending.

    Raises:
        InputError: where the name or the sizes are not so.
    """
    if not name.isidentifier():
        raise InputError(f"name: a width's is of letters, digits and underscores, got {name!r}")
    if not sizes or sizes[0] < 1 or any(a >= b for a, b in itertools.pairwise(sizes)):
        raise InputError(f"sizes: width {name} wants positive ascending numbers such as 16, 32, got {sizes}")
    return Width(name, sizes)


def largest(size: Size) -> int:
    """What a layer of the largest network has."""
    return size.largest if isinstance(size, Width) else size


def chosen_size(size: Size, chosen: Mapping[str, int]) -> int:
    """What a layer has in the network of these option indices, by name."""
    return size.multiple * size.sizes[chosen[size.name]] if isinstance(size, Width) else size


def first_units(parameter: Tensor, *sizes: Size) -> Tensor:
    """Of a layer's parameter, as much of its first axes as this thread's pass has of these sizes; all without one."""
    chosen = CHOSEN.get()
    return parameter if chosen is None else parameter[tuple(slice(chosen_size(size, chosen)) for size in sizes)]


def share_of_units(size: Size, like: Tensor) -> Tensor | None:
    """How far each unit of a layer is there in this thread's pass, [largest], 1 or 0 if hard; None: all are."""
    shares = SHARES.get()
    if shares is None or not isinstance(size, Width):
        return None
    units = torch.arange(size.largest, device=like.device)
    prefixes = units < size.multiple * torch.tensor(size.sizes, device=like.device)[:, None]
    return shares[size.name].to(like) @ prefixes.to(like)

"""Supernetworks: shared weights of a whole search space, evaluated for T architectures at once."""

from torch import nn

from modnas_fast.spaces import SearchSpace
from modnas_fast.supernets.entangled_linear import entangled_linear
from modnas_fast.spaces.nb201.mixed_cell import mixed_cell
from modnas_fast.spaces.nb201.supernet import NB201Supernet, inherit_weights

__all__ = ["NB201Supernet", "entangled_linear", "inherit_weights", "make_supernet", "mixed_cell"]

_SUPERNETS = {"nb201": NB201Supernet}


def make_supernet(space: SearchSpace, **task: int | str) -> nn.Module:
    """The supernetwork of `space`; `task` as in `space.build`, and what the supernet takes besides."""
    return _SUPERNETS[space.name](**task)

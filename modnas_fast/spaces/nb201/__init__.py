"""NAS-Bench-201: its choices, standalone network, supernet, and published tables."""

from modnas_fast.spaces.nb201.space import NB201Space

__all__ = ["NB201Space"]

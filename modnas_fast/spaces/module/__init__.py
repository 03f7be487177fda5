"""A module of one's own as a space: layers whose widths, depths and kinds are chosen, public as modnas_fast.elastic."""

from modnas_fast.spaces.module.space import ModuleSpace

__all__ = ["ModuleSpace"]

"""Spaces whose networks were all trained and measured by others: where searches can be compared without training."""

from __future__ import annotations

from dataclasses import dataclass

from modnas_fast.evaluation.exact import ExactFront
from modnas_fast.spaces import SearchSpace


@dataclass(frozen=True)
class KnownSpace:
    """The networks of a space, in the order of the tables, and their exact front per device."""

    space: SearchSpace
    task: str
    architectures: tuple[str, ...]
    fronts: dict[str, ExactFront]

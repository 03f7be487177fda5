"""Axes of tensors whose units are kept or left out together: which are one group, and in what multiples."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field


@dataclass(eq=False)
class Group:
    """Units that are chosen together, or stand in a fixed multiple of another group's."""

    size: int
    #: where it arises, the path of a module or parameter
    place: str
    #: numbers of units that can be chosen are multiples of it
    grain: int = 1
    #: why all units stay; None: they need not
    fixed: str | None = None
    #: of which other group's units each is so many
    bound: tuple[Group, int] | None = field(default=None, repr=False)
    #: of two groups that become one, the earlier one gives its place
    number: int = field(default_factory=itertools.count().__next__, repr=False)


@dataclass(frozen=True)
class Axis:
    """`multiple` entries for each unit of a group, side by side."""

    group: Group
    multiple: int = 1

    @property
    def size(self) -> int:
        """Entries."""
        return self.group.size * self.multiple

    @property
    def root(self) -> Axis:
        """The same entries in units of the group that is bound to no other."""
        axis = self
        while axis.group.bound is not None:
            group, multiple = axis.group.bound
            axis = Axis(group, axis.multiple * multiple)
        return axis

    @property
    def free(self) -> bool:
        """Whether units may be left out."""
        return self.root.group.fixed is None

    def fix(self, why: str) -> None:
        """All units stay; the first reason is kept."""
        group = self.root.group
        group.fixed = group.fixed or why

    def coarsen(self, entries: int) -> None:
        """Only multiples of so many entries are chosen."""
        root = self.root
        root.group.grain = math.lcm(root.group.grain, entries // math.gcd(entries, root.multiple))


#: of an entry of a tensor's shape: None is an axis that always stays as it is
Axes = tuple[Axis | None, ...]


def tie(first: Axis | None, second: Axis | None, why: str) -> None:
    """Makes two axes of one length be chosen together; with one that stays, or of other multiples, both stay."""
    if first is None or second is None:
        for axis in (first, second):
            if axis is not None:
                axis.fix(why)
        return
    if first.root == second.root:
        return
    wide, narrow = sorted((first.root, second.root), key=lambda axis: (axis.multiple, -axis.group.number))
    if wide.group is narrow.group or wide.size != narrow.size or narrow.multiple % wide.multiple:
        wide.fix(why)
        narrow.fix(why)
        return
    bind(wide.group, Axis(narrow.group, narrow.multiple // wide.multiple))


def bind(group: Group, axis: Axis) -> None:
    """Makes the units of a group, bound to none so far, be the entries of an axis of another."""
    group.bound = (axis.group, axis.multiple)
    axis.coarsen(group.grain)
    if group.fixed is not None:
        axis.fix(group.fixed)

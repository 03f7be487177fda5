"""Blocks that may be left out: residual ones of one structure, one after the other."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from torch import nn

from modnas_fast.spaces.module.channel_groups import Channels
from modnas_fast.spaces.module.channel_rules import function_name
from modnas_fast.spaces.module.tracing import Call


@dataclass(frozen=True)
class Run:
    """Blocks of one container that may be left out, from the last one on; the block before them stays."""

    container: str
    #: paths, in order
    blocks: tuple[str, ...]


def runs_of_blocks(channels: Channels) -> list[Run]:
    """Blocks of every `nn.Sequential` and `nn.ModuleList` that can be skipped.

    They add what they compute to what they take, keep shape and channels, have one structure, follow each other and
    follow another block of the container.
    """
    calls: dict[str, list[Call]] = {}
    for call in channels.program.calls:
        calls.setdefault(call.path, []).append(call)
    found = []
    for path, container in channels.model.named_modules():
        if isinstance(container, (nn.Sequential, nn.ModuleList)):
            names = [f"{path}.{name}" if path else name for name, _ in container.named_children()]
            once = [name for name in names if len(calls.get(name, ())) == 1]
            found += _runs(channels, path, [calls[name][0] for name in once])
    return found


def _runs(channels: Channels, path: str, calls: list[Call]) -> list[Run]:
    found: list[Run] = []
    blocks: list[str] = []
    for before, call in itertools.pairwise(calls):
        alike = not blocks or _structure(channels, before) == _structure(channels, call)
        if call.taken is before.given and _skippable(channels, call) and call.others == before.others and alike:
            blocks.append(call.path)
            continue
        found += [Run(path, tuple(blocks))] if blocks else []
        blocks = []
    return [*found, Run(path, tuple(blocks))] if blocks else found


def _structure(channels: Channels, call: Call) -> str:
    return repr(channels.model.get_submodule(call.path))


def _skippable(channels: Channels, call: Call) -> bool:
    """Whether a block gives the shape and channels that it takes, and adds to what it takes."""
    taken, given = channels.axes.get(call.taken), channels.axes.get(call.given)
    values = channels.program.values
    if not isinstance(taken, tuple) or not isinstance(given, tuple) or len(taken) != len(given):
        return False
    same = all((a and a.root) == (b and b.root) for a, b in zip(taken, given))
    inside = f"{call.path}."
    place = channels.program.places
    ways = [call.taken]
    adds = False
    for node in ways:
        for user in node.users:
            if not f"{place.get(user)}.".startswith(inside):
                continue
            if user.op == "call_module" and isinstance(channels.model.get_submodule(str(user.target)), nn.Identity):
                ways.append(user)
            adds = adds or function_name(user) in ("add", "iadd", "add_")
    return adds and same and values[call.taken].shape == values[call.given].shape

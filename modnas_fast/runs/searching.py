"""The steps of a search, from its last checkpoint on."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modnas_fast.config import Config
from modnas_fast.method.region import Region
from modnas_fast.runs.preparation import Prepared
from modnas_fast.runtime.checkpoint import load_checkpoint, packed, save_checkpoint, unpacked
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Reporter, Silent
from modnas_fast.runtime.ranks import ALONE, Ranks
from modnas_fast.runtime.stopping import Stopper
from modnas_fast.search.bilevel import Search


@dataclass
class Answer:
    """What one search found."""

    search: Search
    prepared: Prepared
    #: of the search alone
    seconds: float = 0.0
    #: what was found on the way, by whoever looked, see `advance`
    curve: list[dict[str, Any]] = field(default_factory=list)

    @property
    def hypernet(self) -> nn.Module:
        """Φ."""
        return self.search.hypernet

    @property
    def total_seconds(self) -> float:
        """Of preparation and search."""
        return sum(self.prepared.seconds.values()) + self.seconds


def start(config: Config, prepared: Prepared, regions: Mapping[str, Sequence[Region]] | None = None) -> Answer:
    """A search that has not made a step yet; `regions` of fronts that count more, by device and in units."""
    devices = prepared.search_devices
    search = Search(
        config,
        prepared.source.space,
        prepared.objective,
        devices,
        prepared.costs,
        prepared.measured,
        [[region.normalized(device) for region in (regions or {}).get(device.name, ())] for device in devices],
    )
    return Answer(search, prepared)


def advance(
    answer: Answer,
    reporter: Reporter | None = None,
    *,
    on_evaluation: Callable[[Answer], None] = lambda answer: None,
    on_step: Callable[[Search], None] = lambda search: None,
) -> Answer:
    """Makes the steps that are left.

    Args:
        answer: changed in place.
        reporter: where progress is told.
        on_evaluation: called when an evaluation is due, see `Search.evaluation_due`.
        on_step: called after each step and its evaluation.
    """
    search, began = answer.search, time.monotonic() - answer.seconds
    with (reporter or Silent()).stage("Searching", search.total_steps, search.finished_steps) as tell:
        while not search.done:
            search.step()
            answer.seconds = time.monotonic() - began
            if search.evaluation_due:
                on_evaluation(answer)
            on_step(search)
            tell(search.finished_steps)
    return answer


def search_on(
    answer: Answer,
    checkpoint: Path,
    every: int,
    reporter: Reporter,
    stopper: Stopper,
    on_evaluation: Callable[[Answer], None] = lambda answer: None,
    ranks: Ranks = ALONE,
) -> Answer:
    """The answer of a whole search, continued from `checkpoint` where there is one.

    Args:
        answer: of `start`.
        checkpoint: written every `every` steps, at the end, and before a stop.
        every: steps.
        reporter: where it is told that a search goes on.
        stopper: asked after every step; where one rank is to stop, all do after the same step.
        on_evaluation: see `advance`.
        ranks: that search together; rank 0 alone reads and writes the checkpoint.
    """
    search = answer.search
    if state := _last_state(checkpoint, ranks):
        search.load_state_dict(state["search"])
        answer.seconds, answer.curve = state["seconds"], state["curve"]
        if not search.done:
            reporter.say(f"Continuing at step {search.finished_steps} of {search.total_steps}")

    def keep(search: Search) -> None:
        if stop := ranks.largest(stopper.requested):
            stopper.request(stop)
        if search.finished_steps % search.log_every == 0:
            _check_alike(search, ranks)
        if search.done or stop or search.finished_steps % every == 0:
            # made on all ranks, each of which may hold a part of w
            state = {"search": search.state_dict(), "seconds": answer.seconds, "curve": answer.curve}
            if ranks.first:
                save_checkpoint(checkpoint, state)
        stopper.check()

    if not search.done:
        with stopper.deferred():
            advance(answer, reporter, on_evaluation=on_evaluation, on_step=keep)
    return answer


def _last_state(checkpoint: Path, ranks: Ranks) -> dict[str, Any] | None:
    """What rank 0 has in the checkpoint, if there is one."""
    if not ranks.from_first(checkpoint.exists):
        return None
    if not ranks.joined:
        return load_checkpoint(checkpoint)
    return unpacked(ranks.bytes_from_first(lambda: packed(load_checkpoint(checkpoint))))


def _check_alike(search: Search, ranks: Ranks) -> None:
    """Raises InputError where ranks have come to different hypernetworks: from there on they would go apart."""
    if ranks.joined:
        found = ranks.gather(digest(search.hypernet))
        ranks.together(lambda: _compare(found, search.finished_steps))


def _compare(found: list[str], step: int) -> None:
    for rank, told in enumerate(found):
        if told != found[0]:
            raise InputError(
                f"after step {step} rank {rank} has another hypernetwork than rank 0: their hosts compute differently; "
                "take hosts of one kind with the same versions (modnas-fast doctor), and continue from the last "
                "checkpoint with --resume"
            )


def digest(module: nn.Module) -> str:
    """Of all bits of a module's parameters."""
    found = hashlib.sha256()
    for parameter in module.parameters():
        found.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()

"""Spaces whose networks were all trained and measured by others: where searches can be compared without training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modnas_fast.baselines.problem import Problem
from modnas_fast.datasets.error_table import NATS_COLUMNS, load_nats_bench
from modnas_fast.devices.table import PAPER_SEARCH, PAPER_UNSEEN, load_help
from modnas_fast.errors import InputError
from modnas_fast.exact import DEGENERATE_ERROR, ExactFront
from modnas_fast.spaces import SearchSpace, make_space


@dataclass(frozen=True)
class KnownSpace:
    """The networks of a space, in the order of the tables, and their exact front per device."""

    space: SearchSpace
    task: str
    architectures: tuple[str, ...]
    fronts: dict[str, ExactFront]

    def problem(self, device: str, budget: int) -> Problem:
        """A black box over all networks on a device, with nothing spent."""
        return Problem(self.space, self.architectures, self.fronts[device], budget)


def load_nb201(task: str = "cifar10", devices: Sequence[str] | None = None) -> KnownSpace:
    """NAS-Bench-201 with errors from NATS-Bench and latencies from HELP.

    Args:
        task: cifar10, cifar100 or imagenet16-120.
        devices: names of HELP's device settings; None: the paper's 13 + 6.

    Raises InputError for an unknown task or device, and where the tables are not there.
    """
    if task not in NATS_COLUMNS:
        raise InputError(f"task: wanted one of {', '.join(NATS_COLUMNS)}, got {task!r}")
    table = load_nats_bench(_data() / "nats_bench.csv")
    costs = load_help(_data() / "help-latency", table.architectures)
    names = [*PAPER_SEARCH, *PAPER_UNSEEN] if devices is None else list(dict.fromkeys(devices))
    for name in names:
        if name not in costs.values:
            raise InputError(f"devices: the table has no {name!r}; it has {', '.join(costs.values)}")
    learned = table.errors["cifar10"] < DEGENERATE_ERROR
    fronts = {name: ExactFront(table.errors[task], costs.values[name], learned) for name in names}
    return KnownSpace(make_space("nb201"), task, table.architectures, fronts)


def _data() -> Path:
    """The folder of NAS-Bench-201's tables."""
    if "MODNAS_DATA" not in os.environ:
        raise InputError("MODNAS_DATA: set this environment variable to the folder that holds nb201/nats_bench.csv")
    return Path(os.environ["MODNAS_DATA"]) / "nb201"
